//! Controllers and hubs.

use serde_json::{Value, json};

use super::layout::on_board;
use super::machine::Family;
use super::{Plan, layout};
use crate::model::{Address, ControllerDef, ControllerKind, HubDef, PciAddress};

/// The name of a controller in QEMU: the user's, or libvirt's.
pub(super) fn id(controller: &ControllerDef, family: Family) -> String {
    if let Some(alias) = &controller.info.alias {
        return alias.clone();
    }
    let index = controller.index.unwrap_or(0);
    match controller.kind {
        ControllerKind::Pci if index == 0 => family.pci_bus().to_owned(),
        ControllerKind::Pci => format!("pci.{index}"),
        ControllerKind::Usb if index == 0 => "usb".to_owned(),
        kind => format!("{}{index}", kind.as_str()),
    }
}

/// All controllers of the guest.
pub(super) fn all(plan: &mut Plan<'_>) {
    let controllers = plan.layout.controllers.clone();
    for controller in &controllers {
        if controller.kind == ControllerKind::Pci && controller.index == Some(0) {
            hole(plan, controller);
        }
        if !on_board(controller, plan.machine.family) {
            add(plan, controller);
        } else if controller.kind == ControllerKind::Isa && controller.index.unwrap_or(0) > 0 {
            plan.unsupported(&controller.info.path, "a PC has one ISA bus", "leave the controller out");
        } else {
            where_it_is(plan, controller);
        }
    }
}

/// What the machine has on its board sits where it sits.
fn where_it_is(plan: &mut Plan<'_>, controller: &ControllerDef) {
    let (slot, function) = match (controller.kind, plan.machine.family) {
        (ControllerKind::Ide, Family::I440fx) => (0x01, 1),
        (ControllerKind::Sata, Family::Q35) => (0x1f, 2),
        _ => return,
    };
    let is = PciAddress { domain: 0, bus: 0, slot, function, multifunction: None };
    match &controller.info.address {
        None => {}
        Some(Address::Pci(given)) if (PciAddress { multifunction: None, ..*given }) == is => {}
        Some(_) => {
            let message = "this controller is on the machine's board";
            let remedy = format!(
                "write <address type='pci' slot='{slot:#04x}' function='{function}'/>, or leave it out"
            );
            plan.error(&format!("{}/address", controller.info.path), message, remedy);
        }
    }
}

/// Room for large devices.
fn hole(plan: &mut Plan<'_>, root: &ControllerDef) {
    let Some(size) = root.pcihole64 else { return };
    let host = match plan.machine.family {
        Family::I440fx => "i440FX-pcihost",
        Family::Q35 => "q35-pcihost",
    };
    plan.args.pair("-global", format!("{host}.pci-hole64-size={}K", size.kib()));
}

fn add(plan: &mut Plan<'_>, controller: &ControllerDef) {
    let path = &controller.info.path;
    let Some(driver) = driver(controller, plan.machine.family) else {
        let what = controller.model.as_deref().unwrap_or("");
        let message = format!("a PC has no {} controller {what}", controller.kind.as_str());
        plan.unsupported(path, message, "leave it out, or choose another model");
        return;
    };
    if let Some(name) = controller.model_name.as_deref().filter(|name| *name != driver) {
        let message = format!("'{name}' is not QEMU's device for this controller, '{driver}' is");
        plan.unsupported(&format!("{path}/model/@name"), message, "leave <model> out");
    }
    let twice = |c: &&ControllerDef| {
        (c.kind, c.index, &c.model) == (controller.kind, controller.index, &controller.model)
    };
    if plan.layout.controllers.iter().filter(twice).count() > 1 {
        let index = controller.index.unwrap_or(0);
        let message = format!("the {} controller {index} is there twice", controller.kind.as_str());
        plan.error(path, message, "give each its own index");
    }
    let id = id(controller, plan.machine.family);
    let mut device = json!({ "driver": driver, "id": id });
    plan.slots.take_id(&id);
    match controller.kind {
        ControllerKind::Pci => pci(plan, controller, &mut device),
        ControllerKind::Usb => usb(plan, controller, &mut device),
        ControllerKind::VirtioSerial => {
            set(&mut device, "max_ports", controller.ports);
            set(&mut device, "vectors", controller.vectors);
            virtio(controller, &mut device);
        }
        ControllerKind::Scsi => scsi(plan, controller, &mut device),
        _ => {}
    }
    if controller.kind == ControllerKind::Ccid {
        plan.usb_place(&controller.info, &mut device);
    } else if let Some(at) = plan.layout.pci.get(path).copied() {
        layout::write_pci(&plan.layout, plan.machine.family, at, &mut device);
        ports(controller, at.slot * 8 + at.function, &mut device);
    }
    plan.device(path, &device);
}

