//! Consoles, displays, sound and the small devices.

use serde_json::{Value, json};

use crate::guest::parsed;
use crate::rig::{Rig, in_own_network};

/// Starts a guest of these devices on both machines.
async fn runs(devices: &str) {
    for machine in ["pc", "q35"] {
        let mut def = parsed(devices);
        def.os.machine = Some(machine.into());
        Rig::start(&def, vec![]).await.quit().await;
    }
}

#[test]
fn serial_and_parallel_ports_with_every_source() {
    in_own_network(|| async {
        runs("<serial type='pty'/><serial type='null'/><serial type='vc'/>\
              <serial type='udp'><source mode='connect' host='127.0.0.1' service='5001'/>\
                <source mode='bind' host='127.0.0.1' service='5002'/></serial>\
              <serial type='tcp'><source mode='bind' host='127.0.0.1' service='5003'/><protocol type='telnet'/>\
                <target type='pci-serial' port='4'/></serial>\
              <serial type='null'><target type='isa-debug' port='5'/><address type='isa' iobase='0x402'/></serial>\
              <parallel type='null'/><parallel type='pty'/>")
        .await;
        let connects = "<serial type='tcp'><source mode='connect' host='127.0.0.1' service='5004'>\
            <reconnect enabled='yes' timeout='3'/></source></serial>";
        runs(connects).await;
    });
}

#[test]
fn vnc_with_all_that_it_may_say() {
    in_own_network(|| async {
        runs(
            "<graphics type='vnc' port='5903' websocket='5703' keymap='de' sharePolicy='force-shared' \
              powerControl='yes' passwd='secret' listen='::1'/>",
        )
        .await;
        runs("<graphics type='vnc' port='-1'><listen type='none'/></graphics>").await;
        let def = parsed("<graphics type='vnc'><listen type='socket'/></graphics>");
        let rig = Rig::start(&def, vec![]).await;
        assert_eq!(rig.ask("query-vnc", Value::Null).await["family"], "unix");
        rig.quit().await;

        let def = parsed("<graphics type='vnc' passwd='secret'/>");
        let (rig, argv) = Rig::start_with_argv(&def, vec![]).await;
        assert!(!argv.iter().any(|a| a.contains("secret")));
        rig.ask("set_password", json!({"protocol": "vnc", "password": "secret", "connected": "keep"})).await;
        rig.ask("expire_password", json!({"protocol": "vnc", "time": "never"})).await;
        rig.quit().await;
    });
}

#[test]
fn spice_with_all_that_it_may_say() {
    in_own_network(|| async {
        runs(
            "<graphics type='spice' port='5904' keymap='de' defaultMode='insecure'>\
              <listen type='address' address='127.0.0.1'/><channel name='main' mode='insecure'/>\
              <image compression='auto_glz'/><jpeg compression='auto'/><zlib compression='never'/>\
              <playback compression='on'/><streaming mode='filter'/><clipboard copypaste='no'/>\
              <mouse mode='client'/><filetransfer enable='no'/></graphics>\
              <video><model type='qxl' ram='65536' vram='32768' vgamem='8192' heads='1'/></video>\
              <video><model type='qxl'/></video><sound model='ich9'/>",
        )
        .await;
        runs("<graphics type='spice'/>").await;
        runs(
            "<graphics type='spice' passwd='secret'><listen type='socket'/></graphics>\
              <graphics type='vnc' port='-1'/>",
        )
        .await;
    });
}

#[test]
fn every_display_adapter() {
    in_own_network(|| async {
        for model in ["vga", "cirrus", "vmvga", "qxl", "virtio", "bochs", "ramfb", "none"] {
            runs(&format!("<graphics type='vnc'/><video><model type='{model}'/></video>")).await;
        }
        runs("<graphics type='vnc'/><video><model type='vga' vram='32768'/><resolution x='800' y='600'/></video>\
              <video><model type='virtio' heads='2' edid='on'/><driver packed='on'/></video>")
        .await;
    });
}

#[test]
fn every_sound_card_on_pci_and_isa() {
    in_own_network(|| async {
        runs("<sound model='pcspk'/><sound model='es1370'/><sound model='sb16'/><sound model='ac97'/>\
              <sound model='ich6'/><sound model='ich9'><codec type='micro'/><codec type='duplex'/>\
              <codec type='output'/><audio id='2'/></sound>\
              <audio id='1' type='none' timerPeriod='100'><input mixingEngine='yes' fixedSettings='yes' voices='1' \
              bufferLength='100'><settings frequency='44100' channels='2' format='s16'/></input></audio>\
              <audio id='2' type='none'/>")
        .await;
    });
}

#[test]
fn inputs_watchdogs_random_numbers_and_the_rest() {
    in_own_network(|| async {
        runs("<input type='mouse' bus='ps2'/><input type='mouse' bus='virtio'/><input type='tablet' bus='virtio'/>\
              <input type='keyboard' bus='virtio'><driver iommu='on'/></input>\
              <watchdog model='i6300esb' action='inject-nmi'/><watchdog model='ib700' action='inject-nmi'/>\
              <rng model='virtio'><rate bytes='123' period='1234'/><backend model='random'>/dev/urandom</backend></rng>\
              <rng model='virtio'><backend model='builtin'/></rng>\
              <rng model='virtio-non-transitional'><rate bytes='9'/><backend model='egd' type='udp'>\
              <source mode='connect' host='127.0.0.1' service='5005'/></backend></rng>\
              <memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>\
              <panic model='isa'><address type='isa' iobase='0x505'/></panic><panic model='pvpanic'/>\
              <crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>")
        .await;
        let mut def = parsed("<watchdog model='itco' action='pause'/>");
        def.os.machine = Some("q35".into());
        Rig::start(&def, vec![]).await.quit().await;

        let def = parsed("<memballoon model='virtio'><stats period='5'/></memballoon>");
        let rig = Rig::start(&def, vec![]).await;
        let interval = json!({"path": "/machine/peripheral/balloon0",
                              "property": "guest-stats-polling-interval", "value": 5});
        rig.ask("qom-set", interval).await;
        rig.quit().await;
    });
}
