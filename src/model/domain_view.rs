//! Reads `<domain>` documents, but for disks and NICs. Owns libvirt's words and defaults for domains;
//! must never judge what belongs together (see `plan::check`).

use std::net::{IpAddr, Ipv4Addr};

use super::doc::{Definition, accept_notes, host_path, skip_alias, skip_bus_address, text_of};
use super::{
    BootDev, Device, DomainDef, DomainKind, GraphicsDef, LifecycleAction, MemorySize, OsDef, SerialDef,
    VideoDef, disk_view, interface_view,
};
use crate::xml::view::View;

const BOOT_DEVS: &[(&str, BootDev)] =
    &[("hd", BootDev::Hd), ("cdrom", BootDev::Cdrom), ("network", BootDev::Network), ("fd", BootDev::Fd)];

impl Definition for DomainDef {
    const ROOT: &'static str = "domain";

    fn read(root: &View<'_>) -> Option<Self> {
        accept_notes(root);
        // The number of a running guest, which libvirt writes and does not read.
        root.attr("id");
        let kind = kind(root);
        let name = text_of(root, "name");
        if name.is_none() && root.element().child("name").is_none_or(|n| n.text().trim().is_empty()) {
            root.error("the domain has no name", "add <name>");
        }
        root.accept_children("currentMemory");
        clock(root);
        if let Some(vcpu) = root.child("vcpu") {
            vcpu.one_of("placement", &[("static", ()), ("auto", ())]);
        }
        let os = os(root);
        let devices = root.child("devices");
        let emulator = devices.as_ref().and_then(|d| d.child("emulator")).and_then(|e| host_path(&e, None));
        Some(Self {
            uuid: text_of(root, "uuid"),
            title: root.child("title").map(|t| t.text().into_owned()).unwrap_or_default(),
            memory: root.child("memory").and_then(|m| memory(&m)).unwrap_or(MemorySize(0)),
            vcpus: text_of(root, "vcpu").unwrap_or(1),
            features: root.child("features").map(|f| features(&f)).unwrap_or_default(),
            on_poweroff: lifecycle(root, "on_poweroff", LifecycleAction::Destroy),
            on_reboot: lifecycle(root, "on_reboot", LifecycleAction::Restart),
            on_crash: lifecycle(root, "on_crash", LifecycleAction::Destroy),
            emulator,
            devices: devices.map(|d| self::devices(&d)).unwrap_or_default(),
            kind: kind?,
            name: name?,
            os: os?,
        })
    }
}

fn kind(root: &View<'_>) -> Option<DomainKind> {
    match root.filled("type") {
        Some("qemu") => Some(DomainKind::Qemu),
        Some("kvm") => Some(DomainKind::Kvm),
        Some(other) => {
            let message = format!("a domain of type '{other}' is for another hypervisor");
            root.error_at("type", message, "Warren runs qemu and kvm");
            None
        }
        None => {
            root.error_at("type", "the domain has no type", "add type='kvm' or type='qemu'");
            None
        }
    }
}

fn clock(root: &View<'_>) {
    if let Some(clock) = root.child("clock") {
        clock.accept();
        if let Some(offset) = clock.filled("offset").filter(|o| *o != "utc") {
            let message =
                format!("the clock offset '{offset}' has no effect yet: the guest's clock is in UTC");
            clock.warning_at("offset", message, "");
        }
    }
}

fn memory(view: &View<'_>) -> Option<MemorySize> {
    let unit = view.filled("unit").unwrap_or("KiB");
    let text = view.text();
    let Ok(value) = text.parse::<u64>() else {
        view.error(
            format!("'{text}' is not an amount of memory"),
            "give a whole number, and a unit beside it",
        );
        return None;
    };
    match MemorySize::from_unit(value, unit) {
        Ok(size) => Some(size),
        Err(e) => {
            view.error_at("unit", e.to_string(), "");
            None
        }
    }
}

fn os(root: &View<'_>) -> Option<OsDef> {
    let Some(os) = root.child("os") else {
        root.error("the domain has no <os>", "add <os><type>hvm</type></os>");
        return None;
    };
    let arch = os_type(&os);
    let boot = os.children("boot").iter().filter_map(|b| b.one_of("dev", BOOT_DEVS)).collect();
    if let Some(menu) = os.child("bootmenu")
        && menu.yes_no("enable") == Some(true)
    {
        menu.unsupported("Warren has no boot menu yet", "leave it out");
    }
    let path = |name: &str| os.child(name).and_then(|v| host_path(&v, None));
    let cmdline = os.child("cmdline").map(|c| c.text().into_owned()).filter(|c| !c.is_empty());
    let (arch, machine) = arch?;
    Some(OsDef { arch, machine, boot, kernel: path("kernel"), initrd: path("initrd"), cmdline })
}

