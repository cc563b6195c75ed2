//! Each section, on a document whose layout must not change beside the entry.

use super::*;

const BASE: &str = "<network>
  <name>n</name>
  <forward mode='vepa' dev='a'/> <!-- the uplinks -->
  <portgroup name='blue' default='yes'/>
  <portgroup name='red'/>
</network>
";

const LAB: &str = "<network>
  <name>n</name>
  <domain name=\"lab\" />
  <dns>
    <txt name='t' value='1'/>
    <srv service='a' protocol='tcp' target='x'/>
    <srv service='b' protocol='tcp' domain='lab' target='x'/>
    <host ip='10.0.0.2'>
      <hostname>one</hostname>
    </host>
    <host ip='10.0.0.3'><hostname>two</hostname><hostname>shared</hostname></host>
    <host ip='10.0.0.4'><hostname>shared</hostname></host>
  </dns>
  <ip address='10.0.0.1' prefix='24'>
    <dhcp>
      <range start='10.0.0.100' end='10.0.0.199'/>
      <host mac='52:54:00:00:00:01' name='one' ip='10.0.0.2'/>
      <host name='two' ip='10.0.0.3'/>
      <bootp file='x'/>
    </dhcp>
  </ip>
  <ip address='10.0.1.1' prefix='24'/>
  <ip family='ipv6' address='fd00::1' prefix='64'/>
</network>
";

/// What changed, as lines that went and lines that came; or the error.
fn diff(base: &str, command: &str, section: &str, index: i32, fragment: &str) -> String {
    let doc = NetworkDoc::parse(base).unwrap();
    match apply(&doc, command.parse().unwrap(), section.parse().unwrap(), index, fragment) {
        Ok(new) => {
            let (old, new) = (doc.to_xml(), new.to_xml());
            let went = old.lines().filter(|l| !new.lines().any(|n| n == *l)).map(|l| format!("- {l}"));
            let came = new.lines().enumerate().filter(|(_, l)| !old.lines().any(|o| o == *l));
            went.chain(came.map(|(i, l)| format!("{} {l}", i + 1))).collect::<Vec<_>>().join("\n")
        }
        Err(e) => crate::chain(&e),
    }
}

fn lab(command: &str, section: &str, fragment: &str) -> String {
    diff(LAB, command, section, -1, fragment)
}

