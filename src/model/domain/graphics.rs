//! `<graphics>`: displays. Owns libvirt's words, defaults and errors for them, but for what is SPICE's alone
//! (see `spice`) and where they listen (see `listen`).

use super::spice;
use super::words::{YES_NO, words};
use super::{DeviceInfo, Listen, Spice, SpicePort, listen};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<graphics>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphicsDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@type` with what belongs to it.
    pub kind: GraphicsKind,
    /// Where it listens: `<listen>`, or what the attributes `listen` and `socket` say. Never empty for the types
    /// that listen.
    pub listens: Vec<Listen>,
}

/// `<graphics type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphicsKind {
    /// `vnc`.
    Vnc(Vnc),
    /// `spice`.
    Spice(Box<Spice>),
    /// `sdl`: a window on an X display.
    Sdl {
        /// `@display`.
        display: Option<String>,
        /// `@xauth`.
        xauth: Option<String>,
        /// `@fullscreen`.
        fullscreen: bool,
        /// `<gl enable>`.
        gl: Option<bool>,
    },
    /// `desktop`: VirtualBox's window, which QEMU does not have.
    Desktop,
    /// `rdp`, which QEMU does by a helper process.
    Rdp {
        /// `@port`; `None` for a free one.
        port: Option<u16>,
    },
    /// `egl-headless`: rendering on the host's graphics card for another display.
    EglHeadless {
        /// `<gl rendernode>`.
        rendernode: Option<String>,
    },
    /// `dbus`.
    Dbus {
        /// `@address` of the bus; absent means chosen.
        address: Option<String>,
        /// `@p2p`.
        p2p: bool,
        /// `<gl enable>`.
        gl: Option<bool>,
        /// `<gl rendernode>`.
        rendernode: Option<String>,
        /// `<audio id>`.
        audio: Option<u32>,
    },
}

impl GraphicsDef {
    /// Whether it listens on an address, and so has a port that others on the host or beyond can try.
    pub fn is_on_tcp(&self) -> bool {
        let has_port = match &self.kind {
            GraphicsKind::Spice(spice) => (spice.port, spice.tls_port) != (SpicePort::None, SpicePort::None),
            _ => true,
        };
        has_port && matches!(self.listens.first(), Some(Listen::Address(_) | Listen::Network(_)))
    }

    /// The password of a VNC or SPICE display.
    pub fn password(&self) -> Option<&DisplayPassword> {
        match &self.kind {
            GraphicsKind::Vnc(vnc) => vnc.password.as_ref(),
            GraphicsKind::Spice(spice) => spice.password.as_ref(),
            _ => None,
        }
    }
}

impl GraphicsKind {
    /// The word in `@type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Vnc(_) => "vnc",
            Self::Spice(_) => "spice",
            Self::Sdl { .. } => "sdl",
            Self::Desktop => "desktop",
            Self::Rdp { .. } => "rdp",
            Self::EglHeadless { .. } => "egl-headless",
            Self::Dbus { .. } => "dbus",
        }
    }
}

/// `<graphics type='vnc'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vnc {
    /// `@port` from 5900; `None` for `-1` or `autoport='yes'`: a free one.
    pub port: Option<u16>,
    /// `@websocket`.
    pub websocket: Option<Websocket>,
    /// `@keymap`, by QEMU's names.
    pub keymap: Option<String>,
    /// `@sharePolicy`.
    pub share_policy: Option<SharePolicy>,
    /// `@powerControl`: clients may shut the guest down and reset it.
    pub power_control: Option<bool>,
    /// `@wait`: the guest runs only when a client has come.
    pub wait: Option<bool>,
    /// `@passwd` and what belongs to it.
    pub password: Option<DisplayPassword>,
    /// `<audio id>`: whose sound clients hear.
    pub audio: Option<u32>,
}

/// `@websocket` of VNC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Websocket {
    /// `-1`: a free port.
    Auto,
    /// A port.
    Port(u16),
}

words! {
    /// `<graphics sharePolicy>`.
    SharePolicy {
        AllowExclusive = "allow-exclusive",
        ForceShared = "force-shared",
        Ignore = "ignore",
    }
}