fn os_type(os: &View<'_>) -> Option<(String, Option<String>)> {
    let Some(kind) = os.child("type") else {
        os.error("<os> has no <type>", "add <type>hvm</type>");
        return None;
    };
    if kind.text() != "hvm" {
        kind.error(format!("'{}' is not a type of system that QEMU runs", kind.text()), "write hvm");
    }
    // The names of the two that Rust and libvirt call differently; others agree.
    let host = match std::env::consts::ARCH {
        "x86" => "i686",
        other => other,
    };
    let arch = kind.filled("arch").unwrap_or(host);
    if !matches!(arch, "x86_64" | "i686") {
        let message = format!("Warren does not run guests of architecture '{arch}' yet");
        kind.unsupported_at("arch", message, "x86_64 and i686 are known");
    }
    Some((arch.to_owned(), kind.filled("machine").map(str::to_owned)))
}

fn features(view: &View<'_>) -> Vec<String> {
    let mut on = Vec::new();
    for name in ["acpi", "apic", "pae"] {
        if let Some(feature) = view.child(name) {
            feature.accept();
            on.push(name.to_owned());
        }
    }
    on
}

fn lifecycle(root: &View<'_>, name: &str, default: LifecycleAction) -> LifecycleAction {
    let Some(view) = root.child(name) else { return default };
    match view.text().as_ref() {
        "" => default,
        "destroy" => LifecycleAction::Destroy,
        "restart" => LifecycleAction::Restart,
        "preserve" => LifecycleAction::Preserve,
        other @ ("rename-restart" | "coredump-destroy" | "coredump-restart") => {
            view.unsupported(format!("Warren does not know how to '{other}' yet"), "");
            default
        }
        other => {
            view.error(format!("'{other}' is not an action"), "give destroy, restart or preserve");
            default
        }
    }
}

fn devices(view: &View<'_>) -> Vec<Device> {
    let has_serial = view.element().child("serial").is_some();
    let mut serials = 0;
    let mut devices = Vec::new();
    for child in view.all_children() {
        match child.name() {
            "emulator" if std::ptr::eq(child.element(), first(view, "emulator")) => {}
            "disk" => devices.extend(disk_view::disk(&child).map(Device::Disk)),
            "interface" => devices.extend(interface_view::interface(&child).map(Device::Interface)),
            "serial" => devices.extend(serial(&child, &mut serials).map(Device::Serial)),
            "console" if has_serial || serials > 0 => second_console(&child),
            "console" => devices.extend(serial(&child, &mut serials).map(Device::Serial)),
            "graphics" => devices.extend(graphics(&child).map(Device::Graphics)),
            "video" => devices.extend(video(&child).map(Device::Video)),
            "memballoon" => child.accept(),
            "controller" => controller(&child),
            "input" => input(&child),
            "audio" if child.element().attr("type") == Some("none") => child.accept(),
            _ => child.leave(),
        }
    }
    devices
}

/// The first child of this name; the element itself where there is none.
fn first<'a>(view: &View<'a>, name: &str) -> &'a crate::xml::Element {
    view.element().child(name).unwrap_or(view.element())
}

/// Controllers that a guest gets anyway, with whatever bus Warren lays out.
fn controller(view: &View<'_>) {
    match view.filled("type") {
        Some("pci" | "usb" | "ide" | "sata" | "virtio-serial" | "fdc") => view.accept(),
        Some("scsi") => {
            view.accept();
            view.warning("the controller has no effect: Warren makes its own where a disk needs one", "");
        }
        _ => view.leave(),
    }
}

/// Every PC has a mouse and a keyboard.
fn input(view: &View<'_>) {
    let element = view.element();
    let ps2 = matches!(element.attr("bus"), None | Some("ps2"));
    if ps2 && matches!(element.attr("type"), Some("mouse" | "keyboard")) {
        view.accept();
    } else {
        view.leave();
    }
}

