//! What a layout gives that its document does not say: places of devices, and the devices that are added.
//!
//! Owns which of it belongs into the document, so that the same devices have the same places at every start,
//! whatever comes or goes beside them. Must never write a document (see `plan::complete`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Layout, controllers, drive_of};
use crate::model::{Address, ControllerDef, ControllerKind, Device, DeviceInfo, DomainDef, PciAddress};
use crate::plan::host::QemuFacts;
use crate::plan::qemu::machine::{Family, Machine};
use crate::plan::qemu::{Handed, Plan, controller, implied, whole};

/// What is to be added to a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::plan) struct Places {
    /// Paths of devices of the document that have no place there, or no whole one, with their places.
    pub(in crate::plan) given: Vec<(String, Address)>,
    /// Paths of controllers of the document that have no index there, with their indexes.
    pub(in crate::plan) indexes: Vec<(String, u32)>,
    /// Controllers that the document does not have.
    pub(in crate::plan) controllers: Vec<ControllerDef>,
    /// The places of hubs that the document does not have.
    pub(in crate::plan) hubs: Vec<Address>,
    /// The place of the display adapter that the document leaves to be understood.
    pub(in crate::plan) video: Option<PciAddress>,
    /// The place of the balloon that the document leaves to be understood.
    pub(in crate::plan) memballoon: Option<PciAddress>,
}

/// With more devices, a guest is not looked at before it is started: a definition must not cost more than to read it.
const MOST_DEVICES: usize = 1024;

/// What `def` leaves to be chosen. Devices that are as they were in `old`, the definition that `def` replaces,
/// keep their places where that can be. `None` where `def` is not for a PC, or not everything has a place.
pub(in crate::plan) fn places(def: &DomainDef, old: Option<&DomainDef>) -> Option<Places> {
    let family = family(def)?;
    let kept = old.filter(|old| self::family(old) == Some(family)).map(|old| as_it_was(def, old, family));
    kept.and_then(|kept| of_layout(def, &kept, family)).or_else(|| of_layout(def, def, family))
}

/// The family of a guest that can be given places.
fn family(def: &DomainDef) -> Option<Family> {
    if def.devices.len() > MOST_DEVICES {
        return None;
    }
    let is_pc = matches!(def.os.arch.as_str(), "x86_64" | "i686" | "i386");
    Family::asked(def.os.machine.as_deref().unwrap_or("pc")).filter(|_| is_pc)
}

/// The places of `asked`, which is `def` with what is wished for besides.
fn of_layout(def: &DomainDef, asked: &DomainDef, family: Family) -> Option<Places> {
    let machine = Machine { name: asked.os.machine.as_deref().unwrap_or("pc"), family };
    // The places are the same for every QEMU: what one cannot do is found out at the start.
    let qemu = QemuFacts {
        path: PathBuf::new(),
        version: (7, 2, 0),
        arch: asked.os.arch.clone(),
        machines: Vec::new(),
        kvm: true,
        vhost_net: false,
        devices: BTreeSet::new(),
        cpu_models: BTreeSet::new(),
        firmware: Vec::new(),
    };
    let handed = Handed::for_a_look(asked, 3, false);
    let plan = |layout, listening| {
        let mut plan = Plan::new(asked, &qemu, machine, layout, &handed);
        plan.listening = listening;
        whole(&mut plan, &asked.uuid.unwrap_or_default(), &handed);
        (plan.wishes, plan.findings)
    };
    let (wishes, _) = plan(Layout::begin(asked, machine), true);
    let (layout, misplaced) = Layout::finish(asked, machine, wishes);
    if !misplaced.is_empty() {
        return None;
    }
    let mut places =
        Places { hubs: layout.hubs.iter().filter_map(|h| h.address.clone()).collect(), ..Places::default() };
    for controller in &layout.controllers {
        let of_document = def.controllers().find(|c| c.info.path == controller.info.path);
        match (of_document, controller.index) {
            (None, _) => places.controllers.push(whole_controller(&layout, controller, family)),
            (Some(ControllerDef { index: None, info, .. }), Some(index)) => {
                places.indexes.push((info.path.clone(), index));
            }
            _ => {}
        }
    }
    for device in implied::devices(def) {
        let at = layout.pci.get(&device.info().path).map(|at| layout.told(*at));
        match device {
            Device::Video(_) => places.video = at,
            Device::Memballoon(_) => places.memballoon = at,
            _ => {}
        }
    }
    let given = def.devices.iter().filter_map(|d| Some((d.info().path.clone(), layout.address(d)?)));
    places.given = given.collect();
    let is_drive = |(_, at): &(String, Address)| matches!(at, Address::Drive(_));
    if places.given.iter().any(is_drive) {
        // Drives for which their bus has no place are told of only by the plan with all places.
        let (_, findings) = plan(layout, false);
        let misplaced = |path: &str| findings.iter().any(|f| f.path.starts_with(&format!("{path}/target/")));
        places.given.retain(|given| !is_drive(given) || !misplaced(&given.0));
    }
    Some(places)
}

impl Layout {
    /// A place as it is to be written: one that shares its slot says so.
    fn told(&self, at: PciAddress) -> PciAddress {
        let shared = at.function == 0 && self.multifunction.contains(&(at.bus, at.slot));
        PciAddress { multifunction: at.multifunction.or(shared.then_some(true)), ..at }
    }

