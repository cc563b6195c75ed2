//! Judges interfaces: what libvirt refuses, what cannot be run yet, and what has no effect. Must never look
//! at the host or at other documents.

use std::collections::HashMap;

use super::{Check, at};
use crate::model::{
    DomainDef, InterfaceDef, InterfaceKind, Mac, NicBackendDriver, NicTeaming, VhostUserSource,
};
use crate::plan::qemu::{MAX_QUEUES, nic_alias};

type Checked<'a> = Check<'a, DomainDef>;

pub(super) fn interfaces(check: &mut Checked<'_>) {
    let def = check.doc.def();
    let nics: Vec<&InterfaceDef> = def.interfaces().collect();
    macs(check, &nics);
    let taps = nics
        .iter()
        .filter(|n| n.kind.has_tap())
        .filter_map(|n| Some((at(&n.info.path, "target/@dev"), n.target.clone()?)));
    check.unique("the name of a TAP", taps);
    let aliases =
        nics.iter().enumerate().map(|(i, nic)| (at(&nic.info.path, "alias/@name"), nic_alias(def, i)));
    check.unique("the alias of an interface", aliases);
    for nic in nics {
        of_its_type(check, nic);
        host_side(check, nic);
        guest_addresses(check, nic);
        driver(check, nic, &def.os.arch);
        teaming(check, nic, &def.os.arch);
        not_yet(check, nic);
    }
}

fn macs(check: &mut Checked<'_>, nics: &[&InterfaceDef]) {
    let mut seen: HashMap<Mac, &InterfaceDef> = HashMap::new();
    for nic in nics {
        let Some(mac) = nic.mac else { continue };
        let path = at(&nic.info.path, "mac/@address");
        if mac.is_multicast() {
            let remedy = "the second digit of a NIC's address is even";
            check.error(&path, format!("{mac} is a multicast address"), remedy);
        }
        // The host's side of the cable has this address, and a bridge would take what is for the guest.
        let on_bridge = matches!(nic.kind, InterfaceKind::Network { .. } | InterfaceKind::Bridge { .. });
        if mac.0[0] == 0xfe && on_bridge {
            let message = format!("{mac} begins with fe, which is kept for the host's side of a TAP");
            check.unsupported(&path, message, "begin with 52:54:00");
        }
        match seen.get(&mac) {
            Some(first) if first.teaming.is_none() || nic.teaming.is_none() => {
                let message = format!("the MAC address {mac} is given twice; first at {}", first.info.path);
                check.error(&path, message, "leave one out and Warren chooses another");
            }
            Some(_) => {}
            None => {
                seen.insert(mac, nic);
            }
        }
    }
}

