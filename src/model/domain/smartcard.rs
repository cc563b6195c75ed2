//! `<smartcard>`. Owns libvirt's words, defaults and errors for it.

use super::charsource::{self, Reader};
use super::{CharSource, DeviceInfo};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<smartcard>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmartcardDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@mode`.
    pub mode: SmartcardMode,
}

/// `<smartcard mode>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmartcardMode {
    /// `host`: the host's reader.
    Host,
    /// `host-certificates`: a card made of three certificates of the host.
    HostCertificates {
        /// `<certificate>`, three of them.
        certificates: Vec<String>,
        /// `<database>`; default `/etc/pki/nssdb`.
        database: Option<String>,
    },
    /// `passthrough`: a card at the end of a character device.
    Passthrough(CharSource),
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<SmartcardDef> {
    let info = DeviceInfo::read(view);
    let words = [("host", 0), ("host-certificates", 1), ("passthrough", 2)];
    let mode = view.one_of("mode", &words);
    let mode = match required(mode, view, "mode", "give host, host-certificates or passthrough")? {
        0 => SmartcardMode::Host,
        1 => {
            let children = view.children("certificate");
            let certificates: Vec<String> = children.iter().map(|c| c.text().into_owned()).collect();
            if certificates.len() != 3 || certificates.iter().any(String::is_empty) {
                view.error("a smart card has three certificates", "name three, each in <certificate>");
            }
            for (view, name) in children.iter().zip(&certificates).filter(|(_, name)| name.contains(',')) {
                view.error(format!("'{}' has a comma in it", name.escape_debug()), "give another name");
            }
            let database = view.child("database").map(|d| {
                let path = d.text().into_owned();
                if !path.starts_with('/') {
                    d.error(format!("'{}' is no whole path", path.escape_debug()), "write it from / on");
                }
                path
            });
            SmartcardMode::HostCertificates { certificates, database }
        }
        _ => {
            required(view.filled("type"), view, "type", "say how the card is reached, as 'spicevmc'")?;
            SmartcardMode::Passthrough(charsource::read(view, Reader::Device)?)
        }
    };
    Some(SmartcardDef { info, mode })
}
