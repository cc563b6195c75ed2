//! Plans that the real dnsmasq finds nothing wrong with.

use std::io::Write as _;
use std::process::Command;

use super::*;
use crate::model::NetworkDoc;

fn planned(def: &NetworkDef, upstream: Option<IpAddr>) -> Option<Plan> {
    let files = Files { leases: Path::new("/run/w n/leases"), hosts: Path::new("/run/w n/hosts") };
    plan(def, "wbr0", &files, upstream)
}

fn network(inner: &str) -> NetworkDef {
    let doc = NetworkDoc::parse(&format!("<network><name>n</name>{inner}</network>")).unwrap();
    doc.def().clone()
}

/// The configuration, after the real dnsmasq has found nothing wrong with it.
fn tested(def: &NetworkDef, upstream: Option<IpAddr>) -> String {
    let conf = planned(def, upstream).unwrap().conf;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(conf.as_bytes()).unwrap();
    let mut option = std::ffi::OsString::from("--conf-file=");
    option.push(file.path());
    let run = Command::new("dnsmasq").arg("--test").arg(option).output().unwrap();
    assert!(run.status.success(), "{}\n{conf}", String::from_utf8_lossy(&run.stderr));
    conf
}

const V4: &str = "<ip address='192.168.5.1' prefix='24'><dhcp><range start='192.168.5.2' end='192.168.5.254'/>\
    <host mac='52:54:00:00:00:01' name='one' ip='192.168.5.10'/><host name='two' ip='192.168.5.11'/>\
    <host mac='52:54:00:00:00:03' ip='192.168.5.12'/></dhcp></ip>";

#[test]
fn isolated_network() {
    let v6 = "<ip family='ipv6' address='fd00:5::1' prefix='64'><dhcp/></ip>";
    insta::assert_snapshot!(tested(&network(&format!("{V4}{v6}")), None));
}

#[test]
fn nat_network_asks_the_host_or_the_uplink() {
    let def =
        network(&format!("<forward/><mtu size='9000'/><domain name='example.com' localOnly='yes'/>{V4}"));
    insta::assert_snapshot!(tested(&def, None));
    let through_uplink = tested(&def, Some("169.254.1.1".parse().unwrap()));
    assert!(through_uplink.contains("\nno-resolv\nserver=169.254.1.1\n"));
}

#[test]
fn ipv6_with_and_without_dhcp() {
    let slaac = "<ip family='ipv6' address='fd00:5::1' prefix='64'/>";
    let advertised = tested(&network(&format!("<forward/>{V4}{slaac}")), None);
    assert!(advertised.contains("\ndhcp-range=fd00:5::1,ra-only\n"), "{advertised}");
    let stateful = "<ip family='ipv6' address='fd00:6::1' prefix='64'><dhcp>\
        <range start='fd00:6::100' end='fd00:6::1ff'/><host name='paul' ip='fd00:6::20'/>\
        <host id='0:3:0:1:0:16:3e:11:22:33' ip='fd00:6::21'/><host id='0:1' name='peter' ip='fd00:6::22'/></dhcp></ip>";
    insta::assert_snapshot!(tested(&network(&format!("<forward mode='route'/>{stateful}{slaac}")), None));
}

#[test]
fn reservations_without_a_range_and_dns_off() {
    let only = "<forward/><dns enable='no'/><ip address='10.0.0.1'><dhcp>\
        <host mac='52:54:00:00:00:01' ip='10.0.0.5'/></dhcp></ip>";
    let conf = tested(&network(only), None);
    assert!(conf.contains("\nport=0\n") && conf.contains("\ndhcp-range=10.0.0.1,static,255.0.0.0\n"));
    assert_eq!(planned(&network("<forward/><dns enable='no'/><ip address='10.0.0.1'/>"), None), None);
    assert_eq!(planned(&network("<dns/>"), None), None);
    let files = network("<dns enable='no'/><ip address='10.0.0.1'><tftp root='/srv'/></ip>");
    assert!(tested(&files, None).contains("\nenable-tftp\ntftp-root=\"/srv\"\n"));
}

