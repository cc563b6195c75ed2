//! Generates networks and domains: every type of interface and kind of device, sub-elements in any order, odd white
//! space, comments, CDATA, prefixes and elements that nobody knows.

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

/// What may stand between two elements.
fn gap() -> impl Strategy<Value = &'static str> {
    select(vec!["", "\n", "\n    ", "\r\n\t", " ", "<!-- between > -->", "\n  <?pi a?>\n", "\n\n\n"])
}

/// Elements that libvirt does not know, and Warren keeps.
fn foreign() -> impl Strategy<Value = &'static str> {
    select(vec![
        "<w:own xmlns:w='urn:example:own' w:a='1'><w:b/>text</w:own>",
        "<x:y xmlns:x='urn:example:x'><![CDATA[<&>]]><z xmlns='urn:example:z'/></x:y>",
        "<x:empty xmlns:x='urn:example:x'/>",
    ])
}

/// Elements with gaps around, in an order of their own.
fn laid_out(elements: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = String> {
    elements.prop_flat_map(|elements| {
        let gaps = prop::collection::vec(gap(), elements.len() + 1);
        gaps.prop_map(move |gaps| {
            let between = elements.iter().zip(&gaps).map(|(e, gap)| format!("{gap}{e}"));
            between.collect::<String>() + gaps[elements.len()]
        })
    })
}

/// Some of the parts, in any order.
fn some_of(parts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(parts, 0..=parts.len().min(7))
        .prop_shuffle()
        .prop_map(|parts| parts.into_iter().map(str::to_owned).collect())
}

/// An element with what it must have and some of what it may have.
fn element(
    start: &'static str,
    needs: &'static [&'static str],
    may: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let name = start.split(' ').next().unwrap_or(start);
    let parts = some_of(may).prop_map(move |mut parts| {
        parts.splice(0..0, needs.iter().map(|need| (*need).to_owned()));
        parts
    });
    laid_out(parts.prop_shuffle()).prop_map(move |content| match content.is_empty() {
        true => format!("<{start}/>"),
        false => format!("<{start}>{content}</{name}>"),
    })
}

/// What an interface of any type may have.
const ANY_NIC: &[&str] = &[
    "<mac address=''/>",
    "<link state='down'/>",
    "<rom enabled='no'/>",
    "<acpi index='3'/>",
    "<tune><sndbuf>0</sndbuf></tune>",
    "<alias name='net7'/>",
];

/// What a TAP may have besides.
const TAP_NIC: &[&str] = &[
    "<model type='virtio'/>",
    "<mtu size='1400'/>",
    "<bandwidth><inbound average='1000' peak='5000' burst='1024'/><outbound average='128'/></bandwidth>",
    "<filterref filter='clean-traffic'><parameter name='IP' value='10.0.0.1'/></filterref>",
    "<guest dev='eth0'/>",
    "<coalesce><rx><frames max='7'/></rx></coalesce>",
    "<driver name='vhost' queues='2' rx_queue_size='512'><host tso4='off'/><guest csum='off'/></driver>",
    "<backend tap='/dev/net/tun' vhost='/dev/vhost-net'/>",
    "<link state='up'/>",
];

