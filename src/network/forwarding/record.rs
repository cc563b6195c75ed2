//! What Warren has changed of the host's forwarding, and how that is restored.
//!
//! Owns the rules as pure functions: each takes what the host has now and answers what is to be written, in order.
//! Must never touch the host. The rules:
//!
//! - A family that forwards already is not touched, neither now nor later.
//! - An interface whose IPv6 routes come from router advertisements gets `accept_ra` 2 before forwarding is switched
//!   on: with 1 the kernel drops those routes in that moment, and ignores advertisements from then on.
//! - A value is restored only if it is still the one that Warren wrote. Forwarding that was on at boot is never
//!   switched off, whoever has switched it off and on since.
//! - The kernel copies the switch to every interface, and takes `accept_redirects` with it: what they were is restored
//!   with the switch.

use serde::{Deserialize, Serialize};

/// `accept_ra` of an interface that heeds advertisements as long as it does not forward.
const HOST: &str = "1";
/// The same of one that heeds them in any case.
const ALWAYS: &str = "2";

/// Which the kernel switches off with IPv4 forwarding on, and on with it off.
pub(super) const ACCEPT_REDIRECTS: &str = "net/ipv4/conf/all/accept_redirects";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The setting that switches forwarding of all interfaces.
    pub(super) fn switch(self) -> &'static str {
        match self {
            Self::V4 => "net/ipv4/ip_forward",
            Self::V6 => "net/ipv6/conf/all/forwarding",
        }
    }

    /// The setting of one interface, or of `default`.
    pub(super) fn forwarding_of(self, interface: &str) -> String {
        let family = if self == Self::V4 { "ipv4" } else { "ipv6" };
        format!("net/{family}/conf/{interface}/forwarding")
    }
}

/// The setting by which an interface heeds router advertisements.
pub(super) fn accept_ra(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/accept_ra")
}

/// A setting that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
}

impl Setting {
    fn new(key: impl Into<String>, value: &str) -> Self {
        Self { key: key.into(), value: value.to_owned() }
    }

    /// The interface whose `accept_ra` it is.
    pub(super) fn accepts_ra_on(&self) -> Option<&str> {
        self.key.strip_prefix("net/ipv6/conf/")?.strip_suffix("/accept_ra")
    }
}

/// An interface. Another one that has its name later is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
}

/// What the host has of one family.
#[derive(Debug, Clone, Default)]
pub(super) struct Now {
    /// The switch.
    pub(super) on: bool,
    /// What interfaces get that appear.
    pub(super) default_on: bool,
    /// IPv4 only.
    pub(super) accept_redirects: Option<String>,
    pub(super) links: Vec<LinkNow>,
}

#[derive(Debug, Clone)]
pub(super) struct LinkNow {
    pub(super) interface: Interface,
    pub(super) forwards: bool,
    /// IPv6 only.
    pub(super) accept_ra: Option<String>,
    /// Router advertisements have given it routes.
    pub(super) is_advertised: bool,
}

/// What RUN says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) boot_id: String,
    /// Families that forwarded when the first service of this boot looked.
    at_boot: OfFamilies<bool>,
    /// What was there before Warren switched forwarding on.
    raised: OfFamilies<Option<Before>>,
    /// Interfaces whose `accept_ra` Warren has changed from 1 to 2.
    accept_ra: Vec<Interface>,
    /// What is being restored: all of it, or it is done again.
    pub(super) pending: Vec<Setting>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OfFamilies<T> {
    v4: T,
    v6: T,
}

impl<T> OfFamilies<T> {
    pub(super) fn new(v4: T, v6: T) -> Self {
        Self { v4, v6 }
    }

    pub(super) fn of(&self, family: Family) -> &T {
        if family == Family::V4 { &self.v4 } else { &self.v6 }
    }

    fn of_mut(&mut self, family: Family) -> &mut T {
        if family == Family::V4 { &mut self.v4 } else { &mut self.v6 }
    }
}

