//! PCI: slots and functions of every bus, and the bridges and ports that are added where there are too few.

use std::collections::{BTreeMap, HashMap};

use super::{DISPLAY, NIC, Wish, controllers, is_express};
use crate::model::{Address, ControllerDef, ControllerKind, Finding, PciAddress, Severity};
use crate::plan::qemu::finding;
use crate::plan::qemu::machine::Family;

/// Who sits where.
#[derive(Debug, Default)]
pub(super) struct Sits {
    pub(super) places: HashMap<String, PciAddress>,
    /// Functions in use of a slot, as a mask.
    pub(super) functions: BTreeMap<(u32, u32), u8>,
    pub(super) added: Vec<ControllerDef>,
    pub(super) findings: Vec<Finding>,
}

/// What a device can be plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plug {
    Conventional,
    Express,
    /// A port or bridge of the root of PCI Express, several of which share a slot.
    RootPort,
    /// A bridge from PCI Express, which sits in a port.
    ExpressBridge,
    /// What sits in the root alone.
    Root,
    Downstream,
}

#[derive(Debug, Clone)]
struct Bus {
    model: String,
    /// Functions in use of each slot, as a mask.
    slots: [u8; 32],
    /// Slots that only ports share.
    shared: [bool; 32],
}

impl Bus {
    fn new(model: &str) -> Self {
        Self { model: model.to_owned(), slots: [0; 32], shared: [false; 32] }
    }

    /// The first and the last slot.
    fn range(&self) -> (u32, u32) {
        match self.model.as_str() {
            "pcie-root-port" | "pcie-switch-downstream-port" => (0, 0),
            "pcie-switch-upstream-port" | "pci-expander-bus" | "pcie-expander-bus" => (0, 31),
            _ => (1, 31),
        }
    }

    fn takes(&self, plug: Plug) -> bool {
        let is = |models: &[&str]| models.contains(&self.model.as_str());
        match plug {
            Plug::Conventional => {
                is(&["pci-root", "pci-bridge", "dmi-to-pci-bridge", "pcie-to-pci-bridge", "pci-expander-bus"])
            }
            Plug::Express | Plug::ExpressBridge => is(&["pcie-root-port", "pcie-switch-downstream-port"]),
            Plug::RootPort => is(&["pcie-root", "pcie-expander-bus"]),
            Plug::Root => is(&["pcie-root", "pci-root"]),
            Plug::Downstream => is(&["pcie-switch-upstream-port"]),
        }
    }
}

/// How a controller is plugged in.
fn plug_of(controller: &ControllerDef, family: Family) -> Option<Plug> {
    let model = controller.model.as_deref().unwrap_or_default();
    Some(match controller.kind {
        ControllerKind::Pci => match model {
            "pci-root" | "pcie-root" => return None,
            "pcie-root-port" => Plug::RootPort,
            "pcie-switch-upstream-port" | "pcie-to-pci-bridge" => Plug::ExpressBridge,
            "pcie-switch-downstream-port" => Plug::Downstream,
            "dmi-to-pci-bridge" | "pcie-expander-bus" | "pci-expander-bus" => Plug::Root,
            _ => Plug::Conventional,
        },
        ControllerKind::Usb => match model {
            "none" => return None,
            "nec-xhci" | "qemu-xhci" => Plug::Express,
            _ => Plug::Conventional,
        },
        ControllerKind::Scsi => match model {
            "ibmvscsi" | "ncr53c90" => return None,
            "virtio-scsi" | "virtio-non-transitional" => Plug::Express,
            _ => Plug::Conventional,
        },
        ControllerKind::VirtioSerial if model == "virtio-transitional" => Plug::Conventional,
        ControllerKind::VirtioSerial => Plug::Express,
        ControllerKind::Sata if !controllers::on_board(controller, family) => Plug::Conventional,
        _ => return None,
    })
}

struct Pci {
    family: Family,
    buses: Vec<Bus>,
    sits: Sits,
    /// Bridges of the machine pc that are to be added, each with its slot at the end of the root bus.
    may_grow: bool,
    /// The last place, by bus and slot, of the NICs so far: the next one comes behind it, since guests number
    /// their NICs by place.
    last_nic: (u32, u32),
}

