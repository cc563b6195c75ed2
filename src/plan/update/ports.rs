//! Portgroups, and the interfaces that a network forwards through.

use super::{Command, Result, Update, UpdateError, after, replace};
use crate::model::{IfName, NetworkDoc};
use crate::xml::Element;

const GROUP: &str = "portgroup";
const INTERFACE: &str = "interface";

impl Update<'_> {
    pub(super) fn portgroup(&self) -> Result<NetworkDoc> {
        self.must_be("portgroup")?;
        // Read as it is, whatever is to be done with it.
        let added = self.edited(|root| {
            let last = root.children().count();
            root.insert(last, self.fragment.clone());
        })?;
        let groups = &self.doc.def().portgroups;
        let Some(new) = added.def().portgroups.last() else { return Err(UpdateError::NotFound(GROUP)) };
        let found = groups.iter().position(|group| group.name == new.name);
        if self.is_add() && found.is_some() {
            return Err(UpdateError::Exists(format!("there is a portgroup '{}' already", new.name)));
        }
        let default = groups.iter().position(|group| group.is_default);
        if self.command != Command::Delete && new.is_default && default.is_some() && default != found {
            let message = "another portgroup is the default, and there can be one only".to_owned();
            return Err(UpdateError::Exists(message));
        }
        match (self.command, found) {
            (Command::AddFirst | Command::AddLast, _) => self.edited(|root| {
                let others: Vec<String> = root.children().map(|e| e.name().to_owned()).collect();
                let others: Vec<&str> = others.iter().map(String::as_str).collect();
                self.insert(root, &others);
            }),
            (_, None) => Err(UpdateError::NotFound(GROUP)),
            (Command::Delete, Some(at)) => self.edited(|root| replace(root, "portgroup", at, None)),
            (Command::Modify, Some(at)) => {
                self.edited(|root| replace(root, "portgroup", at, Some(self.fragment.clone())))
            }
        }
    }

    pub(super) fn forward_interface(&self) -> Result<NetworkDoc> {
        self.must_be("interface")?;
        self.cannot_modify("an interface to forward through")?;
        let dev: Option<IfName> = self.parsed("dev")?;
        let Some(dev) = dev else {
            return Err(UpdateError::Incomplete("it needs the attribute 'dev'".into()));
        };
        let Some(forward) = &self.doc.def().forward else {
            return Err(UpdateError::NoParent("the network has no <forward>".into()));
        };
        let found = forward.interfaces.iter().position(|i| *i == dev);
        let mut interfaces: Vec<&IfName> = forward.interfaces.iter().collect();
        match (self.command, found) {
            (Command::Delete, None) => return Err(UpdateError::NotFound(INTERFACE)),
            (Command::Delete, Some(at)) => drop(interfaces.remove(at)),
            (_, Some(_)) => {
                return Err(UpdateError::Exists(format!("the network forwards through '{dev}' already")));
            }
            (Command::AddFirst, None) => interfaces.insert(0, &dev),
            (_, None) => interfaces.push(&dev),
        }
        self.edited(|root| {
            if let Some(forward) = root.child_mut("forward") {
                self.write_interfaces(forward, &interfaces, found);
            }
        })
    }

    /// `dev` of `<forward>` says the first of them once more, or is the only one.
    fn write_interfaces(&self, forward: &mut Element, interfaces: &[&IfName], found: Option<usize>) {
        if self.command == Command::Delete {
            replace(forward, INTERFACE, found.unwrap_or(0), None);
        } else {
            let only = forward.attr("dev").filter(|_| forward.child(INTERFACE).is_none()).map(str::to_owned);
            if let Some(only) = only.filter(|dev| !dev.is_empty()) {
                let at = after(forward, &["driver", "nat", "pf"]);
                forward.insert(at.unwrap_or(0), Element::new(INTERFACE).with_attr("dev", &only));
            }
            self.insert(forward, &["driver", "nat", "pf"]);
        }
        if forward.attr("dev").is_some() {
            match interfaces.first() {
                Some(first) => forward.set_attr("dev", first.as_str()),
                None => drop(forward.remove_attr("dev")),
            }
        }
    }
}