/// QEMU's device for a controller.
pub(super) fn driver(controller: &ControllerDef, family: Family) -> Option<&'static str> {
    let model = controller.model.as_deref().unwrap_or_default();
    Some(match (controller.kind, model) {
        (ControllerKind::Pci, "pci-bridge") => "pci-bridge",
        (ControllerKind::Pci, "dmi-to-pci-bridge") => "i82801b11-bridge",
        (ControllerKind::Pci, "pcie-root-port") => match controller.model_name.as_deref() {
            Some("ioh3420") => "ioh3420",
            _ => "pcie-root-port",
        },
        (ControllerKind::Pci, "pcie-switch-upstream-port") => "x3130-upstream",
        (ControllerKind::Pci, "pcie-switch-downstream-port") => "xio3130-downstream",
        (ControllerKind::Pci, "pci-expander-bus") => "pxb",
        (ControllerKind::Pci, "pcie-expander-bus") => "pxb-pcie",
        (ControllerKind::Pci, "pcie-to-pci-bridge") => "pcie-pci-bridge",
        (ControllerKind::Usb, "piix3-uhci") => "piix3-usb-uhci",
        (ControllerKind::Usb, "piix4-uhci") => "piix4-usb-uhci",
        (ControllerKind::Usb, "ehci") => "usb-ehci",
        (ControllerKind::Usb, "ich9-ehci1") => "ich9-usb-ehci1",
        (ControllerKind::Usb, "ich9-uhci1") => "ich9-usb-uhci1",
        (ControllerKind::Usb, "ich9-uhci2") => "ich9-usb-uhci2",
        (ControllerKind::Usb, "ich9-uhci3") => "ich9-usb-uhci3",
        (ControllerKind::Usb, "vt82c686b-uhci") => "vt82c686b-usb-uhci",
        (ControllerKind::Usb, "pci-ohci") => "pci-ohci",
        (ControllerKind::Usb, "nec-xhci") => "nec-usb-xhci",
        (ControllerKind::Usb, "qemu-xhci") => "qemu-xhci",
        (ControllerKind::Scsi, "lsilogic") => "lsi",
        (ControllerKind::Scsi, "lsisas1068") => "mptsas1068",
        (ControllerKind::Scsi, "lsisas1078") => "megasas",
        (ControllerKind::Scsi, "vmpvscsi") => "pvscsi",
        (ControllerKind::Scsi, "ibmvscsi") => "spapr-vscsi",
        (ControllerKind::Scsi, "virtio-scsi") => "virtio-scsi-pci",
        (ControllerKind::Scsi, "virtio-transitional") => "virtio-scsi-pci-transitional",
        (ControllerKind::Scsi, "virtio-non-transitional") => "virtio-scsi-pci-non-transitional",
        (ControllerKind::Scsi, "am53c974") => "am53c974",
        (ControllerKind::Scsi, "dc390") => "dc390",
        (ControllerKind::VirtioSerial, "virtio-transitional") => "virtio-serial-pci-transitional",
        (ControllerKind::VirtioSerial, "virtio-non-transitional") => "virtio-serial-pci-non-transitional",
        (ControllerKind::VirtioSerial, _) => "virtio-serial-pci",
        (ControllerKind::Sata, _) => "ahci",
        (ControllerKind::Ccid, _) => "usb-ccid",
        (ControllerKind::Fdc, _) if family == Family::Q35 => "isa-fdc",
        _ => return None,
    })
}

fn pci(plan: &mut Plan<'_>, controller: &ControllerDef, device: &mut Value) {
    let target = &controller.target;
    match controller.model.as_deref().unwrap_or_default() {
        "pci-bridge" => device["chassis_nr"] = target.chassis_nr.or(controller.index).into(),
        "pci-expander-bus" | "pcie-expander-bus" => {
            device["bus_nr"] = target.bus_nr.unwrap_or_else(|| free_bus_number(plan, controller)).into();
            set(device, "numa_node", target.node);
        }
        _ => {}
    }
    if target.hotplug.is_some() {
        device["hotplug"] = target.hotplug.into();
    }
}

