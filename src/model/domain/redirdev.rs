//! `<redirdev>` and `<redirfilter>`: USB devices of whoever sits at the display. Owns libvirt's words and
//! defaults for them.

use super::charsource::{self, Reader};
use super::words::YES_NO;
use super::{CharSource, DeviceInfo};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<redirdev>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirdevDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// Where the device comes from.
    pub source: CharSource,
}

/// `<usbdev>` of a `<redirfilter>`: which devices are let in; what is absent is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct UsbRule {
    pub class: Option<u8>,
    pub vendor: Option<u16>,
    pub product: Option<u16>,
    /// In binary coded decimal, as 0x0110 for 1.10.
    pub version: Option<u16>,
    pub allow: bool,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<RedirdevDef> {
    required(view.one_of("bus", &[("usb", ())]), view, "bus", "write usb");
    required(view.filled("type"), view, "type", "write spicevmc or tcp")?;
    Some(RedirdevDef { info: DeviceInfo::read(view), source: charsource::read(view, Reader::Device)? })
}

/// The rules of a `<redirfilter>`, in order.
pub(super) fn filter(view: &View<'_>) -> Vec<UsbRule> {
    let devices = view.children("usbdev");
    if devices.is_empty() {
        view.error("<redirfilter> has no <usbdev>", "add one, or leave the filter out");
    }
    devices.iter().map(rule).collect()
}

fn rule(view: &View<'_>) -> UsbRule {
    let id = |name: &str, most: i64| {
        let text = view.filled(name)?;
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        match number {
            // libvirt writes any as -1 too.
            Some(-1) => None,
            Some(n) if (0..=most).contains(&n) => Some(n),
            _ => {
                view.error_at(
                    name,
                    format!("'{text}' is not known to USB"),
                    format!("as 0x08, at most {most:#x}"),
                );
                None
            }
        }
    };
    let small = |name| id(name, 0xffff).and_then(|n| u16::try_from(n).ok());
    let allow = required(view.one_of("allow", YES_NO), view, "allow", "say yes or no");
    UsbRule {
        class: id("class", 0xff).and_then(|n| u8::try_from(n).ok()),
        vendor: small("vendor"),
        product: small("product"),
        version: view.filled("version").and_then(|v| version(view, v)),
        allow: allow.unwrap_or(false),
    }
}

/// `1.10` in binary coded decimal.
fn version(view: &View<'_>, text: &str) -> Option<u16> {
    if text == "-1" {
        return None;
    }
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    // `1.1` is 1.10: the second digit of the fraction is left out.
    let minor = if minor.len() == 1 { format!("{minor}0") } else { minor.to_owned() };
    let digits = |part: &str| (part.len() <= 2).then(|| u16::from_str_radix(part, 16).ok()).flatten();
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match (digits(major), digits(&minor)) {
        (Some(major), Some(minor)) if decimal => Some(major << 8 | minor),
        _ => {
            view.error_at("version", format!("'{text}' is not a version of USB"), "as 1.10");
            None
        }
    }
}
