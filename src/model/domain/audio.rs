//! `<audio>`: where guests' sound goes on the host. Owns libvirt's words for it.

use super::DeviceInfo;
use super::words::{YES_NO, words};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<audio>`. Where a document has none, there is one by the kind of its display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@id`, from 1.
    pub id: u32,
    /// `@type`.
    pub kind: AudioKind,
    /// `@timerPeriod`, in microseconds.
    pub timer_period: Option<u32>,
    /// `<input>`.
    pub input: AudioSide,
    /// `<output>`.
    pub output: AudioSide,
    /// What is said of the whole, by libvirt's names: `serverName`, `runtimeDir`, `path`, `driver`, `tryMMap`,
    /// `exclusive`, `dspPolicy`.
    pub settings: Vec<(&'static str, String)>,
}

words! {
    /// `<audio type>`.
    AudioKind {
        None = "none",
        Alsa = "alsa",
        CoreAudio = "coreaudio",
        Jack = "jack",
        Oss = "oss",
        PulseAudio = "pulseaudio",
        PipeWire = "pipewire",
        Sdl = "sdl",
        Spice = "spice",
        File = "file",
        Dbus = "dbus",
    }
}

/// `<input>` or `<output>` of an `<audio>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AudioSide {
    /// `@mixingEngine`.
    pub mixing_engine: Option<bool>,
    /// `@fixedSettings`.
    pub fixed_settings: Option<bool>,
    /// `<settings frequency>`, in Hz.
    pub frequency: Option<u32>,
    /// `<settings channels>`.
    pub channels: Option<u32>,
    /// `<settings format>`.
    pub format: Option<String>,
    /// `@voices`.
    pub voices: Option<u32>,
    /// `@bufferLength`, in microseconds.
    pub buffer_length: Option<u32>,
    /// What one kind of audio alone has, by libvirt's names: `dev`, `bufferCount`, `tryPoll`, `name`,
    /// `streamName`, `latency`, `serverName`, `clientName`, `connectPorts`, `exactName`.
    pub own: Vec<(&'static str, String)>,
}

const FORMATS: [(&str, ()); 7] =
    [("s8", ()), ("u8", ()), ("s16", ()), ("u16", ()), ("s32", ()), ("u32", ()), ("f32", ())];

impl AudioKind {
    /// The attributes that one side has for this kind alone.
    fn side(self) -> &'static [&'static str] {
        match self {
            Self::Alsa => &["dev"],
            Self::CoreAudio | Self::Sdl => &["bufferCount"],
            Self::Jack => &["serverName", "clientName", "connectPorts", "exactName"],
            Self::Oss => &["dev", "bufferCount", "tryPoll"],
            Self::PulseAudio | Self::PipeWire => &["name", "streamName", "latency"],
            Self::None | Self::Spice | Self::File | Self::Dbus => &[],
        }
    }

    /// The attributes that the whole has for this kind alone.
    fn whole(self) -> &'static [&'static str] {
        match self {
            Self::Oss => &["tryMMap", "exclusive", "dspPolicy"],
            Self::PulseAudio => &["serverName"],
            Self::PipeWire => &["runtimeDir"],
            Self::Sdl => &["driver"],
            Self::File => &["path"],
            _ => &[],
        }
    }
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<AudioDef> {
    let info = DeviceInfo::read(view);
    let id = required(view.parsed("id"), view, "id", "give a number from 1");
    if id == Some(0) {
        view.error_at("id", "0 is no number of an audio", "give one from 1");
    }
    let kind = view.one_of("type", AudioKind::WORDS);
    let kind = required(kind, view, "type", "give one, as none")?;
    Some(AudioDef {
        info,
        id: id?,
        kind,
        timer_period: view.parsed("timerPeriod"),
        input: view.child("input").map(|side| read_side(&side, kind)).unwrap_or_default(),
        output: view.child("output").map(|side| read_side(&side, kind)).unwrap_or_default(),
        settings: own(view, kind.whole()),
    })
}

fn read_side(view: &View<'_>, kind: AudioKind) -> AudioSide {
    let settings = view.child("settings");
    let format = settings.as_ref().filter(|s| s.one_of("format", &FORMATS).is_some());
    AudioSide {
        mixing_engine: view.one_of("mixingEngine", YES_NO),
        fixed_settings: view.one_of("fixedSettings", YES_NO),
        frequency: settings.as_ref().and_then(|s| s.parsed("frequency")),
        channels: settings.as_ref().and_then(|s| s.parsed("channels")),
        format: format.and_then(|s| s.filled("format")).map(str::to_owned),
        voices: view.parsed("voices"),
        buffer_length: view.parsed("bufferLength"),
        own: own(view, kind.side()),
    }
}

fn own(view: &View<'_>, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let value = |name: &'static str| {
        let value = view.filled(name)?;
        let right = match name {
            "bufferCount" | "latency" | "dspPolicy" => view.parsed::<u32>(name).is_some(),
            "tryPoll" | "tryMMap" | "exclusive" | "exactName" => view.one_of(name, YES_NO).is_some(),
            _ => true,
        };
        right.then(|| (name, value.to_owned()))
    };
    names.iter().filter_map(|name| value(name)).collect()
}