/// What stands only in an interface of some type.
fn of_its_type(check: &mut Checked<'_>, nic: &InterfaceDef) {
    use InterfaceKind as Kind;
    let (path, word) = (&nic.info.path, nic.kind.as_str());
    if let Some(first) = nic.port_forwards.first()
        && !nic.has_passt()
    {
        let message = format!(
            "<portForward> takes an interface of type user whose backend is passt; this is type {word}"
        );
        check.error(&first.path, message, "add <backend type='passt'/>");
    }
    if nic.has_passt() && !matches!(nic.kind, Kind::User { .. } | Kind::VhostUser(_)) {
        let message = format!("an interface of type {word} does not go through passt");
        check.error(&at(path, "backend/@type"), message, "leave it out, or write type='user'");
    }
    if matches!(&nic.kind, Kind::User { dev: Some(_) }) && !nic.has_passt() {
        let message = "only passt takes the addresses of an interface of the host";
        check.unsupported(&at(path, "source/@dev"), message, "add <backend type='passt'/>");
    }
    let passt_memory = matches!(nic.kind, Kind::VhostUser(VhostUserSource::Passt { .. }));
    if let Kind::VhostUser(_) = nic.kind
        && !has_shared_memory(check)
    {
        let message = "a vhostuser interface, whose other end reads the guest's memory, needs shared memory";
        let remedy = "add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
        if passt_memory {
            check.error(path, message, remedy);
        } else {
            check.unsupported(path, message, remedy);
        }
    }
    let mtu = nic.has_passt()
        || matches!(
            nic.kind,
            Kind::Network { .. } | Kind::Bridge { .. } | Kind::Ethernet(_) | Kind::VhostUser(_)
        );
    if nic.mtu.is_some() && !mtu {
        let message = format!("the MTU of an interface of type {word} cannot be set");
        check.error(&at(path, "mtu"), message, "leave <mtu> out");
    }
    let coalesce = matches!(
        nic.kind,
        Kind::Network { .. } | Kind::Bridge { .. } | Kind::Ethernet(_) | Kind::VhostUser(_)
    );
    if nic.coalesce.is_some() && !coalesce {
        let message = format!("an interface of type {word} has nothing to coalesce");
        check.error(&at(path, "coalesce"), message, "leave <coalesce> out");
    }
    if nic.target.is_some() && !nic.kind.has_tap() {
        let message = format!("an interface of type {word} has no TAP; the name is kept");
        check.warning(&at(path, "target/@dev"), message, "");
    }
    if !nic.managed_tap && !matches!(nic.kind, Kind::Ethernet(_)) {
        let message = format!("an interface of type {word} has no TAP of yours");
        check.error(&at(path, "target/@managed"), message, "leave managed out, or write type='ethernet'");
    }
    if !nic.managed_tap && nic.target.is_none() {
        check.error(&at(path, "target"), "the TAP that is there already is not named", "add dev='tap0'");
    }
}

/// What only a TAP has, and what hangs on it.
fn host_side(check: &mut Checked<'_>, nic: &InterfaceDef) {
    use InterfaceKind as Kind;
    let (path, word) = (&nic.info.path, nic.kind.as_str());
    let bridged = matches!(nic.kind, Kind::Network { .. } | Kind::Bridge { .. });
    if nic.isolated && !bridged {
        let message =
            format!("an interface of type {word} is not the port of a bridge, which could be isolated");
        check.unsupported(&at(path, "port/@isolated"), message, "leave <port> out");
    }
    if nic.filter.is_some() {
        let message = if bridged || matches!(nic.kind, Kind::Ethernet(_)) {
            "Warren has no network filters yet".to_owned()
        } else {
            format!("an interface of type {word} takes no network filter")
        };
        check.unsupported(
            &at(path, "filterref"),
            message,
            "leave <filterref> out: the guest is not filtered then",
        );
    }
    for (attr, given) in [("tap", &nic.backend.tap), ("vhost", &nic.backend.vhost)] {
        if given.is_some() {
            let message = if nic.kind.has_tap() {
                "Warren opens only the kernel's own devices for a TAP".to_owned()
            } else {
                format!("an interface of type {word} takes no path of a custom {attr} backend")
            };
            check.unsupported(&at(path, &format!("backend/@{attr}")), message, "leave it out");
        }
    }
    if nic.sndbuf.is_some() && !nic.kind.has_tap() {
        let message = format!("an interface of type {word} has no TAP, and so no such buffer");
        check.warning(&at(path, "tune/sndbuf"), message, "leave it out");
    }
    if nic.coalesce.is_some_and(|frames| frames > 0) && nic.kind.has_tap() {
        check.warning(&at(path, "coalesce"), "Warren leaves it to the kernel when frames are told", "");
    }
    if nic.trust_guest_rx_filters == Some(true) {
        let attr = at(path, "@trustGuestRxFilters");
        match nic.kind {
            Kind::Direct { .. } | Kind::Hostdev { .. } => {
                check.unsupported(&attr, "Warren does not follow the filters that a guest sets", "write no");
            }
            _ => check.warning(
                &attr,
                "a TAP on a bridge gets all frames, so that there is no filter to follow",
                "",
            ),
        }
    }
}