/// Gives every controller and every wish its place.
pub(super) fn give(known: &[ControllerDef], wishes: &[Wish], family: Family) -> Sits {
    // On pc, bridges must have their slots before the root bus is full.
    for bridges in 0..8 {
        if let Some(sits) = attempt(known, wishes, family, bridges, false) {
            return sits;
        }
    }
    attempt(known, wishes, family, 0, true).unwrap_or_default()
}

fn attempt(
    known: &[ControllerDef],
    wishes: &[Wish],
    family: Family,
    bridges: u32,
    last: bool,
) -> Option<Sits> {
    let mut pci = Pci {
        family,
        buses: Vec::new(),
        sits: Sits::default(),
        may_grow: family == Family::Q35,
        last_nic: (0, 0),
    };
    let of_document = pci.buses(known);
    pci.board(known, wishes);
    for wish in wishes {
        if let Some(Address::Pci(at)) = wish.given {
            pci.reserve(&wish.path, at, false);
        }
    }
    for controller in known {
        if let Some(Address::Pci(at)) = controller.info.address
            && !(controllers::on_board(controller, family))
        {
            pci.reserve(&controller.info.path, at, plug_of(controller, family) == Some(Plug::RootPort));
        }
    }
    for _ in 0..bridges {
        pci.add_bridge();
    }
    let mut complete = true;
    for controller in known.iter().filter(|c| c.kind == ControllerKind::Pci) {
        complete &= pci.controller(controller);
    }
    let mut usb = BTreeMap::new();
    let others: Vec<&ControllerDef> = known.iter().filter(|c| c.kind != ControllerKind::Pci).collect();
    let turn_of_controllers = 3;
    let (before, after): (Vec<&Wish>, Vec<&Wish>) = wishes.iter().partition(|w| w.turn < turn_of_controllers);
    complete &= before.iter().all(|wish| pci.wish(wish));
    for controller in others {
        complete &= pci.other_controller(controller, &mut usb);
    }
    complete &= after.iter().all(|wish| pci.wish(wish));
    if family == Family::Q35
        && !of_document
        && !pci.sits.added.is_empty()
        && pci.find(Plug::Express).is_none()
    {
        // One port is kept free for a device that is plugged in later.
        pci.add_port();
    }
    if !complete && !last {
        return None;
    }
    Some(pci.sits)
}

impl Pci {
    /// The buses of the document's controllers, and whether there are others than the root.
    fn buses(&mut self, known: &[ControllerDef]) -> bool {
        let of_kind = || known.iter().filter(|c| c.kind == ControllerKind::Pci);
        let most = of_kind().filter_map(|c| c.index).max().unwrap_or(0).min(255);
        for index in 0..=most {
            let there = of_kind().find(|c| c.index == Some(index));
            match there.and_then(|c| c.model.as_deref()) {
                Some(model) => self.buses.push(Bus::new(model)),
                None => {
                    let model = if self.family == Family::Q35 { "pcie-root-port" } else { "pci-bridge" };
                    self.buses.push(Bus::new(model));
                    self.sits.added.push(controllers::added(ControllerKind::Pci, index, Some(model)));
                }
            }
        }
        let added: Vec<ControllerDef> = self.sits.added.clone();
        for gap in &added {
            self.controller(gap);
        }
        most > 0
    }

    /// What the machine has soldered on, and the display's slot.
    fn board(&mut self, known: &[ControllerDef], wishes: &[Wish]) {
        let root = &mut self.buses[0];
        match self.family {
            Family::I440fx => {
                // ISA, IDE, USB and power management; the second and third are controllers of the document.
                root.slots[1] = 0b1111_1001;
                root.slots[2] = 0;
            }
            Family::Q35 => root.slots[31] = 0xff,
        }
        let display = wishes.iter().find(|w| w.turn == DISPLAY);
        if let Some(display) = display.filter(|d| !matches!(d.given, Some(Address::Pci(_)))) {
            let slot = display_slot(self.family);
            let at = PciAddress { domain: 0, bus: 0, slot, function: 0, multifunction: None };
            let elsewhere =
                |a: &Option<Address>| matches!(a, Some(Address::Pci(p)) if p.bus == 0 && p.slot == slot);
            if !wishes.iter().any(|w| elsewhere(&w.given))
                && !known.iter().any(|c| elsewhere(&c.info.address))
            {
                self.reserve(&display.path, at, false);
            }
        } else if self.family == Family::I440fx {
            // Kept for a display that comes later, so that all else stays where it is.
            self.buses[0].shared[2] = true;
        }
    }

