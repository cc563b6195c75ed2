//! `<graphics type='spice'>`. Owns libvirt's words, defaults and errors for what is SPICE's alone.

use super::graphics::{autoport, password, port};
use super::words::{ON_OFF, YES_NO, words};
use super::{DisplayPassword, MouseMode};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<graphics type='spice'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spice {
    /// `@port`.
    pub port: SpicePort,
    /// `@tlsPort`.
    pub tls_port: SpicePort,
    /// `@keymap`, by QEMU's names.
    pub keymap: Option<String>,
    /// `@passwd` and what belongs to it.
    pub password: Option<DisplayPassword>,
    /// `@defaultMode`, default any.
    pub default_mode: SpiceMode,
    /// `<channel name mode>`, in order.
    pub channels: Vec<(SpiceChannel, SpiceMode)>,
    /// `<image compression>`.
    pub image: Option<ImageCompression>,
    /// `<jpeg compression>`.
    pub jpeg: Option<WanCompression>,
    /// `<zlib compression>`.
    pub zlib: Option<WanCompression>,
    /// `<playback compression>`.
    pub playback: Option<bool>,
    /// `<streaming mode>`.
    pub streaming: Option<Streaming>,
    /// `<clipboard copypaste>`.
    pub copy_paste: Option<bool>,
    /// `<mouse mode>`.
    pub mouse: Option<MouseMode>,
    /// `<filetransfer enable>`.
    pub file_transfer: Option<bool>,
    /// `<gl enable>`.
    pub gl: Option<bool>,
    /// `<gl rendernode>`.
    pub rendernode: Option<String>,
}

/// A port of SPICE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpicePort {
    /// Not said: none.
    None,
    /// `-1`, or `autoport='yes'`: a free one, where channels need it.
    Auto,
    /// A port.
    Port(u16),
}

words! {
    /// `<graphics defaultMode>` and `<channel mode>`.
    SpiceMode { Any = "any", Secure = "secure", Insecure = "insecure" }
}

words! {
    /// `<channel name>`.
    SpiceChannel {
        Main = "main",
        Display = "display",
        Inputs = "inputs",
        Cursor = "cursor",
        Playback = "playback",
        Record = "record",
        Smartcard = "smartcard",
        Usbredir = "usbredir",
    }
}

words! {
    /// `<image compression>`.
    ImageCompression {
        AutoGlz = "auto_glz",
        AutoLz = "auto_lz",
        Quic = "quic",
        Glz = "glz",
        Lz = "lz",
        Off = "off",
    }
}

words! {
    /// `<jpeg compression>` and `<zlib compression>`.
    WanCompression { Auto = "auto", Never = "never", Always = "always" }
}

words! {
    /// `<streaming mode>`.
    Streaming { Filter = "filter", All = "all", Off = "off" }
}

/// What is SPICE's of a display.
pub(super) fn read(view: &View<'_>) -> Spice {
    let gl = view.child("gl");
    let auto = autoport(view) || both_free(view);
    let of = |name: &str| match port(view, name, 1) {
        _ if auto => SpicePort::Auto,
        Some(port) => SpicePort::Port(port),
        None if view.filled(name) == Some("-1") => SpicePort::Auto,
        None => SpicePort::None,
    };
    // Read by their words in the elements that carry one attribute each.
    let child = |name: &str| view.child(name);
    Spice {
        port: of("port"),
        tls_port: of("tlsPort"),
        keymap: view.filled("keymap").map(str::to_owned),
        password: password(view, "spice"),
        default_mode: view.one_of("defaultMode", SpiceMode::WORDS).unwrap_or(SpiceMode::Any),
        channels: view.children("channel").iter().filter_map(channel).collect(),
        image: child("image").and_then(|c| needed(&c, "compression", ImageCompression::WORDS)),
        jpeg: child("jpeg").and_then(|c| needed(&c, "compression", WanCompression::WORDS)),
        zlib: child("zlib").and_then(|c| needed(&c, "compression", WanCompression::WORDS)),
        playback: child("playback").and_then(|c| needed(&c, "compression", ON_OFF)),
        streaming: child("streaming").and_then(|c| needed(&c, "mode", Streaming::WORDS)),
        copy_paste: child("clipboard").and_then(|c| needed(&c, "copypaste", YES_NO)),
        mouse: child("mouse").and_then(|c| needed(&c, "mode", MouseMode::WORDS)),
        file_transfer: child("filetransfer").and_then(|c| needed(&c, "enable", YES_NO)),
        gl: gl.as_ref().and_then(|g| g.one_of("enable", YES_NO)),
        rendernode: gl.and_then(|g| g.filled("rendernode").map(str::to_owned)),
    }
}

/// How documents of old asked for free ports.
fn both_free(view: &View<'_>) -> bool {
    ["port", "tlsPort"].iter().all(|name| view.filled(name) == Some("-1"))
}

fn channel(view: &View<'_>) -> Option<(SpiceChannel, SpiceMode)> {
    let name = needed(view, "name", SpiceChannel::WORDS);
    let mode = needed(view, "mode", SpiceMode::WORDS);
    Some((name?, mode?))
}

fn needed<T: Copy>(view: &View<'_>, attr: &str, words: &[(&str, T)]) -> Option<T> {
    let remedy = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    required(view.one_of(attr, words), view, attr, &format!("give one of {remedy}"))
}