/// The rules of QEMU's user-mode network.
fn guest_addresses(check: &mut Checked<'_>, nic: &InterfaceDef) {
    let path = &nic.info.path;
    let user = matches!(nic.kind, InterfaceKind::User { .. }) || nic.has_passt();
    let element = |name: &str, n: usize, count: usize| {
        if count > 1 { format!("{path}/{name}[{}]", n + 1) } else { at(path, name) }
    };
    let mut families = [0; 2];
    for (n, ip) in nic.ips.iter().enumerate() {
        let path = element("ip", n, nic.ips.len());
        if !user {
            let message = format!(
                "the addresses of the guest's side of an interface of type {} are the guest's own",
                nic.kind.as_str()
            );
            check.error(&path, message, "leave <ip> out: DHCP gives addresses");
            continue;
        }
        if ip.peer.is_some() {
            check.error(&at(&path, "@peer"), "a guest of a user-mode network has no peer", "leave peer out");
        }
        let family = usize::from(ip.address.is_ipv6());
        families[family] += 1;
        if families[family] > 1 {
            let message = "a second address of this family is given";
            check.error(&path, message, "one IPv4 and one IPv6 address can be given");
        }
        let wrong = match (ip.prefix.filter(|bits| *bits > 0), ip.address.is_ipv4()) {
            (Some(bits), true) if !(4..=27).contains(&bits) => Some("give 4 to 27"),
            (Some(bits), false) if bits > 120 => Some("give 120 at most"),
            _ => None,
        };
        if let Some(remedy) = wrong {
            check.error(&at(&path, "@prefix"), "a user-mode network has no subnet of this length", remedy);
        }
    }
    if let Some(_first) = nic.routes.first()
        && !nic.has_passt()
    {
        let path = element("route", 0, nic.routes.len());
        let message = "the routes of the guest's side are the guest's own";
        check.error(&path, message, "leave <route> out: DHCP tells the router");
    }
}

fn driver(check: &mut Checked<'_>, nic: &InterfaceDef, arch: &str) {
    let path = at(&nic.info.path, "driver");
    let Some(model) = nic.model_on(arch) else { return };
    let must_be_virtio = matches!(nic.kind, InterfaceKind::VhostUser(_) | InterfaceKind::Vdpa { .. });
    if must_be_virtio && !model.is_virtio() {
        let message = format!(
            "an interface of type {} takes a virtio model, not '{}'",
            nic.kind.as_str(),
            model.as_str()
        );
        check.error(&at(&nic.info.path, "model/@type"), message, "write type='virtio'");
    }
    if !model.is_virtio() {
        if nic.driver.given {
            let message = format!("it is for virtio's models, and has no effect on '{}'", model.as_str());
            check.warning(&path, message, "add <model type='virtio'/>, or leave <driver> out");
        }
        return;
    }
    for (attr, size) in
        [("rx_queue_size", nic.driver.rx_queue_size), ("tx_queue_size", nic.driver.tx_queue_size)]
    {
        if let Some(size) = size.filter(|size| *size > 0 && !size.is_power_of_two()) {
            let message = format!("{attr} {size} is not a power of two");
            check.error(&at(&path, &format!("@{attr}")), message, "virtio takes 256, 512 or 1024");
        }
    }
    let several = nic.kind.has_tap() || must_be_virtio;
    match nic.driver.queues {
        Some(queues) if queues > 0 && !several => {
            let message = format!("an interface of type {} has one queue", nic.kind.as_str());
            check.unsupported(&at(&path, "@queues"), message, "leave queues out");
        }
        Some(queues) if queues > MAX_QUEUES => {
            let message = format!("the kernel gives a TAP {MAX_QUEUES} queues, not {queues}");
            check.unsupported(&at(&path, "@queues"), message, "give one for each CPU of the guest");
        }
        _ => {}
    }
    if nic.driver.name == Some(NicBackendDriver::Vhost) && !nic.kind.has_tap() && !must_be_virtio {
        let message = format!(
            "the kernel moves frames of TAPs, and an interface of type {} has none",
            nic.kind.as_str()
        );
        check.warning(&at(&path, "@name"), message, "leave name out");
    }
}