/// Beside the switch, which was off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Before {
    /// Interfaces that forwarded all the same.
    forwarding: Vec<Interface>,
    default_on: bool,
    accept_redirects: Option<String>,
}

impl Record {
    /// Of a boot in which nothing was changed yet.
    pub(super) fn new(boot_id: &str, at_boot: OfFamilies<bool>) -> Self {
        Self { boot_id: boot_id.to_owned(), at_boot, ..Self::default() }
    }

    /// Whether Warren has switched this family on.
    pub(super) fn is_raised(&self, family: Family) -> bool {
        self.raised.of(family).is_some()
    }

    /// The interfaces whose `accept_ra` is changed, or would be.
    pub(super) fn advertised(&self, now: &Now) -> Vec<String> {
        let changed = self.accept_ra.iter().map(|i| &i.name);
        let mut names: Vec<String> = changed.chain(self.to_protect(now).map(|i| &i.name)).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    fn to_protect<'n>(&self, now: &'n Now) -> impl Iterator<Item = &'n Interface> {
        let ours = !now.on || self.is_raised(Family::V6);
        let at_risk = move |l: &&LinkNow| ours && l.is_advertised && l.accept_ra.as_deref() == Some(HOST);
        now.links.iter().filter(at_risk).map(|l| &l.interface)
    }

    /// Switches a family on; answers what is to be written once this is kept.
    pub(super) fn raise(&mut self, family: Family, now: &Now) -> Vec<Setting> {
        let mut settings = Vec::new();
        if family == Family::V6 {
            let protected: Vec<Interface> = self.to_protect(now).cloned().collect();
            settings.extend(protected.iter().map(|i| Setting::new(accept_ra(&i.name), ALWAYS)));
            self.accept_ra.retain(|known| protected.iter().all(|new| new.index != known.index));
            self.accept_ra.extend(protected);
        }
        if !now.on {
            let forwarding = now.links.iter().filter(|l| l.forwards).map(|l| l.interface.clone());
            *self.raised.of_mut(family) = Some(Before {
                forwarding: forwarding.collect(),
                default_on: now.default_on,
                accept_redirects: now.accept_redirects.clone(),
            });
            settings.push(Setting::new(family.switch(), "1"));
        }
        settings
    }

    /// Restores what [`Self::raise`] has changed of a family that nobody needs any more, and notes that as pending.
    pub(super) fn lower(&mut self, family: Family, now: &Now) {
        let Some(before) = self.raised.of_mut(family).take() else { return };
        let stays = now.on && *self.at_boot.of(family);
        if now.on && !stays {
            self.pending.push(Setting::new(family.switch(), "0"));
            self.pending.extend(before.settings(family, now));
        }
        // While the host forwards, it would lose its routes without.
        if family == Family::V6 && !stays {
            for changed in self.accept_ra.drain(..) {
                let link = now.links.iter().find(|l| l.interface.index == changed.index);
                if let Some(link) = link.filter(|l| l.accept_ra.as_deref() == Some(ALWAYS)) {
                    self.pending.push(Setting::new(accept_ra(&link.interface.name), HOST));
                }
            }
        }
    }
}

impl Before {
    /// What the kernel forgets when the switch goes off.
    fn settings(&self, family: Family, now: &Now) -> Vec<Setting> {
        let mut settings = Vec::new();
        if self.default_on && now.default_on {
            settings.push(Setting::new(family.forwarding_of("default"), "1"));
        }
        for link in now.links.iter().filter(|l| l.forwards) {
            if self.forwarding.iter().any(|before| before.index == link.interface.index) {
                settings.push(Setting::new(family.forwarding_of(&link.interface.name), "1"));
            }
        }
        // Off while the host forwards, on when it does not: both times by the kernel.
        let changed = now.accept_redirects.as_deref() != Some("0");
        let redirects = if changed { &now.accept_redirects } else { &self.accept_redirects };
        settings.extend(redirects.iter().filter(|v| *v != "1").map(|v| Setting::new(ACCEPT_REDIRECTS, v)));
        settings
    }
}

#[cfg(test)]
mod tests;
