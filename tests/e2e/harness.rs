//! The harness itself: what all other tests take for granted.

use crate::common::{
    ALICE, Bus, Capture, Console, HostState, Polkit, Turn, World, clock, guest_files, none_runs, world,
};

#[test]
fn a_world_is_apart() {
    world(async |world: World| {
        let state = HostState::now(&world);
        assert_eq!(world.sh("ls /sys/class/net"), "lo");
        world.add_host("far");
        world.cable("near0", "10.9.0.1/24", "far", "eth0", "10.9.0.2/24");
        let capture = Capture::start(&world, "near0").await;
        assert!(world.pings("", "10.9.0.2") && world.pings("far", "10.9.0.1"));
        capture.expect(&[0x08, 0x06]).await;
        drop(capture);
        assert!(!world.pings("far", "10.9.9.9"));
        assert_eq!(world.on("far", "ip -o link show | wc -l"), "2");
        assert_eq!(world.sh(&format!("id -un {}", ALICE.uid)), ALICE.name);
        world.sh("ip netns del far");
        none_runs("tcpdump").await;
        state.restored(&world).await;
    });
}

#[test]
fn buses_know_their_callers_and_polkit_answers() {
    world(async |world: World| {
        let session = Bus::session(&world, ALICE.uid);
        session.connect(ALICE.uid).await;
        let system = Bus::system(&world);
        let client = system.connect(ALICE.uid).await;
        assert!(!client.has_owner("org.warren1").await);
        Polkit::start(&world, &system, "").await;
        assert!(client.has_owner("org.freedesktop.PolicyKit1").await);
    });
}

/// The guest's console protocol, on a QEMU that the test starts itself.
#[test]
fn the_guest_does_as_it_is_told() {
    world(async |_: World| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        let dir = guest_files();
        let turn = Turn::wait().await;
        let mut qemu = std::process::Command::new("qemu-system-x86_64")
            .args(["-nodefaults", "-display", "none", "-machine", "pc", "-accel", "tcg", "-m", "96"])
            .args(["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,mac=52:54:00:00:00:07"])
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(dir.join("kernel"))
            .arg("-initrd")
            .arg(dir.join("initrd"))
            .args(["-append", &format!("console=ttyS0 quiet {} warren.name=seven", clock())])
            .stdin(std::os::fd::OwnedFd::from(theirs.try_clone().expect("a descriptor can be duplicated")))
            .stdout(std::os::fd::OwnedFd::from(theirs))
            .spawn()
            .expect("QEMU is installed");
        let mut console = Console::new(ours.into());
        assert_eq!(console.booted().await, [("eth0".to_owned(), "52:54:00:00:00:07".to_owned())]);
        drop(turn);
        assert_eq!(console.run("hostname").await, "seven");
        assert_eq!(console.lease("eth0").await, "10.0.2.15");
        assert!(console.reaches("10.0.2.2").await);
        assert_eq!(console.try_run("false").await.1, 1);
        qemu.kill().expect("a child can be killed");
        qemu.wait().expect("a child can be waited for");
    });
}
