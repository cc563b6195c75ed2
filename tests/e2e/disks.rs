//! Disks of files and chains of images, read and written by a real guest; emulators that are not there.

use std::time::Duration;

use crate::common::{GuestXml, Service, World, assert_error, eventually, text, world};

#[test]
fn a_guest_sees_its_disks_and_the_owner_their_changes() {
    world(async |world: World| {
        world.sh("cd /run/w && truncate -s 1M raw.img && printf 'from the base' >base.raw && truncate -s 1M base.raw
            qemu-img create -q -f qcow2 -b base.raw -F raw middle.qcow2
            qemu-img create -q -f qcow2 -b /run/w/middle.qcow2 -F qcow2 top.qcow2");
        let service = Service::system(&world).await;
        let disk = |file: &str, format: &str, target: &str| {
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='{format}'/>
                 <source file='/run/w/{file}'/><target dev='{target}' bus='virtio'/></disk>"
            )
        };
        let disks = disk("raw.img", "raw", "vda") + &disk("top.qcow2", "qcow2", "vdb");
        let guest = GuestXml::new("disks").with(&disks).to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        guest.start().await;
        assert_eq!(guest.info_list("disks").await.len(), 2);
        // Two guests on one image would ruin it: QEMU's own lock holds through the descriptor.
        let thief = GuestXml::new("thief").with(&disk("raw.img", "raw", "vda")).to_string();
        let thief = service.client.define_domain(&thief).await.expect("a valid document");
        assert_error(thief.act("Start").await, "BackendFailed", &["lock"]);
        guest.stop().await;
        let chain = world.sh("qemu-img info --backing-chain /run/w/top.qcow2 | grep -c '^image:'");
        assert_eq!(chain.trim(), "3", "the images are as before");
    });
}

#[test]
fn a_guest_whose_disk_is_full_says_so_and_goes_on() {
    world(async |world: World| {
        world.sh("mkdir /run/w/small && mount -t tmpfs -o size=8m tmpfs /run/w/small
            truncate -s 32M /run/w/small/raw.img && head -c 6M /dev/zero >/run/w/small/filler");
        let service = Service::system(&world).await;
        let disk = "<disk type='file' device='disk'><driver name='qemu' type='raw'/>
                    <source file='/run/w/small/raw.img'/><target dev='vda' bus='virtio'/></disk>";
        let guest = GuestXml::new("full").with(disk).to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        let reason = async || text(&guest.property("StateReason").await);
        let writes =
            console.run("dd if=/dev/zero of=/dev/vda bs=64k count=64 conv=fsync 2>/dev/null && echo written");
        let goes_on = async {
            eventually("QEMU halts the guest", Duration::from_secs(60), async || {
                (guest.state().await == "paused").then_some(())
            })
            .await;
            assert_eq!(reason().await, "disk-full");
            world.sh("rm /run/w/small/filler");
            guest.ask::<()>("Resume").await.expect("there is room now");
            assert_eq!(reason().await, "requested");
        };
        assert_eq!(tokio::join!(writes, goes_on).0, "written");
        guest.ask::<()>("Suspend").await.expect("it runs");
        assert_eq!((guest.state().await, reason().await), ("paused".into(), "requested".into()));
        guest.stop().await;
    });
}

#[test]
fn an_emulator_of_2007_is_named_with_the_one_that_would_serve() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let guest = GuestXml::new("old").with("<emulator>/usr/bin/qemu</emulator>").to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        let words = ["/domain/devices/emulator", "/usr/bin/qemu", "/usr/bin/qemu-system-"];
        assert_error(guest.act("Start").await, "InvalidConfig", &words);
        // The i686 of that time runs on whichever QEMU is installed.
        let guest = GuestXml::new("i686").to_string().replace("arch='x86_64'", "arch='i686'");
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        guest.start().await;
        assert_eq!(guest.state().await, "running");
        guest.stop().await;
    });
}