    fn reserve(&mut self, path: &str, at: PciAddress, port: bool) -> bool {
        let address = format!("{:04x}:{:02x}:{:02x}.{:x}", at.domain, at.bus, at.slot, at.function);
        let place = format!("{path}/address");
        let mut error = |message: String, remedy: &str| {
            self.sits.findings.push(finding(Severity::Error, &place, message, remedy));
            false
        };
        if at.domain != 0 {
            return error(format!("a PC has no PCI domain {}", at.domain), "write domain='0'");
        }
        while self.buses.len() <= at.bus as usize && at.bus < 256 {
            // libvirt adds the buses up to one that is named.
            let before = self.buses.len();
            match self.family {
                Family::Q35 => self.add_port(),
                Family::I440fx => self.add_bridge(),
            }
            if self.buses.len() == before {
                break;
            }
        }
        let mut error = |message: String, remedy: &str| {
            self.sits.findings.push(finding(Severity::Error, &place, message, remedy));
            false
        };
        let Some(bus) = self.buses.get_mut(at.bus as usize) else {
            return error(format!("there is no PCI bus {}", at.bus), "add <controller type='pci'>");
        };
        let (first, last) = bus.range();
        if !(first..=last).contains(&at.slot) {
            let message = format!("the PCI bus {} has no slot {:#x}", at.bus, at.slot);
            return error(message, &format!("its slots are {first:#x} to {last:#x}"));
        }
        let slot = at.slot as usize;
        let mask = 1 << at.function;
        if bus.slots[slot] & mask != 0 {
            return error(format!("the PCI address {address} is taken"), "give each device its own, or none");
        }
        bus.slots[slot] |= mask;
        bus.shared[slot] = port;
        *self.sits.functions.entry((at.bus, at.slot)).or_default() |= mask;
        self.sits.places.insert(path.to_owned(), at);
        true
    }

    /// The first free place that takes the plug.
    fn find(&self, plug: Plug) -> Option<PciAddress> {
        self.find_behind((0, 0), plug)
    }

    /// The first free place behind a bus and slot.
    fn find_behind(&self, behind: (u32, u32), plug: Plug) -> Option<PciAddress> {
        for (index, bus) in (0u32..).zip(&self.buses).filter(|(_, bus)| bus.takes(plug)) {
            let (first, last) = bus.range();
            for slot in (first..=last).filter(|slot| behind == (0, 0) || (index, *slot) > behind) {
                let used = bus.slots[slot as usize];
                let shared = bus.shared[slot as usize];
                let function = match plug {
                    Plug::RootPort | Plug::Downstream if used != 0 && used != 0xff && shared => {
                        used.trailing_ones()
                    }
                    _ if used == 0 && !shared => 0,
                    _ => continue,
                };
                return Some(PciAddress { domain: 0, bus: index, slot, function, multifunction: None });
            }
        }
        None
    }

    /// The first free place, for which a port or a bridge is added if need be.
    fn place(&mut self, path: &str, plug: Plug) -> bool {
        self.place_behind((0, 0), path, plug)
    }

    /// The first free place behind a bus and slot if there is one, else the first of all.
    fn place_behind(&mut self, behind: (u32, u32), path: &str, plug: Plug) -> bool {
        if self.may_grow && self.find_behind(behind, plug).is_none() {
            match plug {
                Plug::Express | Plug::ExpressBridge => self.add_port(),
                Plug::Conventional => self.add_express_bridge(),
                _ => {}
            }
        }
        let Some(at) = self.find_behind(behind, plug).or_else(|| self.find(plug)) else {
            let remedy = "leave out devices, or add <controller type='pci'>";
            self.sits.findings.push(finding(
                Severity::Unsupported,
                path,
                "the guest's PCI bus is full",
                remedy,
            ));
            return false;
        };
        self.reserve(path, at, matches!(plug, Plug::RootPort | Plug::Downstream))
    }