fn teaming(check: &mut Checked<'_>, nic: &InterfaceDef, arch: &str) {
    let path = at(&nic.info.path, "teaming");
    match &nic.teaming {
        None => {}
        Some(NicTeaming::Persistent) if nic.model_on(arch).is_some_and(|model| model.is_virtio()) => {}
        Some(NicTeaming::Persistent) => {
            let message = "the NIC of a pair that stays takes a virtio model";
            check.error(&at(&path, "@type"), message, "add <model type='virtio'/>");
        }
        Some(NicTeaming::Transient { .. }) => match nic.kind {
            InterfaceKind::Hostdev { .. } => {}
            // Its network would have to hand out devices of the host.
            InterfaceKind::Network { .. } => {
                check.unsupported(&path, "Warren has no networks that give devices of the host away", "");
            }
            _ => {
                let message = "the NIC of a pair that may go is a device of the host";
                check.error(
                    &at(&path, "@type"),
                    message,
                    "write type='hostdev', or teaming type='persistent'",
                );
            }
        },
    }
}

/// What is planned, and does not run yet.
fn not_yet(check: &mut Checked<'_>, nic: &InterfaceDef) {
    use InterfaceKind as Kind;
    let path = &nic.info.path;
    let kind = match &nic.kind {
        Kind::Direct { .. } | Kind::VhostUser(_) | Kind::Vdpa { .. } | Kind::Hostdev { .. } => true,
        // QEMU itself has none; the planner says so.
        Kind::Null | Kind::Vds => false,
        Kind::Internal => {
            let message = "libvirt gives QEMU a user-mode network for it, and so does Warren";
            check.warning(&at(path, "@type"), message, "write type='user', or a <source network>");
            false
        }
        _ => false,
    };
    if kind {
        let message = format!("Warren does not run interfaces of type '{}' yet", nic.kind.as_str());
        check.unsupported(&at(path, "@type"), message, "network, bridge, ethernet and user run");
    }
    if nic.has_passt() && !kind {
        let message = "Warren does not run passt for a single interface yet";
        check.unsupported(
            &at(path, "backend/@type"),
            message,
            "leave it out for QEMU's own, or write type='network'",
        );
    }
    if let Kind::Network { portgroup: Some(name), .. } = &nic.kind {
        let message = format!("Warren does not set ports up by their group yet, here '{name}'");
        check.unsupported(&at(path, "source/@portgroup"), message, "leave portgroup out");
    }
    let shaping = [
        ("bandwidth", nic.bandwidth.as_ref().is_some_and(|b| b.inbound.is_some() || b.outbound.is_some())),
        ("vlan", nic.vlan.is_some()),
        ("virtualport", nic.virtual_port.is_some()),
    ];
    for (name, _) in shaping.iter().filter(|(_, given)| *given) {
        check.unsupported(&at(path, name), format!("Warren gives ports no <{name}> yet"), "leave it out");
    }
    if nic.rom.as_ref().is_some_and(|rom| rom.file.is_some()) {
        let message = "Warren does not hand files to a NIC's ROM yet";
        check.unsupported(&at(path, "rom/@file"), message, "leave file out for QEMU's own");
    }
}

/// Whether other programs can be given the guest's memory.
fn has_shared_memory(check: &Checked<'_>) -> bool {
    let tree = check.doc.tree();
    let shared = |path: &str, attr: &str| tree.find(path).is_some_and(|e| e.attr(attr) == Some("shared"));
    let cells = tree.find("/domain/cpu/numa");
    let cell = |e: &crate::xml::Element| e.attr("memAccess") == Some("shared");
    shared("/domain/memoryBacking/access", "mode")
        || cells.is_some_and(|numa| numa.children_named("cell").any(cell))
}

#[cfg(test)]
mod tests {
    use crate::model::DomainDoc;

