//! Choices among firmware that is installed by hand.

use super::*;
use crate::model::DomainDoc;
use crate::plan::host::{FirmwareTarget, MachineFacts};

fn flash(name: &str, machines: &[&str], features: &[&str]) -> FirmwareFacts {
    let file = |kind: &str| FlashFile { path: format!("/fw/{name}.{kind}").into(), format: "raw".into() };
    let machines = machines.iter().map(|m| (*m).to_owned()).collect();
    FirmwareFacts {
        interfaces: vec!["uefi".into()],
        mapping: FirmwareMapping::Flash { executable: file("code"), template: Some(file("vars")) },
        targets: vec![FirmwareTarget { arch: "x86_64".into(), machines }],
        features: features.iter().map(|f| (*f).to_owned()).collect(),
    }
}

fn qemu() -> QemuFacts {
    let machine = |name: &str, alias: &str| MachineFacts {
        name: name.into(),
        alias: Some(alias.into()),
        is_default: alias == "pc",
    };
    let memory = FirmwareFacts {
        mapping: FirmwareMapping::Memory("/fw/memory.fd".into()),
        ..flash("memory", &["pc-q35-*"], &[])
    };
    QemuFacts {
        path: "/usr/bin/qemu-system-x86_64".into(),
        version: (7, 2, 22),
        arch: "x86_64".into(),
        machines: vec![machine("pc-i440fx-7.2", "pc"), machine("pc-q35-7.2", "q35")],
        kvm: false,
        vhost_net: false,
        devices: [].into(),
        cpu_models: Default::default(),
        firmware: vec![
            flash("enrolled", &["pc-q35-*"], &["secure-boot", "enrolled-keys", "requires-smm"]),
            flash("secure", &["pc-q35-*"], &["secure-boot", "requires-smm"]),
            flash("plain", &["pc-i440fx-*", "pc-q35-*"], &[]),
            memory,
        ],
    }
}

/// What is chosen, in a line.
fn chosen(attr: &str, machine: &str, inside: &str, features: &str) -> String {
    let text = format!(
        "<domain type='qemu'><name>n</name><memory>1</memory><os{attr}>\
         <type arch='x86_64' machine='{machine}'>hvm</type>{inside}</os><features>{features}</features></domain>"
    );
    let doc = DomainDoc::parse(&text).unwrap();
    match choose(doc.def(), &qemu()) {
        Ok(None) => "QEMU's".into(),
        Ok(Some(GuestFirmware::Rom(image))) => format!("rom {}", image.path.display()),
        Ok(Some(GuestFirmware::Flash(f))) => {
            let secure = if f.secure { " secure" } else { "" };
            let writable = if f.readonly { "" } else { " writable" };
            let vars = f.vars.map_or("none".into(), |v| match (v.path, v.template) {
                (Some(path), _) => path.display().to_string(),
                (None, Some(t)) => format!("of {}", t.path.display()),
                (None, None) => "lost".into(),
            });
            format!("{} vars {vars}{secure}{writable}", f.code.path.display())
        }
        Err(finding) => format!("{}: {}", finding.path, finding.message),
    }
}

#[test]
fn the_first_that_fits_is_chosen() {
    let efi = " firmware='efi'";
    let feature = |name: &str, enabled: &str| {
        format!("<firmware><feature name='{name}' enabled='{enabled}'/></firmware>")
    };
    for (attr, machine, inside, features, expected) in [
        ("", "pc", "", "", "QEMU's"),
        (" firmware='bios'", "pc", "", "", "QEMU's"),
        (efi, "pc", "", "<acpi/>", "/fw/plain.code vars of /fw/plain.vars"),
        (efi, "q35", "", "<acpi/>", "/fw/enrolled.code vars of /fw/enrolled.vars secure"),
        (efi, "q35", "<loader secure='no'/>", "<acpi/>", "/fw/plain.code vars of /fw/plain.vars"),
        (efi, "q35", "", "<acpi/><smm state='off'/>", "/fw/plain.code vars of /fw/plain.vars"),
        (efi, "q35", &feature("secure-boot", "no"), "<acpi/>", "/fw/plain.code vars of /fw/plain.vars"),
        (
            efi,
            "q35",
            &feature("enrolled-keys", "no"),
            "<acpi/>",
            "/fw/secure.code vars of /fw/secure.vars secure",
        ),
        (efi, "q35", "<loader stateless='yes'/>", "<acpi/>", "rom /fw/memory.fd"),
        (
            efi,
            "q35",
            "<loader>/fw/secure.code</loader>",
            "<acpi/>",
            "/fw/secure.code vars of /fw/secure.vars secure",
        ),
        (efi, "pc", "<nvram>/mine</nvram>", "<acpi/>", "/fw/plain.code vars /mine"),
        (efi, "pc", "<nvram template='/fw/plain.vars'/>", "<acpi/>", "/fw/plain.code vars of /fw/plain.vars"),
    ] {
        assert_eq!(chosen(attr, machine, inside, features), expected, "{attr} {machine} {inside} {features}");
    }
}

