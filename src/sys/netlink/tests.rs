//! The kernel itself, each test in a network namespace of its own.

use super::*;
use crate::sys::netspace::NetSpace;

/// Runs a test in a network namespace of its own; the host's is never touched.
fn in_own_namespace(test: impl Future<Output = ()>) {
    // SAFETY: only this thread is unshared, and it shares no descriptors table.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a network namespace needs root, or a user namespace");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_bridge_is_made_named_addressed_and_removed() {
    in_own_namespace(async {
        let netlink = NetSpace::host().netlink().await.unwrap();
        let spec = BridgeSpec {
            name: "wbr0".into(),
            mac: [0x52, 0x54, 0, 1, 2, 3],
            stp: true,
            delay_seconds: 0,
            mtu: 1400,
            alias: "warren:x".into(),
        };
        let index = netlink.create_bridge(&spec).await.unwrap();
        assert!(netlink.create_bridge(&spec).await.unwrap_err().is_exists());
        let tap = NetSpace::host().open_tap("wtap%d", true).await.unwrap();
        let again = NetSpace::host().open_tap(&tap.name, true).await.unwrap_err().to_string();
        assert_eq!(again, "the interface 'wtap0' already exists");
        let port = netlink.link(&tap.name).await.unwrap().unwrap();
        netlink.set_mtu(port.index, 1400).await.unwrap();
        netlink.set_master(port.index, Some(index)).await.unwrap();
        let net: IpNet = "192.168.7.1/24".parse().unwrap();
        netlink.add_address(index, net).await.unwrap();
        netlink.set_up(index, true).await.unwrap();
        let link = netlink.link("wbr0").await.unwrap().unwrap();
        assert_eq!((link.alias.as_deref(), link.kind.as_deref()), (Some("warren:x"), Some("bridge")));
        assert_eq!((link.mac, link.up, link.mtu), (Some(spec.mac), true, 1400));
        assert_eq!(netlink.link("wtap0").await.unwrap().unwrap().master, Some(index));
        assert!(netlink.addresses().await.unwrap().contains(&(index, net)));
        netlink.set_port(port.index, PortSpec { isolated: true, passes_bpdus: true }).await.unwrap();
        let shown = std::process::Command::new("bridge")
            .args(["-d", "link", "show", "dev", "wtap0"])
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.contains("isolated on"), "{shown}");
        let (far, far_v6): (IpNet, IpNet) = ("10.9.0.0/16".parse().unwrap(), "fd09::/32".parse().unwrap());
        netlink.add_address(index, "fd07::1/64".parse().unwrap()).await.unwrap();
        netlink.add_route(index, far, "192.168.7.2".parse().unwrap(), 5).await.unwrap();
        netlink.add_route(index, far_v6, "fd07::2".parse().unwrap(), 1).await.unwrap();
        let routes = netlink.routes().await.unwrap();
        for dst in [net.trunc(), far, far_v6] {
            assert!(routes.contains(&Route { dst, oif: Some(index) }), "{dst} {routes:?}");
        }
        let nowhere = netlink.add_route(index, far, "172.16.0.1".parse().unwrap(), 1).await;
        assert!(nowhere.is_err());
        drop(tap);
        netlink.delete(index).await.unwrap();
        netlink.delete(index).await.unwrap();
        let left: Vec<_> = netlink.links().await.unwrap().into_iter().map(|l| l.name).collect();
        assert!(!left.iter().any(|n| n.starts_with('w')), "{left:?}");
    });
}

fn shown(arguments: &[&str]) -> String {
    let output = std::process::Command::new("ip").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A bridge with an IPv6 address and the MTU that the kernel gives one by itself, and a TAP.
async fn bridge_and_tap(netlink: &Netlink) -> (u32, crate::sys::tap::Tap, u32) {
    let spec = BridgeSpec {
        name: "wbr0".into(),
        mac: [0x52, 0x54, 0, 1, 2, 3],
        stp: true,
        delay_seconds: 0,
        mtu: 1500,
        alias: "warren:x".into(),
    };
    let bridge = netlink.create_bridge(&spec).await.unwrap();
    netlink.add_address(bridge, "fd07::1/64".parse().unwrap()).await.unwrap();
    netlink.set_up(bridge, true).await.unwrap();
    let tap = NetSpace::host().open_tap("wtap%d", false).await.unwrap();
    let port = netlink.link(&tap.name).await.unwrap().unwrap();
    (bridge, tap, port.index)
}

#[test]
fn a_port_changes_neither_mtu_nor_address_of_its_bridge() {
    in_own_namespace(async {
        let netlink = NetSpace::host().netlink().await.unwrap();
        let (bridge, tap, port) = bridge_and_tap(&netlink).await;
        for mtu in [68, 9000] {
            netlink.set_mtu(port, mtu).await.unwrap();
            netlink.set_mac(port, [2, 0, 0, 0, 0, 1]).await.unwrap();
            netlink.set_master(port, Some(bridge)).await.unwrap();
            let link = netlink.link("wbr0").await.unwrap().unwrap();
            assert_eq!((link.mtu, link.mac), (1500, Some([0x52, 0x54, 0, 1, 2, 3])));
            netlink.set_master(port, None).await.unwrap();
        }
        drop(tap);
        assert_eq!(netlink.link("wbr0").await.unwrap().unwrap().mtu, 1500);
        assert!(shown(&["address", "show", "dev", "wbr0"]).contains("fd07::1/64"));
    });
}

#[test]
fn a_port_is_not_heard_by_the_spanning_tree() {
    in_own_namespace(async {
        let netlink = NetSpace::host().netlink().await.unwrap();
        let (bridge, tap, port) = bridge_and_tap(&netlink).await;
        netlink.set_master(port, Some(bridge)).await.unwrap();
        netlink.set_port(port, PortSpec { isolated: false, passes_bpdus: true }).await.unwrap();
        netlink.set_up(port, true).await.unwrap();
        while !shown(&["-d", "link", "show", "dev", &tap.name]).contains("state forwarding") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let tree = || {
            let shown = shown(&["-d", "link", "show", "dev", "wbr0"]);
            let words: Vec<_> = shown.split_whitespace().map(str::to_owned).collect();
            let of = |key: &str| words.windows(2).find(|pair| pair[0] == key).unwrap()[1].clone();
            ["root_port", "forward_delay"].map(of)
        };
        let before = tree();
        // "I am the root, and ports wait for 30 seconds before they forward."
        let mut root = vec![0, 0, 0, 0, 0];
        root.extend([0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0x80, 1]);
        root.extend([0, 0, 20, 0, 2, 0, 30, 0]);
        let mut frame = vec![1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, root.len() as u8 + 3];
        frame.extend([0x42, 0x42, 3]);
        frame.extend(root);
        frame.resize(60, 0);
        for _ in 0..3 {
            rustix::io::write(&tap.fd, &frame).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(tree(), before);
        assert!(shown(&["-d", "link", "show", "dev", "wbr0"]).contains("mcast_snooping 0"));
    });
}
