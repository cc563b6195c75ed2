//! Reads `<bridge>` of a network. Owns its words and defaults; must never make one.

use super::super::IfName;
use crate::xml::view::View;

/// `<bridge>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeDef {
    /// `@name`; absent means chosen at start, by the template.
    pub name: Option<IfName>,
    /// `@name` with one `%d` in it, for the first number that is free.
    pub template: Option<String>,
    /// `@stp`, default true.
    pub stp: bool,
    /// `@delay` in seconds, default 0.
    pub delay: u32,
    /// `@zone`: firewalld's, that the bridge is put into.
    pub zone: Option<String>,
    /// `@macTableManager`.
    pub mac_table_manager: Option<MacTableManager>,
}

/// `<bridge macTableManager>`: who knows which guest is behind which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacTableManager {
    /// The kernel, which learns it from traffic: the default.
    Kernel,
    /// libvirt, which writes it down and lets nothing be learnt.
    Libvirt,
}

const MANAGERS: &[(&str, MacTableManager)] =
    &[("kernel", MacTableManager::Kernel), ("libvirt", MacTableManager::Libvirt)];

impl Default for BridgeDef {
    fn default() -> Self {
        Self { name: None, template: None, stp: true, delay: 0, zone: None, mac_table_manager: None }
    }
}

/// `<bridge>`.
pub(super) fn bridge(view: &View<'_>) -> BridgeDef {
    let template = view.element().attr("name").filter(|name| name.contains("%d"));
    let (name, template) = match template {
        Some(_) => (None, self::template(view)),
        None => (view.parsed("name"), None),
    };
    BridgeDef {
        name,
        template,
        stp: stp(view),
        delay: view.parsed("delay").unwrap_or(0),
        zone: view.filled("zone").map(str::to_owned),
        mac_table_manager: view.one_of("macTableManager", MANAGERS),
    }
}

/// A name with more than one `%` is none to libvirt either: it then takes its own template.
fn template(view: &View<'_>) -> Option<String> {
    let template = view.filled("name")?;
    if template.matches('%').count() > 1 {
        view.warning_at("name", format!("'{template}' is not a template"), "a template has one '%d'");
        return None;
    }
    let example = template.replace("%d", "0").parse::<IfName>();
    if let Err(e) = example {
        view.error_at("name", format!("the template '{template}' does not make a name: {e}"), "");
        return None;
    }
    Some(template.to_owned())
}

/// libvirt reads everything but `off` as on.
fn stp(view: &View<'_>) -> bool {
    match view.filled("stp") {
        None | Some("on") => true,
        Some("off") => false,
        Some(other) => {
            view.warning_at("stp", format!("'{other}' is read as on"), "write on or off");
            true
        }
    }
}
