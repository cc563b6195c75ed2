//! Disks of files and chains of images, read and written by a real guest; emulators that are not there.

use crate::common::{GuestXml, Service, World, assert_error, world};

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