fn nic() -> BoxedStrategy<String> {
    prop_oneof![
        element("interface type='user'", &[], ANY_NIC),
        element("interface type='user'", &["<model type='e1000'/>"], ANY_NIC),
        element("interface type='network'", &["<source network='default' portgroup='a'/>"], TAP_NIC),
        element("interface type='bridge'", &["<source dev='br0'/>"], TAP_NIC),
        element(
            "interface type='bridge'",
            &["<source bridge='ovs0'/>", "<virtualport type='openvswitch'/>"],
            &["<vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan>", "<port isolated='yes'/>"],
        ),
        element(
            "interface type='ethernet'",
            &[],
            &["<script path='/s'/>", "<downscript path='/t'/>", "<ip address='10.0.0.1' prefix='24'/>"]
        ),
        element("interface type='server'", &["<source address='' port='5555'/>"], ANY_NIC),
        element("interface type='client'", &["<source address='192.0.2.1' port='5556'/>"], ANY_NIC),
        element("interface type='mcast'", &["<source address='239.0.0.9' port='5557'/>"], ANY_NIC),
        element(
            "interface type='udp'",
            &["<source address='127.0.0.1' port='5558'><local address='127.0.0.1' port='5559'/></source>"],
            ANY_NIC,
        ),
        element(
            "interface type='direct'",
            &["<source dev='eth0' mode='vepa'/>"],
            &["<model type='virtio'/>"]
        ),
        element("interface type='vdpa'", &["<source dev='/dev/vhost-vdpa-0'/>"], &["<model type='virtio'/>"]),
        element(
            "interface type='hostdev' managed='yes'",
            &["<source><address type='pci' domain='0' bus='3' slot='0x10' function='2'/></source>"],
            &["<vlan><tag id='9'/></vlan>"],
        ),
        element("interface type='internal'", &["<source name='n'/>"], &[]),
        element("interface type='null'", &[], &["<model type='virtio'/>"]),
    ]
    .boxed()
}

