//! What is found in documents that can be read.

use super::network;
use crate::model::NetworkDoc;
use crate::plan::check::show;

fn of_network(inner: &str) -> String {
    show(&network(&NetworkDoc::parse(&format!("<network><name>n</name>\n{inner}\n</network>")).unwrap()))
}

#[test]
fn good_documents_have_no_findings() {
    for inner in [
        "<forward/><ip address='10.0.0.1' netmask='255.0.0.0'/>",
        "<ip address='' netmask=''><dhcp><range start='' end=''/></dhcp></ip>",
        "<forward mode='open'/><bridge name='lab%d' stp='off' delay='4'/><port isolated='yes'/>",
        "<forward dev='eth0'><nat ipv6='yes'><address start='10.9.0.1' end='10.9.0.9'/><port start='1' end='9'/>\
         </nat></forward><ip/><route address='10.1.0.0' prefix='16' gateway='192.168.122.7'/>",
        "<portgroup name='a' default='yes'/><portgroup name='b'/>",
    ] {
        assert_eq!(of_network(inner), "", "{inner}");
    }
}

#[test]
fn ranges_and_reservations_lie_in_their_subnet() {
    let text = "<ip address='10.0.0.0' prefix='24' localPtr='yes'>\n<dhcp>\n<range start='10.0.1.2' end='10.0.0.255'/>\n\
                <range start='10.0.0.9' end='10.0.0.5'/>\n<host mac='53:00:00:00:00:01' ip='10.0.0.7'/>\n\
                <host name='a' ip='10.0.0.7'/>\n<host name='b' ip='10.1.0.7'/>\n</dhcp>\n</ip>\n\
                <ip address='10.2.0.1' prefix='25' localPtr='yes'/>\n<ip address='0.0.0.0' prefix='8'/>";
    let v6 =
        "<ip family='ipv6' address='fd00::1' prefix='63'><dhcp><host name='a' ip='fd00::2'/></dhcp></ip>";
    insta::assert_snapshot!(of_network(v6), @"unsupported /network/ip/dhcp (line 2, column 49): there is no DHCP in fd00::/63: dnsmasq has it from 64 bits on; lengthen the prefix");
    insta::assert_snapshot!(of_network(text), @r#"
    warning /network/ip[1]/@address (line 2, column 1): 10.0.0.0 is not the address of a host in 10.0.0.0/24; the first and the last address are the subnet's own
    error /network/ip[1]/dhcp/range[1]/@start (line 4, column 1): 10.0.1.2 is outside of 10.0.0.0/24
    error /network/ip[1]/dhcp/range[1]/@end (line 4, column 1): 10.0.0.255 is not the address of a host in 10.0.0.0/24; leave the subnet's first and last address out
    error /network/ip[1]/dhcp/range[1] (line 4, column 1): the range begins at 10.0.1.2 and ends before it, at 10.0.0.255; exchange start and end
    error /network/ip[1]/dhcp/range[2] (line 5, column 1): the range begins at 10.0.0.9 and ends before it, at 10.0.0.5; exchange start and end
    error /network/ip[1]/dhcp/host[1]/@mac (line 6, column 1): a guest cannot have a multicast MAC address
    unsupported /network/ip[1]/dhcp/host[2]/@ip (line 7, column 1): 10.0.0.7 is reserved twice; first at /network/ip[1]/dhcp/host[1]/@ip; leave one out
    warning /network/ip[1]/dhcp/host[3]/@ip (line 8, column 1): 10.1.0.7 is outside of 10.0.0.0/24, so it is never given out
    unsupported /network/ip[2]/@localPtr (line 11, column 1): there is no reverse zone for 10.2.0.0/25; a length that 8 divides has one
    warning /network/ip[3]/@address (line 12, column 1): 0.0.0.0 is not the address of a host in 0.0.0.0/8; the first and the last address are the subnet's own
    unsupported /network/ip[3]/@address (line 12, column 1): 0.0.0.0 is not the address of a host
    "#);
    insta::assert_snapshot!(of_network("<ip address='10.0.0.1'><dhcp><range start='10.0.0.2' end='10.1.0.5'/></dhcp></ip>"), @"error /network/ip/dhcp/range (line 2, column 30): the range from 10.0.0.2 to 10.1.0.5 is too large; all of it may differ in the last 16 bits only");
}

#[test]
fn one_ip_of_each_family_has_dhcp() {
    let ip = |a: &str, more: &str| format!("<ip address='{a}' {more}><dhcp><range/></dhcp></ip>\n");
    let six = ip("fd00::1", "family='ipv6' prefix='64'");
    let nothing = "<ip address='10.5.0.1'><dhcp/></ip>";
    insta::assert_snapshot!(of_network(&(ip("10.0.0.1", "") + &six + nothing + &ip("", ""))), @"error /network/ip[4]/dhcp (line 4, column 52): a second IPv4 <ip> has <dhcp>; one <ip> of each family may have it");
}

#[test]
fn routes_lead_through_guests() {
    let text = "<ip address='10.0.0.1' prefix='24'/>\n<route address='10.1.0.0' prefix='16' gateway='10.0.0.2'/>\n\
                <route address='10.2.0.0' prefix='16' gateway='10.9.0.2'/>";
    insta::assert_snapshot!(of_network(text), @"error /network/route[2]/@gateway (line 4, column 1): the gateway 10.9.0.2 is in no subnet of the network; give the address of a guest");
}

#[test]
fn forward_modes_are_told_apart() {
    insta::assert_snapshot!(of_network("<forward mode='open' dev='eth0'/>"), @"error /network/forward/@dev (line 2, column 1): an open network does not name a device to forward through; leave dev out, or use mode='route'");
    insta::assert_snapshot!(of_network("<forward mode='route'><interface dev='a'/><interface dev='b'/>\n<pf dev='c'/></forward>"), @r#"
    error /network/forward/@mode (line 2, column 1): a network of forward mode 'route' needs an address; add <ip>
    error /network/forward/interface[2] (line 2, column 43): more than one way out is named; leave one <interface>
    unsupported /network/forward/pf (line 3, column 1): a network of forward mode 'route' has no pool of devices; leave <pf> out
    warning /network/forward/pf (line 3, column 1): <pf> has no effect beside <interface>: a pool is of one kind; leave it out
    "#);
    insta::assert_snapshot!(of_network("<forward managed='yes'/><ip/>"), @"warning /network/forward/@managed (line 2, column 1): it has an effect in forward mode 'hostdev' only; leave it out");
    insta::assert_snapshot!(of_network("<forward mode='bridge'/><bridge name='b'/><ip address='10.0.0.1'/>"), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'bridge' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/ip (line 2, column 43): a network of forward mode 'bridge' has no <ip>: the host's network does that; leave it out
    "#);
    insta::assert_snapshot!(of_network("<forward mode='bridge' dev='eth0'/>\n<bridge name='b' stp='on' delay='2' zone='z'/>"), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'bridge' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/bridge/@stp (line 3, column 1): a network of forward mode 'bridge' makes no bridge that could have stp; leave it out
    error /network/bridge/@delay (line 3, column 1): a network of forward mode 'bridge' makes no bridge that could have delay; leave it out
    error /network/bridge/@zone (line 3, column 1): a network of forward mode 'bridge' makes no bridge that could have zone; leave it out
    error /network/bridge/@name (line 3, column 1): NICs are put either on a bridge or on devices, and both are named; leave <bridge> out, or the devices in <forward>
    "#);
    insta::assert_snapshot!(of_network("<forward mode='private' dev='eth0'/>\n<bridge name='b' macTableManager='kernel'/>\n\
        <mac address='52:54:00:00:00:01'/><mtu size='1400'/><domain name='d'/>\n<dns><txt name='a' value='b'/></dns>"), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'private' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/mac (line 4, column 1): a network of forward mode 'private' has no <mac>: the host's network does that; leave it out
    error /network/dns (line 5, column 1): a network of forward mode 'private' has no <dns>: the host's network does that; leave it out
    error /network/domain (line 4, column 53): a network of forward mode 'private' has no <domain>: the host's network does that; leave it out
    error /network/mtu (line 4, column 35): a network of forward mode 'private' has no <mtu>: the host's network does that; leave it out
    error /network/bridge/@name (line 3, column 1): a network of forward mode 'private' makes no bridge that could have name; leave it out
    error /network/bridge/@macTableManager (line 3, column 1): a network of forward mode 'private' makes no bridge that could have macTableManager; leave it out
    "#);
}

#[test]
fn pools_are_of_one_kind() {
    let address = "<address type='pci' bus='1'/>";
    insta::assert_snapshot!(of_network(&format!("<forward mode='passthrough'>{address}</forward>")), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'passthrough' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/forward/address (line 2, column 29): devices are listed by PCI address in forward mode 'hostdev', not in 'passthrough'; write <interface dev>, or mode='hostdev'
    "#);
    insta::assert_snapshot!(of_network(&format!("<forward mode='hostdev'>{address}{address}<interface dev='a'/><interface dev='a'/></forward>")), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'hostdev' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/forward/interface (line 2, column 83): a network of forward mode 'hostdev' lists devices by their PCI address; write <address type='pci'>, or <pf>
    warning /network/forward/address (line 2, column 25): <address> has no effect beside <interface>: a pool is of one kind; leave it out
    error /network/forward/interface (line 2, column 83): 'a' is listed twice
    error /network/forward/address[2] (line 2, column 54): a PCI address, '0000:01:00.0', is given twice; first at /network/forward/address[1]
    "#);
    insta::assert_snapshot!(of_network("<forward mode='hostdev' dev='a'/>"), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'hostdev' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/forward/@dev (line 2, column 1): a network of forward mode 'hostdev' lists devices by their PCI address; write <address type='pci'>, or <pf>
    "#);
}

#[test]
fn what_is_not_done_yet_is_named() {
    let text = "<forward mode='nat'/>\n<bridge zone='z' macTableManager='libvirt'/>\n<ip/>\n\
        <domain name='d' localOnly='yes' register='yes'/>\n<bandwidth><inbound average='1'/></bandwidth>\n\
        <virtualport type='openvswitch'/>";
    insta::assert_snapshot!(of_network(text), @r#"
    unsupported /network/bridge/@zone (line 3, column 1): Warren does not put bridges into zones of firewalld yet; leave it out
    unsupported /network/bridge/@macTableManager (line 3, column 1): Warren leaves it to the kernel to learn guests' addresses; leave it out
    unsupported /network/domain/@register (line 5, column 1): Warren does not tell the host's resolver about domains yet; leave it out
    unsupported /network/bandwidth (line 6, column 1): Warren does not limit bandwidth yet; leave it out
    unsupported /network/virtualport (line 7, column 1): Warren does not speak to switches of another kind yet; leave it out
    "#);
    insta::assert_snapshot!(show(&network(&NetworkDoc::parse("<network trustGuestRxFilters='yes'><name>n</name></network>").unwrap())), @"warning /network/@trustGuestRxFilters (line 1, column 1): it has no effect: the bridge takes any address of a guest's; leave it out");
}

#[test]
fn portgroups_are_told_apart_and_vlans_have_their_place() {
    let vlan = "<vlan><tag id='1'/></vlan>";
    insta::assert_snapshot!(of_network(&format!("{vlan}\n<portgroup name='a' default='yes'>{vlan}</portgroup>\n\
        <portgroup name='a' default='yes'/>")), @r#"
    error /network/vlan (line 2, column 1): ports of a network like this (isolated) cannot be in a VLAN; VLANs are possible on a bridge of the host, on Open vSwitch and on hostdev
    error /network/portgroup[1]/vlan (line 3, column 35): ports of a network like this (isolated) cannot be in a VLAN; VLANs are possible on a bridge of the host, on Open vSwitch and on hostdev
    error /network/portgroup[2]/@name (line 4, column 1): the name of a portgroup, 'a', is given twice; first at /network/portgroup[1]/@name
    error /network/portgroup[2]/@default (line 4, column 1): 'a' is the default, as 'a' is; one portgroup can be the default
    "#);
    let group = format!(
        "<portgroup name='a'>{vlan}<virtualport><parameters profileid='p'/></virtualport></portgroup>"
    );
    insta::assert_snapshot!(of_network(&format!("<forward mode='bridge'/>\n<virtualport type='openvswitch'/>\n{group}")), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'bridge' yet; nat, route and open are known, and no <forward> at all is an isolated network
    unsupported /network/virtualport (line 3, column 1): Warren does not speak to switches of another kind yet; leave it out
    unsupported /network/portgroup/vlan (line 4, column 21): Warren does not tag frames yet; leave it out
    unsupported /network/portgroup/virtualport (line 4, column 47): Warren does not speak to switches of another kind yet; leave it out
    "#);
    let qbh = "<forward mode='bridge' dev='eth0'/>\n<virtualport type='802.1Qbh'/>\n";
    insta::assert_snapshot!(of_network(&format!("{qbh}{group}<bandwidth><inbound average='1'/></bandwidth>")), @r#"
    unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'bridge' yet; nat, route and open are known, and no <forward> at all is an isolated network
    error /network/bandwidth (line 4, column 113): bandwidth cannot be limited in forward mode 'bridge'; leave it out
    unsupported /network/virtualport (line 3, column 1): Warren does not speak to switches of another kind yet; leave it out
    error /network/portgroup/vlan (line 4, column 21): ports of a network like this (bridge) cannot be in a VLAN; VLANs are possible on a bridge of the host, on Open vSwitch and on hostdev
    unsupported /network/portgroup/virtualport (line 4, column 47): Warren does not speak to switches of another kind yet; leave it out
    "#);
}