#[test]
fn leases_and_booting() {
    let def = network(
        "<forward/><ip address='10.0.0.1'><tftp root='/srv/tftp, &quot;a&quot; #1'/><dhcp>\
        <range start='10.0.0.2' end='10.0.0.9'><lease expiry='2' unit='hours'/></range>\
        <range start='10.0.0.20' end='10.0.0.29'><lease expiry='30'/></range>\
        <host mac='52:54:00:00:00:01' name='a' ip='10.0.0.2'><lease expiry='0'/></host>\
        <host name='b' ip='10.0.0.3'><lease expiry='120' unit='seconds'/></host>\
        <bootp file='pxe,linux.0' server='10.0.0.3'/></dhcp></ip>",
    );
    insta::assert_snapshot!(tested(&def, None), @r#"
    strict-order
    except-interface=lo
    bind-dynamic
    interface=wbr0
    pid-file=
    log-facility=-
    enable-tftp
    tftp-root="/srv/tftp, \"a\" #1"
    dhcp-range=10.0.0.2,10.0.0.9,255.0.0.0,2h
    dhcp-range=10.0.0.20,10.0.0.29,255.0.0.0,30m
    dhcp-host=52:54:00:00:00:01,10.0.0.2,a,infinite
    dhcp-host=b,10.0.0.3,120s
    dhcp-boot="pxe,linux.0",,10.0.0.3
    dhcp-no-override
    dhcp-authoritative
    dhcp-lease-max=18
    dhcp-leasefile="/run/w n/leases"
    "#);
}

#[test]
fn names_of_the_network() {
    let def = network(
        "<forward/><dns forwardPlainNames='no'><forwarder addr='10.0.0.53' port='5353'/>\
        <forwarder domain='a.example' addr='fd00::1'/><forwarder domain='b.example'/>\
        <txt name='t' value='v=spf1 a, &quot;b, c&quot; #'/><txt name='u' value=''/>\
        <srv service='ldap' protocol='tcp' domain='lab' target='s.lab' port='389' priority='1' weight='2'/>\
        <srv service='sip' protocol='udp' target='s' weight='5'/><srv service='x' protocol='udp' target='.'/>\
        <host ip='10.0.0.2'><hostname>one</hostname><hostname>two.lab</hostname></host>\
        <host ip='fd00::2'><hostname>one</hostname></host></dns>\
        <ip address='10.1.2.1' prefix='16' localPtr='yes'/>\
        <ip family='ipv6' address='fd00:1::1' prefix='36' localPtr='yes'/>",
    );
    let uplink = Some("169.254.1.1".parse().unwrap());
    insta::assert_snapshot!(tested(&def, uplink), @r#"
    strict-order
    except-interface=lo
    bind-dynamic
    interface=wbr0
    pid-file=
    log-facility=-
    server=10.0.0.53#5353
    server=/a.example/fd00::1
    server=/b.example/#
    no-resolv
    local=/1.10.in-addr.arpa/
    local=/0.1.0.0.0.0.0.d.f.ip6.arpa/
    domain-needed
    local=//
    txt-record=t,"v=spf1 a"," b, c #"
    txt-record=u,""
    srv-host=_ldap._tcp.lab,s.lab,389,1,2
    srv-host=_sip._udp,s,1,0,5
    srv-host=_x._udp
    addn-hosts="/run/w n/hosts"
    dhcp-range=fd00:1::1,ra-only
    "#);
    insta::assert_snapshot!(planned(&def, None).unwrap().hosts, @r#"
    10.0.0.2	one	two.lab
    fd00::2	one
    "#);
    assert!(planned(&def, None).unwrap().to_string().ends_with("\n# in the file of hosts: fd00::2\tone\n"));
    let only_domain =
        network("<forward/><dns><forwarder domain='a' addr='10.0.0.5'/></dns><ip address='10.0.0.1'/>");
    assert!(tested(&only_domain, uplink).contains("server=/a/10.0.0.5\nno-resolv\nserver=169.254.1.1\n"));
    assert!(!tested(&only_domain, None).contains("no-resolv"));
}

#[test]
fn reverse_zones_end_with_a_label() {
    let zone = |net: &str| names::reverse_zone(net.parse().unwrap());
    assert_eq!(zone("10.1.2.3/24").as_deref(), Some("2.1.10.in-addr.arpa"));
    assert_eq!(zone("2001:db8::1/28").as_deref(), Some("b.d.0.1.0.0.2.ip6.arpa"));
    for uneven in ["10.0.0.1/25", "10.0.0.1/32", "fd00::1/63", "fd00::1/128"] {
        assert_eq!(zone(uneven), None, "{uneven}");
    }
}

#[test]
fn lines_for_dnsmasq_come_last() {
    let def = network(
        "<ip address='10.0.0.1'/><o:options xmlns:o='http://libvirt.org/schemas/network/dnsmasq/1.0'>\
        <o:option value='cname=*.a,b'/><o:option value='log-queries'/></o:options>",
    );
    assert!(tested(&def, None).ends_with("\ncname=*.a,b\nlog-queries\n"));
}

#[test]
fn no_value_becomes_a_line() {
    let mut def = network(&format!(
        "<forward/><domain name='d'/><dns><txt name='t' value='v'/>\
        <srv service='s' protocol='p' domain='d' target='t'/><forwarder domain='d'/>\
        <host ip='10.0.0.1'><hostname>h</hostname></host></dns>{V4}"
    ));
    let evil = || "x\ndhcp-script=/bin/sh #".to_owned();
    def.domain.as_mut().unwrap().name = evil();
    def.dns.txts[0].value = evil();
    def.dns.srvs[0].domain = Some(evil());
    def.dns.srvs[0].target = Some(evil());
    def.dns.forwarders[0].domain = Some(evil());
    def.dns.hosts[0].names = vec![evil()];
    def.dnsmasq_options.push(evil());
    let dhcp = def.ips[0].dhcp.as_mut().unwrap();
    dhcp.hosts[0].name = Some(evil());
    dhcp.hosts[1].name = Some("a,set:b".to_owned());
    let plan = planned(&def, None).unwrap();
    tested(&def, None);
    assert!(!plan.conf.contains("\ndhcp-script") && !plan.conf.contains("set:"), "{}", plan.conf);
    assert_eq!(plan.hosts, "");
    assert_eq!(quoted("/a\nb\"#"), "\"/a?b\\\"#\"");
}