/// `@passwd`, `@passwdValidTo` and `@connected` of a display. Never shown in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayPassword {
    /// `@passwd`; an empty one lets nobody in.
    pub password: String,
    /// `@passwdValidTo`, in seconds since 1970, in UTC.
    pub valid_to: Option<i64>,
    /// `@connected`: what becomes of clients when the password changes.
    pub connected: Option<Connected>,
}

impl std::fmt::Debug for DisplayPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DisplayPassword").field("valid_to", &self.valid_to).finish_non_exhaustive()
    }
}

words! {
    /// `<graphics connected>`.
    Connected { Fail = "fail", Disconnect = "disconnect", Keep = "keep" }
}

/// The display, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<GraphicsDef> {
    let words =
        [("vnc", 0), ("spice", 1), ("sdl", 2), ("desktop", 3), ("rdp", 4), ("egl-headless", 5), ("dbus", 6)];
    let kind = required(view.one_of("type", &words), view, "type", "as vnc")?;
    let gl = view.child("gl");
    let rendernode = || gl.as_ref().and_then(|g| g.filled("rendernode")).map(str::to_owned);
    let enabled = || gl.as_ref().and_then(|g| g.one_of("enable", YES_NO));
    let kind = match kind {
        0 => GraphicsKind::Vnc(vnc(view)),
        1 => GraphicsKind::Spice(Box::new(spice::read(view))),
        2 => GraphicsKind::Sdl {
            display: view.filled("display").map(str::to_owned),
            xauth: view.filled("xauth").map(str::to_owned),
            fullscreen: view.yes_no("fullscreen").unwrap_or(false),
            gl: enabled(),
        },
        3 => {
            view.attr("display");
            view.yes_no("fullscreen");
            GraphicsKind::Desktop
        }
        4 => {
            for name in ["replaceUser", "multiUser", "username", "passwd"] {
                if view.filled(name).is_some() {
                    view.unsupported_at(name, format!("Warren has no '{name}' of RDP"), "");
                }
            }
            let auto = autoport(view);
            GraphicsKind::Rdp { port: port(view, "port", 1).filter(|_| !auto) }
        }
        5 => GraphicsKind::EglHeadless { rendernode: rendernode() },
        _ => GraphicsKind::Dbus {
            address: view.filled("address").map(str::to_owned),
            p2p: view.yes_no("p2p").unwrap_or(false),
            gl: enabled(),
            rendernode: rendernode(),
            audio: view.child("audio").and_then(|a| a.parsed("id")),
        },
    };
    let listens = listen::read(view, kind.as_str());
    Some(GraphicsDef { info: DeviceInfo::read(view), kind, listens })
}

fn vnc(view: &View<'_>) -> Vnc {
    for name in ["display", "xauth", "fullscreen"] {
        if view.filled(name).is_some() {
            view.warning_at(name, format!("VNC has no '{name}', libvirt drops it"), "leave it out");
        }
    }
    let websocket = match view.parsed::<i32>("websocket") {
        None | Some(0) => None,
        Some(-1) => Some(Websocket::Auto),
        Some(_) => port(view, "websocket", 1).map(Websocket::Port),
    };
    let auto = autoport(view);
    Vnc {
        port: port(view, "port", 5900).filter(|_| !auto),
        websocket,
        keymap: view.filled("keymap").map(str::to_owned),
        share_policy: view.one_of("sharePolicy", SharePolicy::WORDS),
        power_control: view.one_of("powerControl", YES_NO),
        wait: view.one_of("wait", YES_NO),
        password: password(view, "vnc"),
        audio: view.child("audio").and_then(|a| a.parsed("id")),
    }
}

pub(super) fn autoport(view: &View<'_>) -> bool {
    view.yes_no("autoport").unwrap_or(false)
}

/// A port from `least` on; absent, 0 and `-1` mean a free one.
pub(super) fn port(view: &View<'_>, name: &str, least: u16) -> Option<u16> {
    let asked = view.parsed::<i32>(name).filter(|p| !matches!(p, 0 | -1))?;
    let port = u16::try_from(asked).ok().filter(|p| *p >= least);
    if port.is_none() {
        let kind = view.filled("type").unwrap_or_default();
        let message = format!("{asked} is not a port for {kind}");
        view.error_at(name, message, format!("give {least} to 65535, or -1 for a free one"));
    }
    port
}

