//! The list of arguments and the guest's PCI slots.

use std::collections::BTreeSet;

use serde_json::Value;

use super::machine::Family;
use crate::model::DomainDef;

/// Arguments in the making.
#[derive(Debug, Default)]
pub(super) struct Args(Vec<String>);

impl Args {
    pub(super) fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    pub(super) fn pair(&mut self, flag: &str, value: impl Into<String>) {
        self.0.push(flag.to_owned());
        self.0.push(value.into());
    }

    pub(super) fn json(&mut self, flag: &str, value: &Value) {
        self.pair(flag, value.to_string());
    }

    pub(super) fn done(self) -> Vec<String> {
        self.0
    }
}

/// A value inside QEMU's `key=value,…` syntax, where a comma is written twice.
pub(super) fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// Slots of the first PCI bus. Slot 2 is the display's; interfaces follow from slot 3 in the order of the
/// document, so that a guest numbers them so; disks and their controllers come after the last interface.
#[derive(Debug)]
pub(super) struct Slots {
    bus: &'static str,
    last: u32,
    next_nic: u32,
    next_other: u32,
    ids: BTreeSet<String>,
}

const DISPLAY_SLOT: u32 = 2;

impl Slots {
    pub(super) fn new(family: Family, def: &DomainDef) -> Self {
        let nics = u32::try_from(def.interfaces().count()).unwrap_or(u32::MAX);
        Self {
            bus: family.pci_bus(),
            last: family.last_slot(),
            next_nic: DISPLAY_SLOT + 1,
            next_other: nics.saturating_add(DISPLAY_SLOT + 1),
            ids: BTreeSet::new(),
        }
    }

    pub(super) fn display(&self, device: &mut Value) {
        self.place(device, DISPLAY_SLOT);
    }

    /// Gives an interface its place; false when the bus is full.
    pub(super) fn nic(&mut self, device: &mut Value) -> bool {
        self.place(device, self.next_nic);
        self.next_nic += 1;
        self.next_nic <= self.last + 1
    }

    /// Gives another device its place; false when the bus is full.
    pub(super) fn other(&mut self, device: &mut Value) -> bool {
        self.place(device, self.next_other);
        self.next_other = self.next_other.saturating_add(1);
        self.next_other <= self.last + 1
    }

    fn place(&self, device: &mut Value, slot: u32) {
        device["bus"] = self.bus.into();
        device["addr"] = format!("{slot:#x}").into();
    }

    /// Takes a device's name; false when it is taken already.
    pub(super) fn take_id(&mut self, id: &str) -> bool {
        self.ids.insert(id.to_owned())
    }
}