    fn wish(&mut self, wish: &Wish) -> bool {
        let is_nic = wish.turn == NIC;
        if let Some(Address::Pci(at)) = wish.given {
            if is_nic {
                self.last_nic = self.last_nic.max((at.bus, at.slot));
            }
            return true;
        }
        if self.sits.places.contains_key(&wish.path) {
            return true;
        }
        let plug = match wish.driver.as_str() {
            // It serves the buses below, and so stands above them.
            "virtio-iommu-pci" => Plug::Root,
            driver if self.family == Family::Q35 && is_express(driver) => Plug::Express,
            _ => Plug::Conventional,
        };
        if !is_nic {
            return self.place(&wish.path, plug);
        }
        let placed = self.place_behind(self.last_nic, &wish.path, plug);
        if let Some(at) = self.sits.places.get(&wish.path) {
            self.last_nic = self.last_nic.max((at.bus, at.slot));
        }
        placed
    }

    fn controller(&mut self, controller: &ControllerDef) -> bool {
        let Some(plug) = plug_of(controller, self.family) else { return true };
        if self.sits.places.contains_key(&controller.info.path) || controller.info.pci().is_some() {
            return true;
        }
        let plug = match plug {
            Plug::Express if self.family == Family::I440fx => Plug::Conventional,
            other => other,
        };
        self.place(&controller.info.path, plug)
    }

    /// Companions share a slot; the USB of the machine pc is in its chip.
    fn other_controller(&mut self, controller: &ControllerDef, usb: &mut BTreeMap<u32, (u32, u32)>) -> bool {
        let model = controller.model.as_deref().unwrap_or_default();
        let index = controller.index.unwrap_or(0);
        if controller.kind != ControllerKind::Usb || controller.info.pci().is_some() {
            return self.controller(controller);
        }
        let function = match model {
            "ich9-ehci1" => 7,
            "ich9-uhci1" => 0,
            "ich9-uhci2" => 1,
            "ich9-uhci3" => 2,
            "piix3-uhci" if self.family == Family::I440fx && index == 0 => {
                let at = PciAddress { domain: 0, bus: 0, slot: 1, function: 2, multifunction: None };
                return self.reserve(&controller.info.path, at, true);
            }
            _ => return self.controller(controller),
        };
        let slot = usb.get(&index).copied().or_else(|| {
            // On q35 in the slots where the real chip has them.
            let on_chip = [29, 26].into_iter().find(|slot| self.buses[0].slots[*slot] == 0);
            match self.family {
                Family::Q35 => on_chip.map(|slot| (0, slot as u32)),
                Family::I440fx => self.find(Plug::Conventional).map(|at| (at.bus, at.slot)),
            }
        });
        let Some((bus, slot)) = slot else { return self.controller(controller) };
        usb.insert(index, (bus, slot));
        let at = PciAddress { domain: 0, bus, slot, function, multifunction: None };
        self.reserve(&controller.info.path, at, true)
    }

    fn next_index(&self) -> Option<u32> {
        u32::try_from(self.buses.len()).ok().filter(|index| *index < 256)
    }

    fn add(&mut self, model: &str) -> Option<ControllerDef> {
        let controller = controllers::added(ControllerKind::Pci, self.next_index()?, Some(model));
        self.buses.push(Bus::new(model));
        self.sits.added.push(controller.clone());
        Some(controller)
    }

    /// A port of PCI Express.
    fn add_port(&mut self) {
        if let Some(at) = self.find(Plug::RootPort)
            && let Some(port) = self.add("pcie-root-port")
        {
            self.reserve(&port.info.path, at, true);
        }
    }

    /// A bridge from PCI Express, in a port of its own.
    fn add_express_bridge(&mut self) {
        if self.find(Plug::ExpressBridge).is_none() {
            self.add_port();
        }
        if let Some(at) = self.find(Plug::ExpressBridge)
            && let Some(bridge) = self.add("pcie-to-pci-bridge")
        {
            self.reserve(&bridge.info.path, at, false);
        }
    }

    /// A bridge of the machine pc, in the last free slot: what is behind it comes after what is not.
    fn add_bridge(&mut self) {
        let root = &self.buses[0];
        let Some(slot) = (3..=31u32).rev().find(|slot| root.slots[*slot as usize] == 0) else { return };
        if let Some(bridge) = self.add("pci-bridge") {
            let at = PciAddress { domain: 0, bus: 0, slot, function: 0, multifunction: None };
            self.reserve(&bridge.info.path, at, false);
        }
    }
}

/// The slot of the first display.
fn display_slot(family: Family) -> u32 {
    match family {
        Family::I440fx => 2,
        Family::Q35 => 1,
    }
}
