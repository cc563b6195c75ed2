//! Guests with the installed UEFI, and with a BIOS of their own.

use serde_json::Value;
use warren::model::{Firmware, FirmwareFeature, LoaderDef, LoaderKind};

use crate::guest::domain;
use crate::rig::{Rig, in_own_network};

/// Whether each of the flashes is there, and only the variables can be written.
async fn flashes(rig: &Rig) -> Vec<(String, bool)> {
    let nodes = rig.ask("query-named-block-nodes", Value::Null).await;
    let named = nodes.as_array().unwrap().iter().filter_map(|n| {
        let name = n["node-name"].as_str().unwrap();
        (!name.ends_with("-storage")).then(|| (name.to_owned(), n["ro"].as_bool().unwrap()))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

#[test]
fn uefi_is_flash_with_variables_on_both_machines() {
    in_own_network(|| async {
        for (machine, secure) in [("pc", false), ("q35", false), ("q35", true)] {
            let mut def = domain(vec![]);
            def.features.add("acpi");
            def.os.machine = Some(machine.into());
            def.os.firmware = Some(Firmware::Efi);
            def.os.firmware_features = vec![(FirmwareFeature::SecureBoot, secure)];
            let (rig, argv) = Rig::start_with_argv(&def, vec![]).await;
            assert_eq!(flashes(&rig).await, [("pflash0".into(), true), ("pflash1".into(), false)]);
            let guarded = argv.iter().any(|a| a == "driver=cfi.pflash01,property=secure,value=on");
            let smm = argv.iter().any(|a| a.contains(",smm=on,"));
            assert_eq!((guarded, smm), (secure, secure), "{}", argv.join(" "));
            rig.quit().await;
        }
    });
}

#[test]
fn a_bios_of_the_documents_choice_is_a_rom() {
    in_own_network(|| async {
        let mut def = domain(vec![]);
        let (path, kind) = (Some("/usr/share/seabios/bios.bin".into()), Some(LoaderKind::Rom));
        def.os.loader = Some(LoaderDef { path, kind, ..LoaderDef::default() });
        let (rig, argv) = Rig::start_with_argv(&def, vec![]).await;
        assert!(argv.windows(2).any(|w| w[0] == "-bios" && w[1].starts_with("/proc/self/fd/")));
        assert_eq!(flashes(&rig).await, []);
        rig.quit().await;
    });
}