/// Expanders number their buses from above: each leaves room below it for the buses behind it.
fn free_bus_number(plan: &Plan<'_>, controller: &ControllerDef) -> u32 {
    let expanders = plan
        .layout
        .controllers
        .iter()
        .filter(|c| matches!(c.model.as_deref(), Some("pci-expander-bus" | "pcie-expander-bus")));
    let before = expanders.take_while(|c| c.index != controller.index).count();
    254u32.saturating_sub(u32::try_from(before).unwrap_or(0) * 2).max(1)
}

/// Number and chassis of a port, by which a guest tells slots apart.
fn ports(controller: &ControllerDef, place: u32, device: &mut Value) {
    let target = &controller.target;
    let port = match (controller.kind, controller.model.as_deref().unwrap_or_default()) {
        (ControllerKind::Pci, "pcie-root-port") => place,
        (ControllerKind::Pci, "pcie-switch-downstream-port") => place / 8,
        _ => return,
    };
    device["port"] = target.port.unwrap_or(port).into();
    device["chassis"] = target.chassis.or(controller.index).into();
}

fn usb(plan: &mut Plan<'_>, controller: &ControllerDef, device: &mut Value) {
    if let Some(first) = controller.master_startport {
        let index = controller.index.unwrap_or(0);
        let is_master = |c: &&ControllerDef| {
            c.kind == ControllerKind::Usb && c.index == Some(index) && c.master_startport.is_none()
        };
        let master = plan.layout.controllers.iter().find(is_master).map(|c| id(c, plan.machine.family));
        let master = master.unwrap_or_else(|| id(controller, plan.machine.family));
        device["masterbus"] = format!("{master}.0").into();
        device["firstport"] = first.into();
        if let Some(object) = device.as_object_mut() {
            object.remove("id");
        }
    }
    let xhci = matches!(controller.model.as_deref(), Some("nec-xhci" | "qemu-xhci"));
    if xhci && controller.ports.is_some() {
        device["p2"] = controller.ports.into();
        device["p3"] = controller.ports.into();
    } else if let Some(ports) = controller.ports {
        let message = format!("{ports} ports are for controllers of xHCI");
        plan.unsupported(&format!("{}/@ports", controller.info.path), message, "leave 'ports' out");
    }
}

fn scsi(plan: &mut Plan<'_>, controller: &ControllerDef, device: &mut Value) {
    let driver = &controller.driver;
    let is_virtio = controller.model.as_deref().is_some_and(|m| m.starts_with("virtio"));
    let path = format!("{}/driver", controller.info.path);
    if !is_virtio {
        let asked = driver.queues.is_some() || driver.cmd_per_lun.is_some() || driver.max_sectors.is_some();
        if asked || driver.ioeventfd.is_some() || driver.iothread.is_some() {
            plan.unsupported(&path, "queues and threads are for virtio-scsi", "write model='virtio-scsi'");
        }
        if controller.model.as_deref() == Some("ibmvscsi") {
            device["reg"] = 0x2000.into();
        }
        return;
    }
    if let Some(thread) = driver.iothread {
        if !plan.def.iothreads.iter().any(|t| t.id == thread) {
            plan.unsupported(&path, format!("there is no I/O thread {thread}"), "give it by <iothreadids>");
        }
        device["iothread"] = format!("iothread{thread}").into();
    }
    set(device, "num_queues", driver.queues);
    set(device, "cmd_per_lun", driver.cmd_per_lun);
    set(device, "max_sectors", driver.max_sectors);
    set(device, "ioeventfd", driver.ioeventfd);
    virtio(controller, device);
}

/// What all virtio devices may say.
fn virtio(controller: &ControllerDef, device: &mut Value) {
    let driver = &controller.driver;
    set(device, "event_idx", driver.event_idx);
    set(device, "iommu_platform", driver.iommu);
    set(device, "ats", driver.ats);
    set(device, "packed", driver.packed);
    set(device, "page-per-vq", driver.page_per_vq);
}

fn set(device: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        device[name] = value.into();
    }
}

/// Hubs, and those that are added where USB ports are too few.
pub(super) fn added_hubs(plan: &mut Plan<'_>, first: usize) {
    for (at, info) in plan.layout.hubs.clone().into_iter().enumerate() {
        hub(plan, &HubDef { info }, first + at);
    }
}

/// A hub of the document.
pub(super) fn hub(plan: &mut Plan<'_>, hub: &HubDef, index: usize) {
    let id = hub.info.alias.clone().unwrap_or_else(|| format!("hub{index}"));
    let mut device = json!({ "driver": "usb-hub", "id": id });
    plan.usb_place(&hub.info, &mut device);
    plan.device(&hub.info.path, &device);
}