#[test]
fn a_loader_of_the_document_is_taken_as_it_says() {
    let of = |inside: &str, features: &str| chosen("", "q35", inside, features);
    let pflash = |attrs: &str, more: &str| format!("<loader type='pflash' {attrs}>/my.fd</loader>{more}");
    assert_eq!(of("<loader>/my.bin</loader>", ""), "rom /my.bin");
    assert_eq!(of("<loader type='rom'>/my.bin</loader>", ""), "rom /my.bin");
    assert_eq!(of(&pflash("readonly='yes'", "<nvram template='/t'/>"), "<acpi/>"), "/my.fd vars of /t");
    assert_eq!(of(&pflash("", "<nvram>/v</nvram>"), "<acpi/>"), "/my.fd vars /v");
    assert_eq!(of(&pflash("readonly='no'", ""), "<acpi/>"), "/my.fd vars none writable");
    assert_eq!(of(&pflash("stateless='yes'", ""), "<acpi/>"), "/my.fd vars none");
    let secure = of(&pflash("secure='yes'", "<nvram template='/t'/>"), "<acpi/><smm state='on'/>");
    assert_eq!(secure, "/my.fd vars of /t secure");
    let known = "<loader type='pflash' readonly='yes'>/fw/plain.code</loader>";
    assert_eq!(of(known, "<acpi/>"), "/fw/plain.code vars of /fw/plain.vars");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let pflash = "<loader type='pflash' readonly='yes' secure='yes'>/my.fd</loader><nvram template='/t'/>";
    let keys = "<firmware><feature name='enrolled-keys' enabled='yes'/></firmware>";
    for (attr, machine, inside, features, expected) in [
        (
            " firmware='efi'",
            "pc",
            keys,
            "<acpi/>",
            "/domain/os/@firmware: no installed firmware is UEFI for the machine 'pc-i440fx-7.2' of x86_64, with enrolled-keys",
        ),
        (" firmware='efi'", "pc", "", "", "/domain/os/@firmware: UEFI needs ACPI"),
        (
            "",
            "pc",
            keys,
            "<acpi/>",
            "/domain/os/firmware: features of firmware are for firmware that is chosen by them",
        ),
        ("", "pc", "<loader type='pflash'/>", "<acpi/>", "/domain/os/loader: <loader> names no file"),
        (
            "",
            "pc",
            "<loader type='pflash'>/x</loader>",
            "<acpi/>",
            "/domain/os/loader: it is not known what the variables of this firmware are at first",
        ),
        (
            "",
            "pc",
            "<nvram>/x</nvram>",
            "<acpi/>",
            "/domain/os/nvram: firmware that is not in flash keeps no variables in a file",
        ),
        (
            "",
            "pc",
            "<loader readonly='no'>/x</loader>",
            "",
            "/domain/os/loader/@readonly: a ROM cannot be what 'readonly' says",
        ),
        (
            "",
            "pc",
            pflash,
            "<acpi/><smm state='on'/>",
            "/domain/os/loader: secure boot needs the machine q35",
        ),
        ("", "q35", pflash, "<acpi/>", "/domain/os/loader: secure boot needs system management mode"),
    ] {
        assert_eq!(chosen(attr, machine, inside, features), expected);
    }
}

#[test]
fn a_pattern_covers_the_whole_name() {
    for (pattern, text, fits) in [
        ("pc-q35-*", "pc-q35-7.2", true),
        ("pc-q35-*", "pc-i440fx-7.2", false),
        ("*", "", true),
        ("virt", "virt-7.2", false),
        ("*-7.*2", "pc-q35-7.2", true),
        ("*-7.", "pc-q35-7.2", false),
    ] {
        assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn what_a_guest_had_is_taken_again_where_it_fits() {
    let text = |inside: &str| {
        format!(
            "<domain type='qemu'><name>n</name><memory>1</memory><os firmware='efi'>\
             <type arch='x86_64' machine='q35'>hvm</type>{inside}</os><features><acpi/></features></domain>"
        )
    };
    let mut qemu = qemu();
    let path = |qemu: &QemuFacts, inside: &str| {
        let doc = DomainDoc::parse(&text(inside)).unwrap();
        match choose(doc.def(), qemu) {
            Ok(Some(GuestFirmware::Flash(flash))) => flash.code.path.display().to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(path(&qemu, ""), "/fw/enrolled.code");
    // Neither a descriptor that comes before it nor the loss of its own changes what the guest has.
    pin(&mut qemu, flash("gone", &["pc-q35-*"], &[]));
    assert_eq!(path(&qemu, ""), "/fw/gone.code");
    let secure = "<firmware><feature name='secure-boot' enabled='yes'/></firmware>";
    assert_eq!(path(&qemu, secure), "/fw/enrolled.code");
}