#[test]
fn reservations() {
    let add = |command: &str, fragment: &str| lab(command, "ip-dhcp-host", fragment);
    let new = "<host mac='52:54:00:00:00:09' name='nine' ip='10.0.0.9'/>";
    insta::assert_snapshot!(add("add-first", new), @"17       <host mac='52:54:00:00:00:09' name='nine' ip='10.0.0.9'/>");
    insta::assert_snapshot!(add("add-last", new), @"19       <host mac='52:54:00:00:00:09' name='nine' ip='10.0.0.9'/>");
    insta::assert_snapshot!(add("modify", "<host mac='52:54:00:00:00:09' name='two' ip='10.0.0.9'/>"), @r#"
    -       <host name='two' ip='10.0.0.3'/>
    18       <host mac='52:54:00:00:00:09' name='two' ip='10.0.0.9'/>
    "#);
    insta::assert_snapshot!(add("delete", "<host name='two'/>"), @"-       <host name='two' ip='10.0.0.3'/>");
    // What it says of the MAC is no contradiction to a reservation without one.
    insta::assert_snapshot!(add("delete", "<host mac='52:54:00:00:00:09' name='two'/>"), @"-       <host name='two' ip='10.0.0.3'/>");
    let wrong = [
        ("add-last", "<host mac='52:54:00:00:00:01' ip='10.0.0.9'/>"),
        ("add-last", "<host mac='52:54:00:00:00:09'/>"),
        ("add-last", "<host mac='52:54:00:00:00:09' ip='fd00::5'/>"),
        ("modify", new),
        ("delete", "<host id='1'/>"),
        ("delete", "<host name='one' ip='10.0.0.3'/>"),
        ("delete", "<range/>"),
        ("delete", "<host"),
    ];
    let wrong: Vec<_> = wrong.iter().map(|(command, fragment)| add(command, fragment)).collect();
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    a reservation has the same mac, name or ip already
    the network would not be valid: /network/ip[1]/dhcp/host[3]/@ip (line 19, column 7): <host> needs the attribute 'ip'; give the address that is reserved
    the fragment is incomplete: fd00::5 is of another family than the <ip> it is reserved in
    there is no reservation that matches the fragment
    the fragment is incomplete: it needs mac, name or ip
    there is no reservation that matches the fragment
    the fragment is <range>; in this section it must be <host>
    the fragment is not XML that can be read: line 1, column 1: syntax error: tag not closed: `>` not found before end of input
    "#);
}

#[test]
fn the_ip_is_found() {
    let host = "<host name='x' ip='10.0.1.5'/>";
    let at = |index, fragment: &str| diff(LAB, "add-last", "ip-dhcp-host", index, fragment);
    insta::assert_snapshot!(at(1, host), @"one IPv4 <ip> of a network has DHCP, and that is /network/ip[1]");
    insta::assert_snapshot!(at(7, host), @"the network has no <ip> number 7");
    insta::assert_snapshot!(at(2, "<host name='x' ip='fd00::5'/>"), @r#"
    -   <ip family='ipv6' address='fd00::1' prefix='64'/>
    23   <ip family='ipv6' address='fd00::1' prefix='64'>
    25       <host name='x' ip='fd00::5'/>
    "#);
    insta::assert_snapshot!(at(2, "<host mac='52:54:00:00:00:09' ip='fd00::5'/>"), @r#"
    the network would not be valid: /network/ip[3]/dhcp/host/@mac (line 25, column 7): in IPv6 a guest is not known by its MAC address; write id or name instead
    /network/ip[3]/dhcp/host (line 25, column 7): the reservation names no host; add id or name
    "#);
    insta::assert_snapshot!(diff(BASE, "add-last", "ip-dhcp-host", -1, host), @"the network has no <ip>");
}

#[test]
fn ranges() {
    let range = |command: &str, fragment: &str| lab(command, "ip-dhcp-range", fragment);
    insta::assert_snapshot!(range("add-first", "<range start='10.0.0.10' end='10.0.0.19'/>"), @"16       <range start='10.0.0.10' end='10.0.0.19'/>");
    insta::assert_snapshot!(range("delete", "<range start='10.0.0.100' end='10.0.0.199'/>"), @"-       <range start='10.0.0.100' end='10.0.0.199'/>");
    let wrong = [
        ("modify", "<range start='10.0.0.100' end='10.0.0.199'/>"),
        ("add-last", "<range start='10.0.0.100' end='10.0.0.199'/>"),
        ("add-last", "<range start='10.0.0.100'/>"),
        ("add-last", "<range start='10.0.9.1' end='10.0.9.2'/>"),
        ("delete", "<range start='10.0.0.100' end='10.0.0.198'/>"),
    ];
    let wrong: Vec<_> = wrong.iter().map(|(command, fragment)| range(command, fragment)).collect();
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    a range is not modified, only added or deleted; define the network anew instead
    there is a range from 10.0.0.100 to 10.0.0.199 already
    the fragment is incomplete: it needs start and end
    the network would not be valid: /network/ip[1]/dhcp/range[2]/@start (line 17, column 7): 10.0.9.1 is outside of 10.0.0.0/24
    /network/ip[1]/dhcp/range[2]/@end (line 17, column 7): 10.0.9.2 is outside of 10.0.0.0/24
    there is no range that matches the fragment
    "#);
}

#[test]
fn dns_hosts() {
    let host = |command: &str, fragment: &str| lab(command, "dns-host", fragment);
    insta::assert_snapshot!(host("add-first", "<host ip='10.0.0.9'><hostname>shared</hostname></host>"), @r#"
    8     <host ip='10.0.0.9'>
    9       <hostname>shared</hostname>
    "#);
    insta::assert_snapshot!(host("modify", "<host ip='10.0.0.4'><hostname>four</hostname></host>"), @r#"
    -     <host ip='10.0.0.4'><hostname>shared</hostname></host>
    12     <host ip='10.0.0.4'>
    13       <hostname>four</hostname>
    "#);
    insta::assert_snapshot!(host("delete", "<host><hostname>one</hostname></host>"), @r#"
    -     <host ip='10.0.0.2'>
    -       <hostname>one</hostname>
    -     </host>
    "#);
    let wrong = [
        ("add-last", "<host ip='10.0.0.2'><hostname>x</hostname></host>"),
        ("add-last", "<host><hostname>x</hostname></host>"),
        ("add-last", "<host ip='10.0.0.9'/>"),
        ("modify", "<host ip='10.0.0.9'><hostname>one</hostname></host>"),
        ("modify", "<host><hostname>one</hostname></host>"),
        ("delete", "<host><hostname>shared</hostname></host>"),
        ("delete", "<host ip='x'/>"),
        ("delete", "<host/>"),
    ];
    let wrong: Vec<_> = wrong.iter().map(|(command, fragment)| host(command, fragment)).collect();
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    a DNS host has the same address already
    the fragment is incomplete: it needs the attribute 'ip'
    the network would not be valid: /network/dns/host[4] (line 13, column 5): the host has no name; add <hostname>
    there is no DNS host that matches the fragment
    there is no DNS host that matches the fragment
    more than one DNS host matches the fragment; say more of it
    the fragment is incomplete: ip: 'x' cannot stand there: invalid IP address syntax
    the fragment is incomplete: it needs the attribute 'ip'
    "#);
}

#[test]
fn records() {
    insta::assert_snapshot!(lab("modify", "dns-txt", "<txt name='t' value='2 &amp; 3'/>"), @r#"
    -     <txt name='t' value='1'/>
    5     <txt name='t' value='2 &amp; 3'/>
    "#);
    insta::assert_snapshot!(lab("add-first", "dns-txt", "<txt name='s' value='0'/>"), @"5     <txt name='s' value='0'/>");
    insta::assert_snapshot!(lab("delete", "dns-txt", "<txt name='t'/>"), @"-     <txt name='t' value='1'/>");
    insta::assert_snapshot!(lab("delete", "dns-srv", "<srv domain='lab'/>"), @"-     <srv service='b' protocol='tcp' domain='lab' target='x'/>");
    let modified = "<srv service='a' protocol='tcp' target='x' port='7'/>";
    insta::assert_snapshot!(lab("modify", "dns-srv", modified), @r#"
    -     <srv service='a' protocol='tcp' target='x'/>
    6     <srv service='a' protocol='tcp' target='x' port='7'/>
    "#);
    let bare = "<network>\n  <name>n</name>\n  <mtu size='1400'/>\n  <ip address='10.0.0.1'/>\n</network>";
    insta::assert_snapshot!(diff(bare, "add-last", "dns-srv", 0, "<srv service='a' protocol='udp'/>"), @r#"
    4   <dns>
    5     <srv service='a' protocol='udp'/>
    6   </dns>
    "#);
    let wrong = [
        ("add-last", "dns-txt", "<txt name='t' value='2'/>"),
        ("add-last", "dns-txt", "<txt name='u'/>"),
        ("modify", "dns-txt", "<txt name='u' value='2'/>"),
        ("modify", "dns-txt", "<txt name='t'/>"),
        ("delete", "dns-txt", "<txt value='1'/>"),
        ("modify", "dns-srv", "<srv service='a' protocol='udp'/>"),
        ("modify", "dns-srv", "<srv service='a'/>"),
        ("delete", "dns-srv", "<srv protocol='tcp'/>"),
        ("delete", "dns-srv", "<srv service='z'/>"),
        ("delete", "dns-srv", "<srv service='a' port='1'/>"),
        ("add-last", "dns-srv", "<srv service='b' protocol='tcp'/>"),
        ("add-last", "dns-srv", "<srv service='c'/>"),
    ];
    let wrong: Vec<_> =
        wrong.iter().map(|(command, section, fragment)| lab(command, section, fragment)).collect();
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    there is a TXT record 't' already
    the network would not be valid: /network/dns/txt[2]/@value (line 6, column 5): <txt> needs the attribute 'value'; give the text of the record
    there is no TXT record that matches the fragment
    the fragment is incomplete: it needs the attribute 'value'
    the fragment is incomplete: it needs the attribute 'name'
    there is no SRV record that matches the fragment
    the network would not be valid: /network/dns/srv[1]/@protocol (line 6, column 5): <srv> needs the attribute 'protocol'; a record has a service and a protocol
    more than one SRV record matches the fragment; say more of it
    there is no SRV record that matches the fragment
    the fragment is incomplete: port means nothing without target
    an SRV record says all of it already
    the network would not be valid: /network/dns/srv[3]/@protocol (line 8, column 5): <srv> needs the attribute 'protocol'; a record has a service and a protocol
    "#);
}

#[test]
fn portgroups() {
    let group = |command: &str, fragment: &str| diff(BASE, command, "portgroup", 0, fragment);
    insta::assert_snapshot!(group("add-first", "<portgroup name='green'/>"), @"4   <portgroup name='green'/>");
    insta::assert_snapshot!(group("add-last", "<portgroup name='green'/>"), @"6   <portgroup name='green'/>");
    insta::assert_snapshot!(group("modify", "<portgroup name='blue' default='yes' trustGuestRxFilters='yes'/>"), @r#"
    -   <portgroup name='blue' default='yes'/>
    4   <portgroup name='blue' default='yes' trustGuestRxFilters='yes'/>
    "#);
    insta::assert_snapshot!(group("delete", "<portgroup name='red'/>"), @"-   <portgroup name='red'/>");
    let wrong = [
        ("add-last", "<portgroup name='red'/>"),
        ("add-last", "<portgroup name='green' default='yes'/>"),
        ("modify", "<portgroup name='red' default='yes'/>"),
        ("modify", "<portgroup name='green'/>"),
        ("delete", "<portgroup name='green'/>"),
        ("delete", "<portgroup/>"),
    ];
    let wrong: Vec<_> = wrong.iter().map(|(command, fragment)| group(command, fragment)).collect();
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    there is a portgroup 'red' already
    another portgroup is the default, and there can be one only
    another portgroup is the default, and there can be one only
    there is no portgroup that matches the fragment
    there is no portgroup that matches the fragment
    the network would not be valid: /network/portgroup[3]/@name (line 6, column 3): <portgroup> needs the attribute 'name'; give the name that NICs choose it by
    "#);
}

#[test]
fn interfaces_and_their_dev() {
    let at = |base: &str, command: &str, dev: &str| {
        diff(base, command, "forward-interface", 0, &format!("<interface dev='{dev}'/>"))
    };
    insta::assert_snapshot!(at(BASE, "add-first", "b"), @r#"
    -   <forward mode='vepa' dev='a'/> <!-- the uplinks -->
    3   <forward mode='vepa' dev='b'>
    4     <interface dev='b'/>
    5     <interface dev='a'/>
    6   </forward> <!-- the uplinks -->
    "#);
    insta::assert_snapshot!(at(BASE, "add-last", "b"), @r#"
    -   <forward mode='vepa' dev='a'/> <!-- the uplinks -->
    3   <forward mode='vepa' dev='a'>
    4     <interface dev='a'/>
    5     <interface dev='b'/>
    6   </forward> <!-- the uplinks -->
    "#);
    insta::assert_snapshot!(at(BASE, "delete", "a"), @r#"
    -   <forward mode='vepa' dev='a'/> <!-- the uplinks -->
    3   <forward mode='vepa'/> <!-- the uplinks -->
    "#);
    let two = BASE.replace(" dev='a'/>", " dev='a'><interface dev='a'/><interface dev='b'/></forward>");
    insta::assert_snapshot!(at(&two, "delete", "a"), @r#"
    -   <forward mode='vepa' dev='a'><interface dev='a'/><interface dev='b'/></forward> <!-- the uplinks -->
    3   <forward mode='vepa' dev='b'><interface dev='b'/></forward> <!-- the uplinks -->
    "#);
    insta::assert_snapshot!(at(&two, "delete", "b"), @r#"
    -   <forward mode='vepa' dev='a'><interface dev='a'/><interface dev='b'/></forward> <!-- the uplinks -->
    3   <forward mode='vepa' dev='a'><interface dev='a'/></forward> <!-- the uplinks -->
    "#);
    let wrong = [
        at(&two, "add-last", "b"),
        at(BASE, "delete", "b"),
        at(BASE, "modify", "a"),
        at(LAB, "add-last", "a"),
        at(&LAB.replace("<domain", "<forward dev='a'/><domain"), "add-last", "b"),
        diff(BASE, "delete", "forward-interface", 0, "<interface/>"),
    ];
    insta::assert_snapshot!(wrong.join("\n"), @r#"
    the network forwards through 'b' already
    there is no interface that matches the fragment
    an interface to forward through is not modified, only added or deleted; define the network anew instead
    the network has no <forward>
    the network would not be valid: /network/forward/interface[2] (line 5, column 5): more than one way out is named; leave one <interface>
    the fragment is incomplete: it needs the attribute 'dev'
    "#);
}

#[test]
fn sections_that_are_not_changed_in_part() {
    for section in ["bridge", "domain", "ip", "forward", "forward-pf"] {
        let said = lab("modify", section, "<x/>");
        assert_eq!(
            said,
            format!("the section '{section}' is not changed in part; define the network anew instead")
        );
    }
    insta::assert_snapshot!("append".parse::<Command>().unwrap_err(), @"'append' is not a command of an update; known are modify, delete, add-last, add-first");
    insta::assert_snapshot!("dns".parse::<Section>().unwrap_err(), @"'dns' is not a section of an update; known are bridge, domain, ip, ip-dhcp-host, ip-dhcp-range, forward, forward-interface, forward-pf, portgroup, dns-host, dns-txt, dns-srv");
}
