//! UEFI: a guest that boots through it, its variables, and what is missing of it.

use std::collections::HashMap;

use crate::common::{GuestXml, Service, World, assert_error, world};

/// A test guest that boots through UEFI without Secure Boot: its kernel is not signed.
fn uefi(name: &str, inside: &str) -> String {
    let open = "<firmware><feature name='secure-boot' enabled='no'/></firmware>";
    GuestXml::new(name)
        .to_string()
        .replace("machine='pc'", "machine='q35'")
        .replace(">96</memory>", ">256</memory>")
        .replace("<os>", &format!("<os firmware='efi'>{open}{inside}"))
        .replace("</os>", "</os><features><acpi/></features>")
}

#[test]
fn a_guest_boots_through_uefi_and_its_variables_stay() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let guest = service.client.define_domain(&uefi("uefi", "")).await.expect("a valid document");
        let mut kept = None;
        for _ in 0..2 {
            let (mut console, _) = guest.boot().await;
            let live: String =
                guest.ask_with("GetXml", [("live", true.into())].into()).await.expect("GetXml answers");
            assert!(live.contains("type='pflash'") && live.contains("<nvram template="), "{live}");
            console.run("test -d /sys/firmware/efi").await;
            guest.stop().await;
            let file = world.sh("find /run/w -name VARS -printf '%p %i'");
            assert!(file.contains("/nvram/VARS"), "{file}");
            assert_eq!(*kept.get_or_insert(file.clone()), file, "the variables are in the same file");
        }
        guest.undefine().await;
        assert_eq!(world.sh("find /run/w -name VARS"), "");
    });
}

#[test]
fn the_host_tells_its_firmware_and_what_qemu_has() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let host: HashMap<String, zbus::OwnedVariant> = service
            .client
            .call("/org/warren1", "org.warren1.Manager.GetHost", &())
            .await
            .expect("anybody may");
        let told = |key: &str, what: &[&str]| {
            let value = format!("{:?}", host[key]);
            for word in what {
                assert!(value.contains(word), "{key} has no {word}: {value}");
            }
        };
        told("firmware", &["OVMF", "nvram-template", "uefi", "x86_64", "pc-q35-*"]);
        told("emulators", &["qemu-system-x86_64", "\"qemu64\"", "\"q35\"", "default-machine", "\"tcg\""]);
    });
}

#[test]
fn what_is_missing_is_refused_by_name() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let guest = uefi("lost", "<nvram>/run/w/none.fd</nvram>");
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        assert_error(guest.act("Start").await, "NotSupported", &["/domain/os/nvram", "/run/w/none.fd"]);
    });
}