    /// What a device of the document does not say of its place.
    fn address(&self, device: &Device) -> Option<Address> {
        let info = device.info();
        let pci = || self.pci.get(&info.path).map(|at| Address::Pci(self.told(*at)));
        let usb = || {
            let (bus, port) = self.usb.get(&info.path).filter(|(_, port)| !port.is_empty())?;
            Some(Address::Usb { bus: *bus, port: port.clone() })
        };
        let port = || match self.ports.get(&info.path) {
            Some((controller, port @ Some(_))) => {
                Some(Address::Port { controller: *controller, bus: 0, port: *port })
            }
            _ => None,
        };
        let drive = || match device {
            Device::Disk(disk) => drive_of(disk).map(Address::Drive),
            _ => None,
        };
        match &info.address {
            None => pci().or_else(usb).or_else(port).or_else(drive),
            Some(Address::Usb { port, .. }) if port.is_empty() => usb(),
            Some(Address::Port { port: None, .. }) => port(),
            Some(_) => None,
        }
    }
}

/// A controller that is added, with all that is chosen for it.
fn whole_controller(layout: &Layout, added: &ControllerDef, family: Family) -> ControllerDef {
    let mut added = added.clone();
    let path = &added.info.path;
    let at = layout.pci.get(path).map(|at| layout.told(*at));
    let usb = layout.usb.get(path).map(|(bus, port)| Address::Usb { bus: *bus, port: port.clone() });
    added.info.address = at.map(Address::Pci).or(usb);
    if let (ControllerKind::Pci, Some(at)) = (added.kind, at) {
        added.model_name = controller::driver(&added, family).map(str::to_owned);
        match added.model.as_deref() {
            Some("pcie-root-port") => {
                added.target.chassis = added.index;
                added.target.port = Some(at.slot * 8 + at.function);
            }
            Some("pci-bridge") => added.target.chassis_nr = added.index,
            _ => {}
        }
    }
    added
}

/// `def` with the places that `old` gives to the same devices, and the controllers that go with them.
fn as_it_was(def: &DomainDef, old: &DomainDef, family: Family) -> DomainDef {
    let mut new = def.clone();
    for known in controllers::known(def, family) {
        let of_document = new.devices.iter_mut().find(|d| d.info().path == known.info.path);
        if let Some(Device::Controller(controller)) = of_document {
            controller.index = known.index;
        }
    }
    let mut taken: Vec<Address> = def.devices.iter().filter_map(|d| d.info().address.clone()).collect();
    let mut keep = |device: &Device| -> Option<Address> {
        let same = old.devices.iter().filter(|before| is_same(before, device));
        let places = same.filter_map(|before| before.info().address.as_ref());
        let chosen = |at: &&Address| match at {
            Address::Pci(_) | Address::Port { .. } => true,
            // Behind a hub, which the new document may not have: there it is chosen anew, with the hub.
            Address::Usb { port, .. } => !port.contains('.'),
            _ => false,
        };
        let at = places.filter(chosen).find(|at| !taken.contains(at))?.clone();
        taken.push(at.clone());
        Some(at)
    };
    for device in new.devices.iter_mut().filter(|d| d.info().address.is_none()) {
        device.info_mut().address = keep(device);
    }
    for mut understood in implied::devices(def) {
        if let Some(at) = keep(&understood) {
            understood.info_mut().address = Some(at);
            new.devices.push(understood);
        }
    }
    let behind = |d: &Device| matches!(d.info().address, Some(Address::Pci(at)) if at.bus > 0);
    let buses = new.devices.iter().any(behind);
    let needed = controllers::known(&new, family);
    for before in old.controllers() {
        let is = |c: &ControllerDef| (c.kind, c.index) == (before.kind, before.index);
        let (Some(index), false) = (before.index, new.controllers().any(is)) else { continue };
        let wanted = needed.iter().any(|c| is(c) && (before.model.is_none() || c.model == before.model));
        if wanted || (before.kind == ControllerKind::Pci && buses && before.info.address.is_some()) {
            let controller = controllers::added(before.kind, index, before.model.as_deref());
            let mut controller = Device::Controller(controller);
            controller.info_mut().address = keep(&controller);
            new.devices.push(controller);
        }
    }
    new
}

/// Whether a device of the definition before is the one of the new definition: a NIC by its MAC, a disk by its
/// target, a controller by its index, what a guest has one of by itself, each if it is still of the same model;
/// others if they are the same in all that they say.
fn is_same(before: &Device, now: &Device) -> bool {
    match (before, now) {
        (Device::Interface(a), Device::Interface(b)) => {
            a.mac.is_some() && a.mac == b.mac && a.model == b.model
        }
        (Device::Disk(a), Device::Disk(b)) => (&a.target, a.bus) == (&b.target, b.bus),
        (Device::Video(a), Device::Video(b)) => a.model == b.model,
        (Device::Memballoon(a), Device::Memballoon(b)) => a.model == b.model,
        (Device::Controller(a), Device::Controller(b)) => {
            (a.kind, a.index, &a.model) == (b.kind, b.index, &b.model)
        }
        _ => {
            let said = |device: &Device| {
                let mut device = device.clone();
                *device.info_mut() = DeviceInfo::default();
                device
            };
            std::mem::discriminant(before) == std::mem::discriminant(now) && said(before) == said(now)
        }
    }
}
