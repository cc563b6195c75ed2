//! Sound cards, and where their sound goes.

use serde_json::{Map, Value, json};

use super::{Plan, virtio};
use crate::model::{AudioDef, AudioKind, AudioSide, Device, DomainDef, SoundCodec, SoundDef, SoundModel};

pub(super) fn add(plan: &mut Plan<'_>, sound: &SoundDef, index: usize) {
    let id = plan.name(&sound.info, "sound", index);
    let path = &sound.info.path;
    let audio = audiodev(plan.def, sound.audio);
    let hda = |driver: &str| json!({ "driver": driver, "id": id });
    let card = |driver: &str| json!({ "driver": driver, "id": id, "audiodev": audio });
    match sound.model {
        // It is on the machine's board.
        SoundModel::Pcspk => {}
        SoundModel::Sb16 => plan.device(path, &card("sb16")),
        SoundModel::Es1370 | SoundModel::Ac97 => {
            let mut device = card(if sound.model == SoundModel::Ac97 { "AC97" } else { "ES1370" });
            plan.place(&sound.info, &mut device);
            plan.device(path, &device);
        }
        SoundModel::Usb => {
            let mut device = card("usb-audio");
            if let Some(on) = sound.multichannel {
                device["multi"] = on.into();
            }
            plan.usb_place(&sound.info, &mut device);
            plan.device(path, &device);
        }
        SoundModel::Virtio => {
            let mut device = json!({ "driver": "virtio-sound-pci" });
            virtio::options(&mut device, &sound.driver);
            device["id"] = id.into();
            if let Some(streams) = sound.streams {
                device["streams"] = streams.into();
            }
            device["audiodev"] = audio.into();
            plan.place(&sound.info, &mut device);
            plan.device(path, &device);
        }
        SoundModel::Ich6 | SoundModel::Ich9 => {
            let driver = if sound.model == SoundModel::Ich6 { "intel-hda" } else { "ich9-intel-hda" };
            let mut device = hda(driver);
            plan.place(&sound.info, &mut device);
            plan.device(path, &device);
            let codecs = if sound.codecs.is_empty() { &[SoundCodec::Duplex][..] } else { &sound.codecs };
            for (cad, codec) in codecs.iter().enumerate() {
                let codec = json!({ "driver": format!("hda-{}", codec.as_str()),
                                    "id": format!("{id}-codec{cad}"), "bus": format!("{id}.0"), "cad": cad,
                                    "audiodev": audio });
                plan.device(path, &codec);
            }
        }
        SoundModel::Ich7 => {
            let path = format!("{path}/@model");
            plan.unsupported(&path, "QEMU has no sound card of this model", "write model='ich9'");
        }
    }
}

/// What a PC's speaker sounds through, if the document has one: a property of the machine.
pub(super) fn speaker(def: &DomainDef) -> Option<String> {
    def.devices.iter().find_map(|device| match device {
        Device::Sound(sound) if sound.model == SoundModel::Pcspk => Some(audiodev(def, sound.audio)),
        _ => None,
    })
}

/// The name of the `<audio>` that is asked for, or of the first.
pub(super) fn audiodev(def: &DomainDef, asked: Option<u32>) -> String {
    let first = def.devices.iter().find_map(|device| match device {
        Device::Audio(audio) => Some(audio.id),
        _ => None,
    });
    format!("audio{}", asked.or(first).unwrap_or(1))
}

pub(super) fn audio(plan: &mut Plan<'_>, audio: &AudioDef) {
    let driver = match audio.kind {
        AudioKind::PulseAudio => "pa",
        AudioKind::File => "wav",
        other => other.as_str(),
    };
    let mut device = json!({ "id": format!("audio{}", audio.id), "driver": driver });
    if let Some(period) = audio.timer_period {
        device["timer-period"] = period.into();
    }
    for (name, side) in [("in", &audio.input), ("out", &audio.output)] {
        let side = side_of(side);
        if !side.is_empty() {
            device[name] = Value::Object(side);
        }
    }
    for (name, value) in &audio.settings {
        let name = match *name {
            "serverName" => "server",
            "runtimeDir" => "runtime-dir",
            "tryMMap" => "try-mmap",
            "dspPolicy" => "dsp-policy",
            // It is SDL's own variable in the environment.
            "driver" => continue,
            same => same,
        };
        device[name] = typed(name, value);
    }
    plan.args.json("-audiodev", &device);
}

fn side_of(side: &AudioSide) -> Map<String, Value> {
    let mut map = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    add("mixing-engine", side.mixing_engine.map(Value::from));
    add("fixed-settings", side.fixed_settings.map(Value::from));
    add("voices", side.voices.map(Value::from));
    add("buffer-length", side.buffer_length.map(Value::from));
    add("frequency", side.frequency.map(Value::from));
    add("channels", side.channels.map(Value::from));
    add("format", side.format.as_deref().map(Value::from));
    for (name, value) in &side.own {
        let name = match *name {
            "bufferCount" => "buffer-count",
            "tryPoll" => "try-poll",
            "streamName" => "stream-name",
            "serverName" => "server-name",
            "clientName" => "client-name",
            "connectPorts" => "connect-ports",
            "exactName" => "exact-name",
            same => same,
        };
        add(name, Some(typed(name, value)));
    }
    map
}

/// A value as QEMU wants it: numbers and truths are no strings.
fn typed(name: &str, value: &str) -> Value {
    match name {
        "buffer-count" | "latency" | "dsp-policy" => value.parse::<u32>().map_or(Value::Null, Value::from),
        "try-poll" | "try-mmap" | "exclusive" | "exact-name" => (value == "yes").into(),
        _ => value.into(),
    }
}