    fn of(outer: &str, interfaces: &[&str]) -> String {
        let text = format!(
            "<domain type='qemu'><name>n</name><memory>65536</memory><os><type arch='x86_64'>hvm</type></os>{outer}\n<devices>\n{}\n</devices></domain>",
            interfaces.join("\n")
        );
        let findings = super::super::domain(&DomainDoc::parse(&text).unwrap());
        let line = |f: &crate::model::Finding| format!("{} {f}", f.severity.as_str());
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_runs_has_no_findings() {
        let good = [
            "<interface type='network'><source network='n'/><model type='virtio'/><driver name='vhost' queues='4' rx_queue_size='512'/>\
             <mtu size='9000'/><port isolated='yes'/><tune><sndbuf>0</sndbuf></tune><link state='down'/></interface>",
            "<interface type='ethernet'><source><ip address='10.0.0.1' prefix='24'/><route gateway='10.0.0.2'/></source>\
             <target dev='t' managed='no'/></interface>",
            "<interface type='user'><ip address='172.17.2.0' prefix='24'/><ip family='ipv6' address='fd00::' prefix='64'/></interface>",
            "<interface type='user' trustGuestRxFilters='no'><model type='virtio'/><teaming type='persistent'/><rom bar='off'/></interface>",
        ];
        assert_eq!(of("", &good), "");
    }

    #[test]
    fn what_libvirt_refuses() {
        let wrong = [
            "<interface type='user'><portForward proto='tcp'><range start='443'/></portForward><mtu size='1400'/><coalesce><rx><frames max='3'/></rx></coalesce></interface>",
            "<interface type='bridge'><source bridge='b'/><target managed='no'/><backend type='passt'/><ip address='10.0.0.1'/></interface>",
            "<interface type='vhostuser'><source dev='e'/><model type='e1000'/><backend type='passt'/></interface>",
            "<interface type='user'><model type='virtio'/><driver rx_queue_size='511' tx_queue_size='300'/></interface>",
            "<interface type='user'><ip address='10.0.0.1' prefix='28' peer='10.0.0.2'/><ip address='10.1.0.1'/><ip address='fd00::' prefix='121'/><route gateway='10.0.0.2'/></interface>",
            "<interface type='user'><teaming type='persistent'/></interface>",
            "<interface type='user'><teaming type='transient' persistent='ua-a'/></interface>",
        ];
        insta::assert_snapshot!(of("", &wrong), @"
        error /domain/devices/interface[1]/portForward (line 3, column 24): <portForward> takes an interface of type user whose backend is passt; this is type user; add <backend type='passt'/>
        error /domain/devices/interface[1]/mtu (line 3, column 83): the MTU of an interface of type user cannot be set; leave <mtu> out
        error /domain/devices/interface[1]/coalesce (line 3, column 101): an interface of type user has nothing to coalesce; leave <coalesce> out
        warning /domain/devices/interface[1]/coalesce (line 3, column 101): Warren leaves it to the kernel when frames are told
        error /domain/devices/interface[2]/backend/@type (line 4, column 68): an interface of type bridge does not go through passt; leave it out, or write type='user'
        error /domain/devices/interface[2]/target/@managed (line 4, column 46): an interface of type bridge has no TAP of yours; leave managed out, or write type='ethernet'
        error /domain/devices/interface[2]/target (line 4, column 46): the TAP that is there already is not named; add dev='tap0'
        unsupported /domain/devices/interface[2]/backend/@type (line 4, column 68): Warren does not run passt for a single interface yet; leave it out for QEMU's own, or write type='network'
        error /domain/devices/interface[3] (line 5, column 1): a vhostuser interface, whose other end reads the guest's memory, needs shared memory; add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
        error /domain/devices/interface[3]/model/@type (line 5, column 46): an interface of type vhostuser takes a virtio model, not 'e1000'; write type='virtio'
        unsupported /domain/devices/interface[3]/@type (line 5, column 1): Warren does not run interfaces of type 'vhostuser' yet; network, bridge, ethernet and user run
        unsupported /domain/devices/interface[3]/backend/@type (line 5, column 67): Warren does not run passt for a single interface yet; leave it out for QEMU's own, or write type='network'
        error /domain/devices/interface[4]/driver/@rx_queue_size (line 6, column 46): rx_queue_size 511 is not a power of two; virtio takes 256, 512 or 1024
        error /domain/devices/interface[4]/driver/@tx_queue_size (line 6, column 46): tx_queue_size 300 is not a power of two; virtio takes 256, 512 or 1024
        error /domain/devices/interface[5]/ip[1]/@peer (line 7, column 24): a guest of a user-mode network has no peer; leave peer out
        error /domain/devices/interface[5]/ip[1]/@prefix (line 7, column 24): a user-mode network has no subnet of this length; give 4 to 27
        error /domain/devices/interface[5]/ip[2] (line 7, column 76): a second address of this family is given; one IPv4 and one IPv6 address can be given
        error /domain/devices/interface[5]/ip[3]/@prefix (line 7, column 100): a user-mode network has no subnet of this length; give 120 at most
        error /domain/devices/interface[5]/route (line 7, column 135): the routes of the guest's side are the guest's own; leave <route> out: DHCP tells the router
        error /domain/devices/interface[6]/teaming/@type (line 8, column 24): the NIC of a pair that stays takes a virtio model; add <model type='virtio'/>
        error /domain/devices/interface[7]/teaming/@type (line 9, column 24): the NIC of a pair that may go is a device of the host; write type='hostdev', or teaming type='persistent'
        ");
    }

    #[test]
    fn what_does_not_run_yet_and_what_has_no_effect() {
        let kept = [
            "<interface type='direct' trustGuestRxFilters='yes'><source dev='e'/><driver name='vhost' queues='5'/></interface>",
            "<interface type='vhostuser'><source type='unix' path='/s' mode='server'/><model type='virtio'/><filterref filter='f'/><backend tap='/dev/t'/></interface>",
            "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>",
            "<interface type='hostdev'><source><address type='pci' bus='3' slot='7'/></source></interface>",
            "<interface type='user'><source dev='e'/><backend type='passt'/><target dev='t'/></interface>",
            "<interface type='internal'><source name='i'/><port isolated='yes'/><tune><sndbuf>9</sndbuf></tune></interface>",
            "<interface type='network' trustGuestRxFilters='yes'><source network='n' portgroup='g'/><mac address='fe:00:00:00:00:01'/>\
             <bandwidth><inbound average='1'/></bandwidth><vlan><tag id='4'/></vlan><virtualport type='openvswitch'/><filterref filter='f'/>\
             <rom file='/r'/><coalesce><rx><frames max='7'/></rx></coalesce><backend vhost='/dev/v'/></interface>",
            "<interface type='network'><source network='n'/><model type='virtio'/><driver queues='300'/><teaming type='transient' persistent='ua-a'/></interface>",
            "<interface type='user'><model type='virtio'/><driver name='vhost' queues='2'/></interface>",
        ];
        insta::assert_snapshot!(of("", &kept), @"
        unsupported /domain/devices/interface[7]/mac/@address (line 9, column 88): fe:00:00:00:00:01 begins with fe, which is kept for the host's side of a TAP; begin with 52:54:00
        unsupported /domain/devices/interface[1]/@trustGuestRxFilters (line 3, column 1): Warren does not follow the filters that a guest sets; write no
        warning /domain/devices/interface[1]/driver (line 3, column 69): it is for virtio's models, and has no effect on 'rtl8139'; add <model type='virtio'/>, or leave <driver> out
        unsupported /domain/devices/interface[1]/@type (line 3, column 1): Warren does not run interfaces of type 'direct' yet; network, bridge, ethernet and user run
        unsupported /domain/devices/interface[2] (line 4, column 1): a vhostuser interface, whose other end reads the guest's memory, needs shared memory; add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
        unsupported /domain/devices/interface[2]/filterref (line 4, column 96): an interface of type vhostuser takes no network filter; leave <filterref> out: the guest is not filtered then
        unsupported /domain/devices/interface[2]/backend/@tap (line 4, column 119): an interface of type vhostuser takes no path of a custom tap backend; leave it out
        unsupported /domain/devices/interface[2]/@type (line 4, column 1): Warren does not run interfaces of type 'vhostuser' yet; network, bridge, ethernet and user run
        unsupported /domain/devices/interface[3]/@type (line 5, column 1): Warren does not run interfaces of type 'vdpa' yet; network, bridge, ethernet and user run
        unsupported /domain/devices/interface[4]/@type (line 6, column 1): Warren does not run interfaces of type 'hostdev' yet; network, bridge, ethernet and user run
        warning /domain/devices/interface[5]/target/@dev (line 7, column 64): an interface of type user has no TAP; the name is kept
        unsupported /domain/devices/interface[5]/backend/@type (line 7, column 41): Warren does not run passt for a single interface yet; leave it out for QEMU's own, or write type='network'
        unsupported /domain/devices/interface[6]/port/@isolated (line 8, column 46): an interface of type internal is not the port of a bridge, which could be isolated; leave <port> out
        warning /domain/devices/interface[6]/tune/sndbuf (line 8, column 74): an interface of type internal has no TAP, and so no such buffer; leave it out
        warning /domain/devices/interface[6]/@type (line 8, column 1): libvirt gives QEMU a user-mode network for it, and so does Warren; write type='user', or a <source network>
        unsupported /domain/devices/interface[7]/filterref (line 9, column 226): Warren has no network filters yet; leave <filterref> out: the guest is not filtered then
        unsupported /domain/devices/interface[7]/backend/@vhost (line 9, column 312): Warren opens only the kernel's own devices for a TAP; leave it out
        warning /domain/devices/interface[7]/coalesce (line 9, column 265): Warren leaves it to the kernel when frames are told
        warning /domain/devices/interface[7]/@trustGuestRxFilters (line 9, column 1): a TAP on a bridge gets all frames, so that there is no filter to follow
        unsupported /domain/devices/interface[7]/source/@portgroup (line 9, column 53): Warren does not set ports up by their group yet, here 'g'; leave portgroup out
        unsupported /domain/devices/interface[7]/bandwidth (line 9, column 122): Warren gives ports no <bandwidth> yet; leave it out
        unsupported /domain/devices/interface[7]/vlan (line 9, column 167): Warren gives ports no <vlan> yet; leave it out
        unsupported /domain/devices/interface[7]/virtualport (line 9, column 193): Warren gives ports no <virtualport> yet; leave it out
        unsupported /domain/devices/interface[7]/rom/@file (line 9, column 249): Warren does not hand files to a NIC's ROM yet; leave file out for QEMU's own
        unsupported /domain/devices/interface[8]/driver/@queues (line 10, column 70): the kernel gives a TAP 256 queues, not 300; give one for each CPU of the guest
        unsupported /domain/devices/interface[8]/teaming (line 10, column 92): Warren has no networks that give devices of the host away
        unsupported /domain/devices/interface[9]/driver/@queues (line 11, column 46): an interface of type user has one queue; leave queues out
        warning /domain/devices/interface[9]/driver/@name (line 11, column 46): the kernel moves frames of TAPs, and an interface of type user has none; leave name out
        ");
    }

    #[test]
    fn a_switch_that_reads_memory_is_given_it() {
        let nic = "<interface type='vhostuser'><backend type='passt'/></interface>";
        assert!(of("", &[nic]).contains("error /domain/devices/interface (line 3, column 1)"));
        for shared in [
            "<memoryBacking><access mode='shared'/></memoryBacking>",
            "<cpu><numa><cell id='0' cpus='0' memory='65536' memAccess='shared'/></numa></cpu>",
        ] {
            assert!(!of(shared, &[nic]).contains("error "));
        }
    }
}