fn device() -> BoxedStrategy<String> {
    const DISK: &[&str] =
        &["<driver name='qemu' type='raw' cache='none'/>", "<readonly/>", "<serial>S 1</serial>"];
    let plain = select(vec![
        "<controller type='usb' index='0' model='qemu-xhci'/>",
        "<filesystem type='mount'><source dir='/s'/><target dir='t'/></filesystem>",
        "<input type='tablet' bus='usb'/>",
        "<sound model='ich9'/>",
        "<watchdog model='i6300esb' action='reset'/>",
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0x1'/></source></hostdev>",
        "<shmem name='s'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>",
        "<hub type='usb'/>",
        "<serial type='null'/>",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        6 => nic(),
        1 => element("disk type='file' device='disk'", &["<source file='/a'/>", "<target dev='vda'/>"], DISK),
        1 => element("disk type='block'", &["<source dev='/dev/b'/>", "<target dev='sdb' bus='scsi'/>"], DISK),
        1 => element("disk type='file' device='cdrom'", &["<target dev='hdc' bus='ide'/>"], &["<readonly/>"]),
        2 => plain,
        1 => foreign().prop_map(str::to_owned),
    ]
    .boxed()
}

/// Names that stand once in a document: the second device of a kind would be refused for that alone.
fn once(devices: Vec<String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    devices
        .into_iter()
        .filter(|device| {
            let names = [
                "dev='vda'",
                "dev='sdb'",
                "dev='hdc'",
                "name='net7'",
                "index='3'",
                "index='0'",
                "guest_agent",
            ];
            let only = names.iter().copied().chain([
                "<watchdog",
                "<tpm",
                "<shmem",
                "<sound",
                "5555",
                "5556",
                "5557",
                "5558",
            ]);
            let mine: Vec<String> = only.filter(|n| device.contains(n)).map(str::to_owned).collect();
            let free = mine.iter().all(|name| !taken.contains(name));
            taken.extend(mine);
            free
        })
        .collect()
}

/// The document in other quotes and with other ends of empty elements.
fn dressed(document: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (document, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(text, double, spaced, declared)| {
        let text = if double { text.replace('\'', "\"") } else { text };
        let text = if spaced { text.replace("/>", " />") } else { text };
        let head = if declared { "<?xml version='1.0' encoding='UTF-8'?>\n<!-- head -->\n" } else { "" };
        format!("{head}{text}\n<!-- tail -->\n")
    })
}

/// A domain.
pub fn domain() -> BoxedStrategy<String> {
    const HEAD: &[&str] = &[
        "<uuid></uuid>",
        "<title>Ein &lt;Titel&gt;</title>",
        "<description><![CDATA[a < b]]> &amp; c</description>",
        "<metadata><m:a xmlns:m='urn:example:m' m:b='c'><m:d/></m:a></metadata>",
        "<vcpu placement='static'>2</vcpu>",
        "<cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>",
        "<features><acpi/><apic/></features>",
        "<clock offset='utc'><timer name='pit' tickpolicy='delay'/></clock>",
        "<on_reboot>restart</on_reboot>",
        "<iothreads>1</iothreads>",
        "<pm><suspend-to-mem enabled='no'/></pm>",
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
    ];
    let devices = prop::collection::vec(device(), 0..8).prop_map(once);
    let devices = laid_out(devices).prop_map(|content| format!("<devices>{content}</devices>"));
    let parts =
        (some_of(HEAD), devices, prop::option::of(foreign())).prop_map(|(mut parts, devices, foreign)| {
            parts.extend(foreign.map(str::to_owned));
            parts.push(devices);
            parts.extend(
                ["<name>n</name>", "<memory unit='MiB'>64</memory>", "<os><type>hvm</type></os>"]
                    .map(str::to_owned),
            );
            parts
        });
    dressed(
        laid_out(parts.prop_shuffle()).prop_map(|content| format!("<domain type='qemu'>{content}</domain>")),
    )
    .boxed()
}

/// A network.
pub fn network() -> BoxedStrategy<String> {
    const PARTS: &[&str] = &[
        "<uuid/>",
        "<metadata><m:a xmlns:m='urn:example:m'>ä</m:a></metadata>",
        "<bridge name='br7' stp='on' delay='0'/>",
        "<mtu size='1400'/>",
        "<domain name='lab.example' localOnly='yes'/>",
        "<dns><txt name='a' value='b'/><host ip='10.1.0.9'><hostname>h</hostname></host></dns>",
        "<bandwidth><inbound average='100'/></bandwidth>",
        "<portgroup name='p' default='yes'/>",
        "<port isolated='yes'/>",
        "<d:options xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><d:option value='a=b'/></d:options>",
    ];
    let forward = select(vec![
        "",
        "<forward/>",
        "<forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>",
        "<forward mode='route' dev='eth0'/>",
        "<forward mode='open'/>",
    ]);
    let ips = subsequence(
        vec![
            "<ip/>",
            "<ip address='' prefix=''><dhcp><range/></dhcp></ip>",
            "<ip address='10.0.0.1' netmask='255.255.0.0'/>",
            "<ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>",
        ],
        0..=4,
    );
    let parts = (some_of(PARTS), forward, ips, prop::option::of(foreign())).prop_map(
        |(mut parts, forward, ips, foreign)| {
            parts.extend(ips.into_iter().chain(foreign).chain(["<name>n</name>"]).map(str::to_owned));
            parts.extend(Some(forward.to_owned()).filter(|f| !f.is_empty()));
            parts
        },
    );
    dressed(laid_out(parts.prop_shuffle()).prop_map(|content| format!("<network>{content}</network>")))
        .boxed()
}

/// A change that breaks most documents.
#[derive(Debug, Clone)]
pub struct Change {
    from: Index,
    length: usize,
    put: String,
    to: Index,
}

impl Change {
    /// Takes out some characters and puts others in elsewhere.
    pub fn apply(&self, text: &str) -> String {
        let mut all: Vec<char> = text.chars().collect();
        let from = self.from.index(all.len().max(1)).min(all.len());
        let to = (from + self.length).min(all.len());
        let out: String = all.drain(from..to).collect();
        let at = self.to.index(all.len() + 1);
        let put = if self.put == "moved" { out } else { self.put.clone() };
        all.splice(at..at, put.chars());
        all.into_iter().collect()
    }
}

/// A change.
pub fn change() -> impl Strategy<Value = Change> {
    let put = prop_oneof![
        3 => Just("moved".to_owned()),
        2 => "[<>/&;'\"= a0é\\]!-]{0,4}",
        1 => select(vec!["<![CDATA[", "<!--", "&#x0;", "&#55296;", "4294967296", "-1", "\u{0}", "</", "/>"])
            .prop_map(str::to_owned),
    ];
    (any::<Index>(), 0usize..40, put, any::<Index>()).prop_map(|(from, length, put, to)| Change {
        from,
        length,
        put,
        to,
    })
}