/// The password of a display of this type.
pub(super) fn password(view: &View<'_>, kind: &str) -> Option<DisplayPassword> {
    let connected = view.one_of("connected", Connected::WORDS);
    if kind == "vnc" && connected.is_some_and(|c| c != Connected::Keep) {
        view.error_at("connected", "VNC always keeps its clients", "write 'keep', or leave it out");
    }
    let until = view.filled("passwdValidTo");
    let valid_to = until.and_then(|text| {
        let time = seconds(text);
        if time.is_none() {
            let message = format!("'{}' is no time", text.escape_debug());
            view.error_at("passwdValidTo", message, "write it as 2026-12-31T23:59:59, in UTC");
        }
        time
    });
    let password = view.attr("passwd")?.to_owned();
    if kind == "vnc" && password.len() > 8 {
        view.error_at("passwd", "a password of VNC has at most 8 characters", "");
    }
    Some(DisplayPassword { password, valid_to, connected })
}

/// `YYYY-MM-DDTHH:MM:SS` in UTC as seconds since 1970.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let numbers = |text: &str, sign: char| {
        let parts: Option<Vec<i64>> =
            text.split(sign).map(|p| p.parse::<u32>().ok().map(i64::from)).collect();
        <[i64; 3]>::try_from(parts?).ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let right =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !right || !(1970..=9999).contains(&year) {
        return None;
    }
    // Days of the Gregorian calendar, counted from March on, so that the day that leaps is the last of a year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds;
    use crate::model::{Device, DomainDoc, Listen};

    #[test]
    fn a_port_and_where_it_listens_are_read_whole() {
        let text = "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os><devices>\
            <graphics type='vnc' port='-1' autoport='yes'/>\
            <graphics type='spice' listen='127.0.0.1'><listen type='socket'/></graphics></devices></domain>";
        let doc = DomainDoc::parse(text).unwrap();
        let said: Vec<_> = doc.findings().iter().map(|f| (f.severity.as_str(), f.path.as_str())).collect();
        assert_eq!(said, [("warning", "/domain/devices/graphics[2]/@listen")]);
    }

    #[test]
    fn a_display_that_asks_for_no_port_is_a_socket() {
        let listens = |graphics: &str| {
            let text = format!(
                "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os>\
                 <devices>{graphics}</devices></domain>"
            );
            let doc = DomainDoc::parse(&text).unwrap();
            let Some(Device::Graphics(graphics)) = doc.def().devices.first() else { panic!("{text}") };
            graphics.listens.clone()
        };
        for kind in ["vnc", "spice"] {
            for more in ["", "passwd='x'", "keymap='de'", "port=''", "listen=''"] {
                let text = format!("<graphics type='{kind}' {more}/>");
                assert_eq!(listens(&text), [Listen::Socket(None)], "{text}");
            }
            for more in ["port='-1'", "port='5901'", "autoport='yes'", "autoport='no'", "listen='127.0.0.1'"]
            {
                let text = format!("<graphics type='{kind}' {more}/>");
                assert!(matches!(listens(&text)[..], [Listen::Address(_)]), "{text}");
            }
            let text = format!("<graphics type='{kind}'><listen type='address'/></graphics>");
            assert_eq!(listens(&text), [Listen::Address(None)]);
        }
        assert_eq!(listens("<graphics type='vnc' websocket='-1'/>"), [Listen::Address(None)]);
        assert_eq!(listens("<graphics type='spice' tlsPort='-1'/>"), [Listen::Address(None)]);
    }

    #[test]
    fn times_are_counted_from_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00"), Some(0));
        assert_eq!(seconds("2011-05-31T16:11:22"), Some(1_306_858_282));
        assert_eq!(seconds("2024-02-29T12:00:00"), Some(1_709_208_000));
        for wrong in ["", "2011-05-31", "2011-13-01T00:00:00", "2011-05-31T24:00:00", "x-1-1T0:0:0"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
