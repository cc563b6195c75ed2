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
