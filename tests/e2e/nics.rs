//! Every type and every model of NIC: they start, and each model is a NIC that works, which its boot ROM
//! shows by asking DHCP.

use std::net::TcpListener;
use std::time::Duration;

use crate::common::{Capture, GuestXml, Service, World, eventually, holds, text, world};

const MODELS: [&str; 6] = ["virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet"];

#[test]
fn every_type_starts_with_every_model() {
    world(async |world: World| {
        world.sh("ip link add br0 type bridge && ip link set br0 up
            ip link set lo multicast on && ip route add 239.0.0.0/8 dev lo");
        let _peer = TcpListener::bind("127.0.0.1:5556").expect("the port is free in a fresh world");
        let service = Service::system(&world).await;
        let types = [
            ("network", "<source network='default'/>"),
            ("bridge", "<source bridge='br0'/>"),
            ("ethernet", ""),
            ("user", ""),
            ("server", "<source address='' port='5555'/>"),
            ("client", "<source address='' port='5556'/>"),
            ("mcast", "<source address='' port='5558'/>"),
            (
                "udp",
                "<source address='127.0.0.1' port='5601'><local address='127.0.0.1' port='5602'/></source>",
            ),
        ];
        let default = "<network><name>default</name><forward/><ip address='' netmask=''/></network>";
        service.client.define_network(default).await.expect("a valid document");
        for model in MODELS {
            let mut xml = GuestXml::new("all").diskless();
            for (kind, source) in types {
                xml = xml
                    .with(&format!("<interface type='{kind}'>{source}<model type='{model}'/></interface>"));
            }
            let guest = service.client.define_domain(&xml.to_string()).await.expect("a valid document");
            guest.start().await;
            assert_eq!(guest.state().await, "running", "all types with {model}");
            let told: Vec<_> = guest.info_list("interfaces").await;
            let told: Vec<_> = told.iter().map(|nic| (text(&nic["type"]), text(&nic["model"]))).collect();
            let wanted: Vec<_> =
                types.iter().map(|(kind, _)| ((*kind).to_owned(), model.to_owned())).collect();
            assert_eq!(told, wanted);
            guest.stop().await;
        }
    });
}

#[test]
fn each_model_asks_dhcp_when_there_is_no_disk() {
    world(async |world: World| {
        world.sh("ip link add br0 type bridge && ip link set br0 up");
        let service = Service::system(&world).await;
        let capture = Capture::start(&world, "br0").await;
        // Two at a time: boot ROMs are slow without KVM.
        for pair in MODELS.chunks(2) {
            let mut started = Vec::new();
            for model in pair {
                let number = MODELS.iter().position(|m| m == model).and_then(|n| u8::try_from(n).ok());
                let mac = [0x52, 0x54, 0, 0xbb, 0, number.expect("there are few models")];
                let written = mac.map(|byte| format!("{byte:02x}")).join(":");
                let xml = GuestXml::new(&format!("diskless-{model}")).diskless().with(&format!(
                    "<interface type='bridge'><mac address='{written}'/><source bridge='br0'/><model type='{model}'/></interface>"
                ));
                let guest = service.client.define_domain(&xml.to_string()).await.expect("a valid document");
                guest.start().await;
                started.push((guest, mac, model));
            }
            for (guest, mac, model) in started {
                eventually(&format!("{model} sends a DHCP request"), Duration::from_secs(60), async || {
                    let asks = |frame: &Vec<u8>| {
                        frame.get(6..12) == Some(&mac) && holds(frame, &[0x63, 0x82, 0x53, 0x63])
                    };
                    capture.frames().iter().any(asks).then_some(())
                })
                .await;
                guest.stop().await;
            }
        }
    });
}

/// What a document says of the host's side is so on the host, and what is assigned is in the live document.
#[test]
fn the_host_side_is_as_the_document_says() {
    world(async |world: World| {
        world.sh("ip link add br0 type bridge && ip link set br0 up
            ip tuntap add dev own0 mode tap vnet_hdr && ip link set own0 up");
        let service = Service::system(&world).await;
        let xml = GuestXml::new("sides").diskless().with(
            "<interface type='bridge'><source bridge='br0'/><target dev='t0'/><model type='virtio'/>
               <driver queues='4'/><mtu size='1400'/><port isolated='yes'/></interface>
             <interface type='ethernet'><source><ip address='10.6.0.1' prefix='24'/>
               <ip family='ipv6' address='fd06::1' prefix='64'/>
               <route address='10.7.0.0' prefix='16' gateway='10.6.0.2'/></source><target dev='t1'/></interface>
             <interface type='ethernet'><source><ip address='10.8.0.1' prefix='32' peer='10.8.0.2'/></source>
               <target dev='t2'/></interface>
             <interface type='ethernet'><target dev='own0' managed='no'/></interface>
             <interface type='bridge'><source bridge='br0'/><alias name='ua-last'/></interface>",
        );
        let guest = service.client.define_domain(&xml.to_string()).await.expect("a valid document");
        guest.start().await;
        assert!(world.sh("ip -d link show t0").contains("multi_queue"));
        assert!(world.sh("ip link show t0").contains("mtu 1400"));
        assert!(world.sh("bridge -d link show dev t0").contains("isolated on"));
        assert!(world.sh("ip address show dev t1").contains("inet 10.6.0.1/24"));
        assert!(world.sh("ip address show dev t1").contains("inet6 fd06::1/64"));
        assert!(world.sh("ip route show 10.7.0.0/16").contains("via 10.6.0.2 dev t1"));
        assert!(world.sh("ip address show dev t2").contains("inet 10.8.0.1 peer 10.8.0.2/32"));
        let models: Vec<_> =
            guest.info_list("interfaces").await.iter().map(|nic| text(&nic["model"])).collect();
        assert_eq!(models, ["virtio", "rtl8139", "rtl8139", "rtl8139", "rtl8139"]);

        let live: String =
            guest.ask_with("GetXml", [("live", true.into())].into()).await.expect("GetXml answers");
        for wanted in ["wtap0", "alias name=\"net3\"", "ua-last"] {
            assert!(live.replace('\'', "\"").contains(wanted), "{wanted} in {live}");
        }
        assert!(!guest.xml().await.contains("wtap0"));
        guest.stop().await;
        world.sh("ip link show own0");
        let gone = GuestXml::new("gone")
            .diskless()
            .with("<interface type='ethernet'><target dev='nosuch0' managed='no'/></interface>");
        let gone = service.client.define_domain(&gone.to_string()).await.expect("a valid document");
        let refused = gone.act("Start").await.expect_err("there is no such TAP");
        assert!(refused.to_string().contains("nosuch0"), "{refused}");
    });
}
