//! What documents say of interfaces, and what is said of them.

use super::*;
use crate::model::{Device, DocError, DomainDoc};

fn parsed(interfaces: &str) -> Result<DomainDoc, DocError> {
    DomainDoc::parse(&format!(
        "<domain type='qemu'><name>n</name><memory>1</memory><os><type arch='x86_64'>hvm</type></os>\n<devices>\n{interfaces}\n</devices></domain>"
    ))
}

fn one(interface: &str) -> InterfaceDef {
    let doc = parsed(interface).unwrap();
    assert_eq!(doc.findings(), []);
    let Device::Interface(nic) = doc.def().devices[0].clone() else { panic!("it is an interface") };
    *nic
}

fn errors(interfaces: &str) -> String {
    let Err(DocError::Config(errors)) = parsed(interfaces) else { panic!("it is wrong") };
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn models_are_names_in_any_case() {
    for (written, meant) in [("ViRtIo", "virtio"), ("idontexist", "idontexist"), ("E1000E", "e1000e")] {
        let nic = one(&format!("<interface type='user'><model type='{written}'/></interface>"));
        assert_eq!(nic.model_on("x86_64").unwrap().as_str(), meant);
    }
    let default = |kind: &str, arch: &str| one(kind).model_on(arch).map(|m| m.as_str().to_owned());
    assert_eq!(default("<interface type='user'/>", "x86_64").unwrap(), "rtl8139");
    assert_eq!(default("<interface type='user'/>", "aarch64").unwrap(), "virtio");
    let vdpa = "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>";
    assert_eq!(default(vdpa, "x86_64").unwrap(), "virtio");
}

#[test]
fn every_type_is_read() {
    for (text, kind) in [
        ("<interface type='direct'><source dev='eth0'/></interface>", "direct"),
        (
            "<interface type='vhostuser'><source type='unix' path='/s' mode='client'><reconnect enabled='yes' timeout='10'/></source></interface>",
            "vhostuser",
        ),
        ("<interface type='vhostuser'><source dev='eth0'/><backend type='passt'/></interface>", "vhostuser"),
        (
            "<interface type='hostdev' managed='yes'><driver name='vfio'/><source><address type='pci' domain='0x0' bus='0x3' slot='0x7' function='0x1'/></source></interface>",
            "hostdev",
        ),
        ("<interface type='internal'><source name='i'/></interface>", "internal"),
        ("<interface type='null'/>", "null"),
        (
            "<interface type='vds'><source switchid='a' portid='2' portgroupid='c' connectionid='3'/></interface>",
            "vds",
        ),
        ("<interface><source/></interface>", "user"),
    ] {
        assert_eq!(one(text).kind.as_str(), kind);
    }
}

#[test]
fn all_that_can_be_said_of_one_is_read() {
    let nic = one(
        "<interface type='ethernet' trustGuestRxFilters='yes'>
          <mac address='52:54:00:00:00:01' type='static' check='no' currentAddress='52:54:00:00:00:02'/>
          <source><ip address='10.0.0.1' family='ipv4' prefix='24' peer='10.0.0.2'/>
            <route family='ipv4' address='10.1.0.0' netmask='255.255.0.0' gateway='10.0.0.2' metric='3'/></source>
          <script path='/up'/><downscript path='/down'/>
          <target dev='tap0' managed='no'/>
          <model type='virtio'/>
          <driver name='vhost' txmode='iothread' ioeventfd='on' event_idx='off' queues='5' rx_queue_size='256'
            tx_queue_size='512' rss='on' rss_hash_report='off' iommu='on' ats='off' packed='on' page_per_vq='off'>
            <host csum='off' mrg_rxbuf='on'/><guest ufo='off'/></driver>
          <backend tap='/dev/net/tun' vhost='/dev/vhost-net'/>
          <bandwidth><inbound average='100'/></bandwidth>
          <vlan><tag id='42'/></vlan>
          <virtualport type='openvswitch'/>
          <port isolated='yes'/>
          <filterref filter='clean'><parameter name='IP' value='10.0.0.2'/></filterref>
          <tune><sndbuf>0</sndbuf></tune>
          <link state='down'/><mtu size='1400'/><coalesce><rx><frames max='7'/></rx></coalesce>
          <boot order='2'/><rom bar='off' file='/rom'/><acpi index='4'/>
          <teaming type='transient' persistent='ua-a'/>
          <alias name='ua-b'/><address type='pci' bus='0x01' slot='0x00'/>
        </interface>",
    );
    insta::assert_debug_snapshot!(nic);
}

#[test]
fn ports_lead_to_the_guest() {
    let nic = one(
        "<interface type='user'><source dev='eth0'/><backend type='passt' logFile='/log' hostname='h' fqdn='h.x'/>
          <ip address='172.17.2.0' prefix='24'/><route gateway='172.17.2.1'/>
          <portForward proto='udp' address='1.2.3.4' dev='eth0'><range start='5000' end='5020' to='6000'/>
          <range start='5010' exclude='yes'/></portForward><portForward proto='tcp'/></interface>",
    );
    let ranges = &nic.port_forwards[0].ranges;
    assert_eq!(ranges[0], PortRange { start: 5000, end: 5020, to: 6000, exclude: false });
    assert_eq!(ranges[1], PortRange { start: 5010, end: 5010, to: 5010, exclude: true });
    assert_eq!(nic.routes[0].prefix, 0);
    assert_eq!(nic.backend.passt.unwrap().fqdn.as_deref(), Some("h.x"));
}

#[test]
fn what_libvirt_refuses_is_an_error() {
    let texts = [
        "<interface type='direct'><source mode='bridge'/></interface>",
        "<interface type='direct'><source dev='e' mode='side'/></interface>",
        "<interface type='vhostuser'><source type='tcp' path='s' mode='both'/></interface>",
        "<interface type='vhostuser'><source type='unix' path='/s' mode='server'><reconnect enabled='yes'/></source></interface>",
        "<interface type='vdpa'><source/></interface>",
        "<interface type='hostdev'><source/></interface>",
        "<interface type='internal'/>",
        "<interface type='user' managed='yes'><model type='a b'/></interface>",
        "<interface type='user'><mtu/><teaming type='transient'/></interface>",
        "<interface type='user'><teaming type='persistent' persistent='a'/><tune><sndbuf>x</sndbuf></tune></interface>",
        "<interface type='user'><backend logFile='/l'/><filterref/></interface>",
        "<interface type='user'><driver name='kvm' txmode='never' queues='x'/></interface>",
        "<interface type='user'><rom enabled='no' bar='on'/></interface>",
        "<interface type='user'><ip address='::1' family='ipv4'/><ip address='10.0.0.1' prefix='33'/></interface>",
        "<interface type='user'><route gateway='10.0.0.1' netmask='1.2.3.4'/><route/></interface>",
        "<interface type='user'><portForward><range start='9' end='8'/></portForward></interface>",
        "<interface type='user'><portForward proto='tcp'><range start='9' end='99' to='65500'/></portForward></interface>",
        "<interface type='bridge'><source bridge='b'/><script path='/s'/></interface>",
    ];
    insta::assert_snapshot!(errors(&texts.join("\n")), @"
    /domain/devices/interface[1]/source/@dev (line 3, column 26): <source> needs the attribute 'dev'; add <source dev='eth0' mode='bridge'/>
    /domain/devices/interface[2]/source/@mode (line 4, column 26): 'side' is not known; known are vepa, private, bridge, passthrough
    /domain/devices/interface[3]/source/@type (line 5, column 29): 'tcp' is not known; known are unix
    /domain/devices/interface[3]/source/@mode (line 5, column 29): 'both' is not known; known are server, client
    /domain/devices/interface[3]/source/@path (line 5, column 29): the path 's' is not absolute; write the whole path, from /
    /domain/devices/interface[4]/source/reconnect (line 6, column 73): who waits for the switch does not connect again; leave <reconnect> out, or write mode='client'
    /domain/devices/interface[5]/source/@dev (line 7, column 24): <source> needs the attribute 'dev'; add <source dev='/dev/vhost-vdpa-0'/>
    /domain/devices/interface[6]/source (line 8, column 27): the device of the host is not named; add <source><address type='pci' bus='0x03' slot='0x07' function='0x1'/></source>
    /domain/devices/interface[7] (line 9, column 1): the interface has no <source>; add <source name='intnet'/>
    /domain/devices/interface[8]/@managed (line 10, column 1): only an interface of type hostdev is managed; leave managed out
    /domain/devices/interface[8]/model/@type (line 10, column 38): 'a b' is not the name of a NIC's model; letters, digits, '-' and '_' may stand in it
    /domain/devices/interface[9]/mtu/@size (line 11, column 24): <mtu> needs the attribute 'size'; give it in bytes
    /domain/devices/interface[9]/teaming/@persistent (line 11, column 30): <teaming type='transient'> needs the alias of its partner; as persistent='ua-backup0'
    /domain/devices/interface[10]/teaming/@persistent (line 12, column 24): only the transient NIC of a pair names its partner; leave persistent out
    /domain/devices/interface[10]/tune/sndbuf (line 12, column 73): 'x' is not a number of bytes; as <sndbuf>1600</sndbuf>
    /domain/devices/interface[11]/backend/@logFile (line 13, column 24): only passt has 'logFile'; write type='passt', or leave it out
    /domain/devices/interface[11]/filterref/@filter (line 13, column 47): <filterref> needs the attribute 'filter'; name the filter
    /domain/devices/interface[12]/driver/@name (line 14, column 24): 'kvm' is not known; known are qemu, vhost
    /domain/devices/interface[12]/driver/@txmode (line 14, column 24): 'never' is not known; known are iothread, timer
    /domain/devices/interface[12]/driver/@queues (line 14, column 24): 'x' cannot stand here: invalid digit found in string
    /domain/devices/interface[13]/rom (line 15, column 24): a <rom> that is not enabled has neither bar nor file; leave them out
    /domain/devices/interface[14]/ip[1]/@address (line 16, column 24): ::1 is not of that family; give family='ipv4' or 'ipv6' as it is
    /domain/devices/interface[14]/ip[2]/@prefix (line 16, column 57): 33 is not a length in bits here; give 0 to 32
    /domain/devices/interface[15]/route[1]/@netmask (line 17, column 24): this is not a netmask; as 255.255.0.0
    /domain/devices/interface[15]/route[2]/@gateway (line 17, column 69): <route> needs the attribute 'gateway'; give the address of a router
    /domain/devices/interface[16]/portForward/@proto (line 18, column 24): <portForward> needs the attribute 'proto'; give tcp or udp
    /domain/devices/interface[16]/portForward/range/@end (line 18, column 37): the range begins at 9 and ends before it; exchange start and end
    /domain/devices/interface[17]/portForward/range/@to (line 19, column 49): the guest has no ports beyond 65535; begin at a lower one
    /domain/devices/interface[18]/script (line 20, column 46): <script> stands only in an interface of type ethernet, not of type bridge; leave it out
    ");
}

#[test]
fn what_has_no_effect_is_said() {
    let doc = parsed(
        "<interface type='user'><guest dev='eth5'/><backenddomain name='d'/></interface>\n\
         <interface type='ethernet'><script path='ifup'/><target dev='t%d'/></interface>",
    )
    .unwrap();
    let lines: Vec<_> = doc.findings().iter().map(|f| format!("{} {f}", f.severity.as_str())).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    warning /domain/devices/interface[1]/guest (line 3, column 24): QEMU does not name the interfaces of its guests; leave <guest> out
    warning /domain/devices/interface[1]/backenddomain (line 3, column 43): only Xen has driver domains; leave <backenddomain> out
    unsupported /domain/devices/interface[2]/script/@path (line 4, column 28): the path 'ifup' is not absolute; write the whole path, from /
    unsupported /domain/devices/interface[2]/target/@dev (line 4, column 49): 't%d' is a pattern, and Warren takes whole names; leave it out and Warren chooses one
    ");
}