/// A `<serial>`, or a `<console>` that stands for one.
fn serial(view: &View<'_>, count: &mut u32) -> Option<SerialDef> {
    let kind = view.filled("type").unwrap_or("pty");
    if !matches!(kind, "pty" | "unix") {
        view.accept();
        let message = format!("Warren does not have a <{}> of type '{kind}' yet", view.name());
        view.unsupported_at("type", message, "give pty or unix");
        return None;
    }
    let target = view.child("target");
    let target_type = target.as_ref().and_then(|t| t.filled("type")).unwrap_or("isa-serial");
    if !matches!(target_type, "isa-serial" | "serial") {
        view.accept();
        let message = format!("Warren does not have a <{}> as '{target_type}' yet", view.name());
        view.unsupported(message, "a serial port is isa-serial");
        return None;
    }
    if let Some(model) = target.as_ref().and_then(|t| t.child("model"))
        && model.filled("name").is_some_and(|n| n != "isa-serial")
    {
        model.unsupported_at("name", "Warren has no other serial port than isa-serial yet", "");
    }
    skip_bus_address(view);
    skip_alias(view);
    // Where libvirt found the pty of a running guest.
    view.attr("tty");
    if let Some(source) = view.child("source") {
        source.accept();
        if kind == "unix" {
            source.warning("the path of the socket has no effect: Warren hands the console out itself", "");
        }
    }
    let port = target.and_then(|t| t.parsed("port")).unwrap_or(*count);
    *count += 1;
    Some(SerialDef { path: view.path().to_owned(), port })
}

/// A `<console>` beside a `<serial>`: the first says again what the serial port says.
fn second_console(view: &View<'_>) {
    let target = view.element().child("target").and_then(|t| t.attr("type"));
    if matches!(target, None | Some("serial")) {
        view.accept();
    } else {
        view.leave();
    }
}

fn graphics(view: &View<'_>) -> Option<GraphicsDef> {
    match view.filled("type") {
        Some("vnc") => {}
        Some(other) => {
            view.accept();
            view.unsupported_at("type", format!("Warren has no display of type '{other}' yet"), "give vnc");
            return None;
        }
        None => {
            view.accept();
            view.error_at("type", "the display has no type", "add type='vnc'");
            return None;
        }
    }
    let listen = listen(view);
    let auto = view.yes_no("autoport").unwrap_or(false);
    let port = match view.parsed::<i32>("port") {
        None | Some(-1) => None,
        Some(port) => match u16::try_from(port) {
            Ok(port) if port >= 5900 => Some(port),
            _ => {
                view.error_at("port", format!("{port} is not a port for VNC"), "give 5900 to 65535, or -1");
                None
            }
        },
    };
    Some(GraphicsDef { path: view.path().to_owned(), port: port.filter(|_| !auto), listen })
}

/// The address to listen on; a wrong one is remarked on, and the local host stands for it.
fn listen(view: &View<'_>) -> IpAddr {
    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut address = view.filled("listen").map(|a| (view.clone(), "listen", a));
    if let Some(child) = view.child("listen") {
        match child.filled("type").unwrap_or("address") {
            "address" => {
                let inner = child.filled("address");
                if let (Some(inner), Some((_, _, outer))) = (inner, &address)
                    && inner != *outer
                {
                    let message = format!("listen is '{outer}' and <listen> says '{inner}'");
                    view.error_at("listen", message, "leave one out");
                }
                address = inner.map(|a| (child.clone(), "address", a)).or(address);
            }
            other => {
                child.accept();
                let message = format!("Warren's displays do not listen on '{other}' yet");
                child.unsupported_at("type", message, "give type='address'");
            }
        }
    }
    let Some((place, attr, text)) = address else { return LOCAL };
    text.parse().unwrap_or_else(|_| {
        place.unsupported_at(attr, format!("'{text}' is not an IP address"), "give the address itself");
        LOCAL
    })
}

fn video(view: &View<'_>) -> Option<VideoDef> {
    skip_bus_address(view);
    skip_alias(view);
    let Some(model) = view.child("model") else {
        return Some(VideoDef { path: view.path().to_owned(), model: "vga".to_owned() });
    };
    for attr in ["ram", "vram", "vgamem"] {
        // 16384 is what libvirt writes where nothing was said.
        if model.attr(attr).is_some_and(|v| v != "16384") {
            model.warning_at(attr, format!("'{attr}' has no effect yet"), "");
        }
    }
    for (attr, only) in [("heads", "1"), ("primary", "yes")] {
        if model.attr(attr).is_some_and(|v| v != only) {
            model.unsupported_at(attr, format!("Warren has only {attr}='{only}' yet"), "");
        }
    }
    let name = model.filled("type").unwrap_or("vga");
    if !matches!(name, "vga" | "cirrus" | "virtio" | "bochs" | "none") {
        let remedy = "known are vga, cirrus, virtio, bochs and none";
        model.unsupported_at("type", format!("Warren does not have the video model '{name}'"), remedy);
        return None;
    }
    Some(VideoDef { path: view.path().to_owned(), model: name.to_owned() })
}
