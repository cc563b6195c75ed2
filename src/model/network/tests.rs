//! What the readers make of documents, and of wrong ones.

use crate::model::{
    DocError, ForwardMode, LeaseTime, LeaseUnit, MacTableManager, NetworkDoc, VirtualPortKind,
};

fn doc(inner: &str) -> NetworkDoc {
    NetworkDoc::parse(&format!("<network><name>n</name>\n{inner}\n</network>")).unwrap()
}

fn remarks(inner: &str) -> String {
    let shown = |f: &crate::model::Finding| format!("{} {f}", f.severity.as_str());
    doc(inner).findings().iter().map(shown).collect::<Vec<_>>().join("\n")
}

fn errors(text: &str) -> String {
    let Err(DocError::Config(errors)) = NetworkDoc::parse(text) else { panic!("it is wrong") };
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn inner_errors(inner: &str) -> String {
    errors(&format!("<network><name>n</name>\n{inner}\n</network>"))
}

#[test]
fn the_words_of_2007_are_read() {
    let text = "<network>\n<name>private</name>\n<bridge name=\"br0\" />\n<ip address=\"\" netmask=\"\">\n\
                <dhcp><range start=\"\" end=\"\" /></dhcp>\n</ip>\n</network>";
    let doc = NetworkDoc::parse(text).unwrap();
    assert_eq!(doc.def().forward_mode(), "isolated");
    assert_eq!(doc.def().ips[0].net, None);
    assert_eq!(doc.def().ips[0].dhcp.as_ref().unwrap().ranges, [None]);
    assert!(doc.findings().is_empty());
    assert_eq!(doc.to_xml(), text);
}

#[test]
fn what_libvirt_writes_for_its_default_network_has_no_findings() {
    let text = "<network connections='2'><name>default</name><uuid>d237ce44-8efa-452c-b8e6-1ae9cf53aeb1</uuid>\
        <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>\
        <bridge name='br0' stp='on' delay='0'/><mac address='52:54:00:00:00:01'/>\
        <ip address='192.168.122.1' netmask='255.255.255.0'>\
        <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>";
    let doc = NetworkDoc::parse(text).unwrap();
    assert_eq!(doc.findings(), []);
    assert_eq!(doc.def().forward.as_ref().unwrap().mode, ForwardMode::Nat);
    assert_eq!(doc.def().ips[0].net.unwrap().to_string(), "192.168.122.1/24");
}

#[test]
fn all_errors_are_in_one_answer() {
    let text = "<network>\n<name>../x</name>\n<uuid>7</uuid>\n<forward mode='nut' dev='an-interface-name'/>\n\
        <bridge stp='perhaps' delay='-1'/>\n<mac address='1:2'/>\n<mtu size='many'/>\n<domain name='a b'/>\n\
        <ip address='10.0.0.1' netmask='255.0.255.0'/>\n<ip address='10.0.0.1' prefix='33'/>\n\
        <ip address='fd00::1'/>\n<ip netmask='255.0.0.0'/>\n<ip address='10.0.0.1' prefix='8'>\n<dhcp>\n\
        <range start='10.0.0.2'/>\n<host ip='10.0.0.9'/>\n<host name='a,b'/>\n</dhcp></ip>\n</network>";
    insta::assert_snapshot!(errors(text), @"
    /network/name (line 2, column 1): '../x' cannot stand in <name>: '/' cannot stand in a name
    /network/uuid (line 3, column 1): '7' cannot stand in <uuid>: invalid length: found 1
    /network/forward/@mode (line 4, column 1): 'nut' is not known; known are nat, route, open, none, bridge, private, vepa, passthrough, hostdev
    /network/forward/@dev (line 4, column 1): 'an-interface-name' has 17 bytes, an interface name has 1 to 15
    /network/bridge/@stp (line 5, column 1): 'perhaps' is read as on; write on or off
    /network/bridge/@delay (line 5, column 1): '-1' cannot stand here: invalid digit found in string
    /network/mac/@address (line 6, column 1): '1:2' is not a MAC address like 52:54:00:12:34:56
    /network/mtu/@size (line 7, column 1): 'many' cannot stand here: invalid digit found in string
    /network/domain/@name (line 8, column 1): 'a b' is not a DNS name; letters, digits, '-' and '_' are possible, with dots between
    /network/ip[1]/@netmask (line 9, column 1): 255.0.255.0 is not a netmask for 10.0.0.1; write it like 255.255.255.0
    /network/ip[2]/@prefix (line 10, column 1): 10.0.0.1 cannot have a prefix of 33 bits
    /network/ip[3]/@family (line 11, column 1): fd00::1 is an IPv6 address; add family='ipv6'
    /network/ip[4]/@netmask (line 12, column 1): where Warren chooses the address, the subnet is a /24; give the address, or leave family, netmask and prefix out
    /network/ip[5]/dhcp/range/@end (line 15, column 1): the range has no end; give both start and end, or neither to let Warren choose
    /network/ip[5]/dhcp/host[1] (line 16, column 1): the reservation names no host; add mac or name
    /network/ip[5]/dhcp/host[2]/@name (line 17, column 1): 'a,b' is not a DNS name; letters, digits, '-' and '_' are possible, with dots between
    /network/ip[5]/dhcp/host[2]/@ip (line 17, column 1): <host> needs the attribute 'ip'; give the address that is reserved
    ");
}

#[test]
fn another_root_is_not_a_network() {
    let Err(DocError::Xml(e)) = NetworkDoc::parse("<domain/>") else { panic!("it is wrong") };
    insta::assert_snapshot!(e, @"/domain (line 1, column 1): the root element is <domain>; here it must be <network>");
}

#[test]
fn the_root_and_the_bridge_say_what_they_mean() {
    let text = "<network ipv6='yes' trustGuestRxFilters='no'><name>n</name><title>T</title>\
        <bridge name='lab%d' stp='off' delay='3' zone='dmz' macTableManager='libvirt'/>\
        <mtu size='9000'/><port isolated='yes'/></network>";
    let doc = NetworkDoc::parse(text).unwrap();
    let def = doc.def();
    assert_eq!((def.ipv6, def.trust_guest_rx_filters, def.mtu), (true, Some(false), Some(9000)));
    assert_eq!(def.title.as_deref(), Some("T"));
    assert_eq!((&def.bridge.name, def.bridge.template.as_deref()), (&None, Some("lab%d")));
    assert_eq!((def.bridge.stp, def.bridge.delay, def.bridge.zone.as_deref()), (false, 3, Some("dmz")));
    assert_eq!(def.bridge.mac_table_manager, Some(MacTableManager::Libvirt));
    assert_eq!(def.isolated_ports, Some(true));
    assert_eq!(doc.findings(), []);
}

#[test]
fn wrong_words_of_the_root_and_the_bridge() {
    insta::assert_snapshot!(errors("<network ipv6='on' trustGuestRxFilters='maybe'><name>n</name>\n<title>a\nb</title>\n\
        <bridge name='a-long-template%d' macTableManager='me'/>\n<port isolated='1'/>\n<bandwidth><inbound \
        average='1' floor='1'/></bandwidth>\n<virtualport/>\n<portgroup/></network>"), @r#"
    /network/@ipv6 (line 1, column 1): 'on' is not known; known are yes, no
    /network/@trustGuestRxFilters (line 1, column 1): 'maybe' is not known; known are yes, no
    /network/title (line 2, column 1): the title has more than one line; put the rest into <description>
    /network/bridge/@name (line 4, column 1): the template 'a-long-template%d' does not make a name: 'a-long-template0' has 16 bytes, an interface name has 1 to 15
    /network/bridge/@macTableManager (line 4, column 1): 'me' is not known; known are kernel, libvirt
    /network/port/@isolated (line 5, column 1): '1' is not known; known are yes, no
    /network/bandwidth/inbound/@floor (line 6, column 12): a network has no floor, only a NIC has; give it to the domain's <interface type='network'>
    /network/virtualport/@type (line 7, column 1): the virtual port has no type; write type='openvswitch', or what it is
    /network/portgroup/@name (line 8, column 1): <portgroup> needs the attribute 'name'; give the name that NICs choose it by
    "#);
    insta::assert_snapshot!(remarks("<bridge name='b%d%d' stp='perhaps'/><mtu size='9'/>"), @r#"
    warning /network/bridge/@name (line 2, column 1): 'b%d%d' is not a template; a template has one '%d'
    warning /network/bridge/@stp (line 2, column 1): 'perhaps' is read as on; write on or off
    unsupported /network/mtu/@size (line 2, column 37): an MTU of 9 bytes is not possible; give 68 to 65535
    "#);
}

#[test]
fn forwarding_is_read_with_its_pools() {
    let nat = doc("<forward dev='eth0'><nat ipv6='yes'><address start='10.9.0.1' end='10.9.0.2'/>\
                   <port start='500' end='1000'/></nat></forward>");
    let nat = nat.def().forward.clone().unwrap();
    assert_eq!((nat.mode, nat.nat.ipv6, nat.nat.ports), (ForwardMode::Nat, true, Some((500, 1000))));
    assert_eq!(
        nat.nat.addresses.map(|(a, b)| (a.to_string(), b.to_string())),
        Some(("10.9.0.1".into(), "10.9.0.2".into()))
    );
    assert_eq!(nat.interfaces.len(), 1);
    let pool = doc("<forward mode='vepa'><interface dev='eth1'/><interface dev='eth2'/></forward>");
    let pool = pool.def().forward.clone().unwrap();
    assert_eq!((pool.dev.unwrap().as_str(), pool.interfaces.len()), ("eth1", 2));
    let hostdev = doc("<forward mode='hostdev' managed='yes'><driver name='vfio' model='m'/>\
                       <address type='pci' domain='0x0000' bus='0x03' slot='10' function='7'/></forward>");
    let hostdev = hostdev.def().forward.clone().unwrap();
    assert_eq!((hostdev.managed, hostdev.addresses[0].to_string()), (true, "0000:03:0a.7".into()));
    assert_eq!((hostdev.driver.name.as_deref(), hostdev.driver.model.as_deref()), (Some("vfio"), Some("m")));
    assert_eq!(doc("<forward mode='none'/>").def().forward, None);
}

#[test]
fn wrong_forwarding_is_named() {
    insta::assert_snapshot!(inner_errors("<forward mode='route' dev='eth0'>\n<nat ipv6='1'>\n\
        <address start='10.0.0.2' end='10.0.0.1'/>\n<address/>\n<port start='70000'/>\n</nat>\n<nat/>\n\
        <interface dev='eth1'/>\n<interface/>\n<pf dev='eth2'/>\n<pf dev='eth3'/>\n\
        <address type='usb' bus='1'/>\n<address type='pci'/>\n<address type='pci' bus='1' function='8'/>\n\
        <driver name='uio'/>\n</forward>"), @"
    /network/forward/@dev (line 2, column 1): dev is 'eth0', but the first <interface> is 'eth1'; make them equal or leave one out
    /network/forward/@dev (line 2, column 1): dev cannot stand beside a pool of <address> or <pf>; leave dev out
    /network/forward/nat[1] (line 3, column 1): <nat> belongs to the forward mode 'nat'; leave it out, or write mode='nat'
    /network/forward/nat[1]/@ipv6 (line 3, column 1): '1' is not known; known are yes, no
    /network/forward/nat[1]/address[1]/@end (line 4, column 1): the range begins at 10.0.0.2 and ends before it, at 10.0.0.1; exchange start and end
    /network/forward/nat[1]/address[2] (line 5, column 1): a second <address> is given; leave one out
    /network/forward/nat[1]/port/@start (line 6, column 1): '70000' cannot stand here: number too large to fit in target type
    /network/forward/nat[1]/port/@end (line 6, column 1): <port> needs the attribute 'end'; give 0 to 65535
    /network/forward/nat[2] (line 8, column 1): a second <nat> is given; leave one out
    /network/forward/interface[2]/@dev (line 10, column 1): <interface> needs the attribute 'dev'; name an interface of the host
    /network/forward/pf[2] (line 12, column 1): a second <pf> is given; a network has one
    /network/forward/pf[2]/@dev (line 12, column 1): Warren does not know the attribute 'dev' of <pf>
    /network/forward/address[1]/@type (line 13, column 1): 'usb' is not known; known are pci
    /network/forward/address[2] (line 14, column 1): 0000:00:00.0 is not a device; at least one of domain, bus and slot is not 0
    /network/forward/address[3]/@function (line 15, column 1): '8' is not a number up to 7
    /network/forward/driver/@name (line 16, column 1): 'uio' is not known; known are vfio, kvm, xen
    ");
}

#[test]
fn dns_is_read_whole() {
    let text = "<domain name='lab.example' localOnly='yes' register='yes'/><dns forwardPlainNames='no'>\
        <forwarder addr='10.0.0.53' port='5353'/><forwarder domain='a.example' addr='fd00::1'/>\
        <forwarder domain='b.example'/><txt name='t' value='a b, c'/>\
        <srv service='ldap' protocol='tcp' domain='lab' target='s.lab' port='389' priority='1' weight='2'/>\
        <srv service='x' protocol='udp' target='.'/>\
        <host ip='10.0.0.2'><hostname>one</hostname><hostname>two.lab</hostname></host></dns>";
    let doc = doc(text);
    assert_eq!(doc.findings(), []);
    let (domain, dns) = (doc.def().domain.clone().unwrap(), doc.def().dns.clone());
    assert!(domain.local_only && domain.register && dns.enable && !dns.forward_plain_names);
    assert_eq!((dns.forwarders[0].port, dns.forwarders[1].port), (Some(5353), None));
    assert_eq!((dns.forwarders[2].addr, dns.forwarders[2].domain.as_deref()), (None, Some("b.example")));
    assert_eq!(dns.txts[0].value, "a b, c");
    assert_eq!((dns.srvs[0].port, dns.srvs[0].weight), (Some(389), Some(2)));
    assert_eq!(dns.srvs[1].target.as_deref(), Some("."));
    assert_eq!(dns.hosts[0].names, ["one", "two.lab"]);
}

#[test]
fn wrong_dns_is_named() {
    insta::assert_snapshot!(inner_errors("<domain name='a' register='yes'/>\n<dns enable='no'>\n<forwarder/>\n\
        <forwarder addr='x' port='0'/>\n<txt name='a,b' value=''/>\n<txt name='a'/>\n\
        <srv service='a.b' protocol='tcp' port='0'/>\n<srv target='a b' port='65536'/>\n<host/>\n\
        <host ip='10.0.0.1'><hostname>a b</hostname></host>\n</dns>"), @r#"
    /network/domain/@register (line 2, column 1): only a domain that is this network's alone can be registered at the host; add localOnly='yes'
    /network/dns (line 3, column 1): DNS is switched off and has records all the same; leave them out, or enable='no'
    /network/dns/forwarder[1] (line 4, column 1): the forwarder names neither a server nor a domain; add addr or domain
    /network/dns/forwarder[2]/@port (line 5, column 1): there is no port 0; give 1 to 65535
    /network/dns/forwarder[2]/@addr (line 5, column 1): 'x' cannot stand here: invalid IP address syntax
    /network/dns/txt[1]/@name (line 6, column 1): 'a,b' is not a DNS name; letters, digits, '-' and '_' are possible, with dots between
    /network/dns/txt[2]/@value (line 7, column 1): <txt> needs the attribute 'value'; give the text of the record
    /network/dns/srv[1]/@service (line 8, column 1): '.' cannot stand in service
    /network/dns/srv[1]/@port (line 8, column 1): port means nothing without target; add target
    /network/dns/srv[1]/@port (line 8, column 1): there is no port 0; give 1 to 65535
    /network/dns/srv[2]/@service (line 9, column 1): <srv> needs the attribute 'service'; a record has a service and a protocol
    /network/dns/srv[2]/@protocol (line 9, column 1): <srv> needs the attribute 'protocol'; a record has a service and a protocol
    /network/dns/srv[2]/@target (line 9, column 1): 'a b' is not a DNS name; letters, digits, '-' and '_' are possible, with dots between
    /network/dns/srv[2]/@port (line 9, column 1): '65536' cannot stand here: number too large to fit in target type
    /network/dns/host[1]/@ip (line 10, column 1): <host> needs the attribute 'ip'; give the address of the host
    /network/dns/host[1] (line 10, column 1): the host has no name; add <hostname>
    /network/dns/host[2]/hostname (line 11, column 21): 'a b' is not a DNS name; letters, digits, '-' and '_' are possible, with dots between
    "#);
    insta::assert_snapshot!(remarks("<domain localOnly='yes'/><dns><forwarder domain='a' port='9'/></dns>"), @r#"
    warning /network/domain/@name (line 2, column 1): a domain without a name has no effect; give one like 'lab.example'
    warning /network/dns/forwarder/@port (line 2, column 31): a port without an address has no effect; add addr
    "#);
}

#[test]
fn addresses_and_dhcp_are_read_whole() {
    let text = "<ip address='10.0.0.1' prefix='24' localPtr='yes'><tftp root='/srv/tftp'/><dhcp>\
        <range start='10.0.0.2' end='10.0.0.9'><lease expiry='2' unit='hours'/></range>\
        <host mac='52:54:00:00:00:01' name='a' ip='10.0.0.2'><lease expiry='0'/></host>\
        <bootp file='pxe.0' server='10.0.0.3'/></dhcp></ip>\
        <ip family='ipv6' address='fd00::1'><dhcp><host id='0:3:0:1' name='b' ip='fd00::2'>\
        <lease expiry='120' unit='seconds'/></host></dhcp></ip>\
        <route address='10.1.0.0' netmask='255.255.0.0' gateway='10.0.0.2' metric='5'/>\
        <route family='ipv6' address='fd01::' prefix='32' gateway='fd00::2'/>";
    let doc = doc(text);
    assert_eq!(doc.findings(), []);
    let (v4, v6) = (&doc.def().ips[0], &doc.def().ips[1]);
    assert_eq!((v4.local_ptr, v4.tftp_root.as_deref()), (true, Some("/srv/tftp")));
    let dhcp = v4.dhcp.as_ref().unwrap();
    assert_eq!(dhcp.ranges[0].unwrap().lease, Some(LeaseTime::Of(2, LeaseUnit::Hours)));
    assert_eq!(dhcp.hosts[0].lease, Some(LeaseTime::Infinite));
    let bootp = dhcp.bootp.as_ref().unwrap();
    assert_eq!((bootp.file.as_str(), bootp.server.unwrap().to_string()), ("pxe.0", "10.0.0.3".into()));
    let host = &v6.dhcp.as_ref().unwrap().hosts[0];
    assert_eq!(
        (host.id.as_deref(), host.lease),
        (Some("0:3:0:1"), Some(LeaseTime::Of(120, LeaseUnit::Seconds)))
    );
    let routes: Vec<_> = doc.def().routes.iter().map(|r| (r.dst.to_string(), r.metric)).collect();
    assert_eq!(routes, [("10.1.0.0/16".into(), Some(5)), ("fd01::/32".into(), None)]);
}

#[test]
fn wrong_addresses_and_dhcp_are_named() {
    insta::assert_snapshot!(inner_errors("<ip address='10.0.0.1' localPtr='x'>\n<dhcp>\n\
        <range start='10.0.0.2' end='10.0.0.9'><lease expiry='1'/></range>\n\
        <host mac='52:54:00:00:00:01'/>\n<host name='-a' ip='10.0.0.2'><lease expiry='119' unit='seconds'/></host>\n\
        <bootp/>\n</dhcp>\n</ip>\n<ip family='ipv6' address='fd00::1'>\n<tftp root='/x'/>\n<dhcp>\n\
        <host mac='52:54:00:00:00:01' ip='fd00::2'/>\n<host id='x' ip='fd00::2'/>\n</dhcp></ip>\n\
        <route/>\n<route address='10.1.0.1' prefix='16' gateway='10.0.0.2'/>\n\
        <route address='fd01::' prefix='16' gateway='fd00::2' metric='0'/>\n\
        <route address='10.1.0.0' prefix='16' netmask='255.255.0.0' gateway='10.0.0.2'/>"), @"
    /network/ip[1]/@localPtr (line 2, column 1): 'x' is not known; known are yes, no
    /network/ip[1]/dhcp/range/lease/@expiry (line 4, column 40): a lease is at least two minutes long; give more, or 0 for a lease that never ends
    /network/ip[1]/dhcp/host[1]/@ip (line 5, column 1): <host> needs the attribute 'ip'; give the address that is reserved
    /network/ip[1]/dhcp/host[2]/@name (line 6, column 1): '-a' is not a host name; begin it with a letter or a digit
    /network/ip[1]/dhcp/host[2]/lease/@expiry (line 6, column 31): a lease is at least two minutes long; give more, or 0 for a lease that never ends
    /network/ip[1]/dhcp/bootp/@file (line 7, column 1): <bootp> needs the attribute 'file'; give the name of the boot file
    /network/ip[2]/tftp (line 11, column 1): <tftp> belongs to an IPv4 <ip>; move it there
    /network/ip[2]/dhcp/host[1]/@mac (line 13, column 1): in IPv6 a guest is not known by its MAC address; write id or name instead
    /network/ip[2]/dhcp/host[1] (line 13, column 1): the reservation names no host; add id or name
    /network/ip[2]/dhcp/host[2]/@id (line 14, column 1): 'x' is not a client's identifier; write it like 0:3:0:1:52:54:0:12:34:56
    /network/route[1]/@address (line 16, column 1): <route> needs the attribute 'address'; say where it leads
    /network/route[1]/@gateway (line 16, column 1): <route> needs the attribute 'gateway'; give the address of a guest
    /network/route[2]/@address (line 17, column 1): 10.1.0.1 is not the address of a network of 16 bits; write 10.1.0.0
    /network/route[3]/@metric (line 18, column 1): a metric begins at 1; give 1 or more
    /network/route[3]/@address (line 18, column 1): fd01:: is not an IPv4 address; add family='ipv6', if that is meant
    /network/route[3]/@prefix (line 18, column 1): Warren does not know the attribute 'prefix' of <route>
    /network/route[4]/@netmask (line 19, column 1): both netmask and prefix are given; leave one out
    ");
    insta::assert_snapshot!(remarks("<ip address='10.0.0.1'><tftp/><dhcp><host mac='52:54:00:00:00:01' id='1' ip='10.0.0.2'/>\
        </dhcp></ip><ip family='ipv6' address='fd00::1'><tftp root='srv'/><dhcp><bootp file='x'/></dhcp></ip>".replace("<tftp root='srv'/>", "").as_str()), @r#"
    warning /network/ip[1]/tftp (line 2, column 24): <tftp> without root has no effect; give the directory
    warning /network/ip[1]/dhcp/host/@id (line 2, column 37): in IPv4 a guest is not known by an identifier: id has no effect
    warning /network/ip[2]/dhcp/bootp (line 2, column 143): <bootp> has no effect in IPv6; leave it out
    "#);
}

#[test]
fn ports_are_grouped() {
    let doc =
        doc("<virtualport type='openvswitch'/><portgroup name='a' default='yes' trustGuestRxFilters='yes'>\
        <vlan><tag id='7'/></vlan><virtualport><parameters profileid='p'/></virtualport>\
        <bandwidth><inbound average='100'/></bandwidth></portgroup><portgroup name='b'/>");
    assert_eq!(doc.findings(), []);
    let [a, b] = doc.def().portgroups.as_slice() else { panic!("there are two") };
    assert!(a.is_default && !b.is_default && a.trust_guest_rx_filters == Some(true));
    assert_eq!(a.vlan.as_ref().unwrap().tags, [7]);
    assert_eq!(a.virtual_port.as_ref().unwrap().profile_id.as_deref(), Some("p"));
    assert_eq!(doc.def().virtual_port.as_ref().unwrap().kind, Some(VirtualPortKind::OpenVSwitch));
}

#[test]
fn lines_for_dnsmasq_are_found_under_any_prefix() {
    let bound = "xmlns:q='http://libvirt.org/schemas/network/dnsmasq/1.0'";
    let texts = [
        format!(
            "<network {bound}><name>n</name><q:options><q:option value='cname=a,b'/></q:options></network>"
        ),
        format!(
            "<network><name>n</name><q:options {bound}><q:option value='cname=a,b'/></q:options></network>"
        ),
        format!(
            "<network><name>n</name><options {}><option value='cname=a,b'/></options></network>",
            bound.replace(":q", "")
        ),
    ];
    for text in texts {
        let doc = NetworkDoc::parse(&text).unwrap();
        assert_eq!(
            (doc.def().dnsmasq_options.as_slice(), doc.findings()),
            (&["cname=a,b".to_owned()][..], &[][..])
        );
    }
    insta::assert_snapshot!(remarks("<options><option value='x'/></options>"), @"unsupported /network/options (line 2, column 1): Warren does not know <options> here");
    insta::assert_snapshot!(inner_errors(&format!("<q:options {bound}><q:option/><q:option value='a&#10;b'/></q:options>")), @r#"
    /network/q:options/q:option[1]/@value (line 2, column 69): <q:option> needs the attribute 'value'; give a line for dnsmasq
    /network/q:options/q:option[2]/@value (line 2, column 80): a control character cannot stand in a line; write one line each
    "#);
}
