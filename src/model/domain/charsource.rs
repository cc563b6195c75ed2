//! `<source>`, `<protocol>` and `<log>`: what a character device is joined to on the host. Serial ports,
//! channels, USB redirection, smart cards, random number generators, TPMs and shared memory say it alike.
//!
//! Owns libvirt's words, defaults and errors for it; must never open what is named.

use super::words::words;
use crate::model::doc::required;
use crate::xml::view::View;

/// What a character device is joined to, and where its output is kept as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharSource {
    /// Path of the device's element, for findings.
    pub path: String,
    /// `@type` with what belongs to it.
    pub backend: CharBackend,
    /// `<log>`.
    pub log: Option<CharLog>,
}

/// `@type` of a character device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CharBackend {
    /// `null`: output is thrown away.
    Null,
    /// `vc`: a text console of QEMU's window.
    Vc,
    /// `pty`: a console for people. Its path is chosen at each start; one in the document says nothing.
    Pty,
    /// `dev`: a device of the host.
    Dev(String),
    /// `file`: output goes to a file.
    File {
        /// `<source path>`.
        path: String,
        /// `<source append>`, default no: the file is emptied at the start.
        append: bool,
    },
    /// `pipe`: a named pipe, or the pair `PATH.in` and `PATH.out`.
    Pipe(String),
    /// `stdio`: QEMU's own streams.
    Stdio,
    /// `udp`.
    Udp {
        /// `<source mode='bind'>`: where datagrams are received.
        bind: Option<CharEndpoint>,
        /// `<source mode='connect'>`: where they are sent.
        connect: CharEndpoint,
    },
    /// `tcp`.
    Tcp {
        /// `<source host service>`.
        at: CharEndpoint,
        /// `<source mode='bind'>`: QEMU listens.
        listen: bool,
        /// `<protocol type>`, default raw.
        protocol: CharProtocol,
        /// `<source tls>`.
        tls: Option<bool>,
        /// `<reconnect>`.
        reconnect: Option<Reconnect>,
    },
    /// `unix`.
    Unix {
        /// `<source path>`; absent means chosen, which channels alone may leave out.
        path: Option<String>,
        /// `<source mode='bind'>`: QEMU listens; default is to connect, or to listen where there is no path.
        listen: bool,
        /// `<reconnect>`.
        reconnect: Option<Reconnect>,
    },
    /// `spicevmc`: a channel of the SPICE display.
    SpiceVmc,
    /// `spiceport`: a named port of the SPICE display.
    SpicePort(String),
    /// `nmdm`: bhyve's null modem, which QEMU does not have.
    Nmdm,
    /// `qemu-vdagent`: QEMU's own end of the SPICE agent.
    QemuVdagent {
        /// `<source><clipboard copypaste>`.
        clipboard: Option<bool>,
        /// `<source><mouse mode>`.
        mouse: Option<MouseMode>,
    },
    /// `dbus`: a named channel of the D-Bus display.
    Dbus(String),
}

impl CharBackend {
    /// The word in `@type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Vc => "vc",
            Self::Pty => "pty",
            Self::Dev(_) => "dev",
            Self::File { .. } => "file",
            Self::Pipe(_) => "pipe",
            Self::Stdio => "stdio",
            Self::Udp { .. } => "udp",
            Self::Tcp { .. } => "tcp",
            Self::Unix { .. } => "unix",
            Self::SpiceVmc => "spicevmc",
            Self::SpicePort(_) => "spiceport",
            Self::Nmdm => "nmdm",
            Self::QemuVdagent { .. } => "qemu-vdagent",
            Self::Dbus(_) => "dbus",
        }
    }
}

/// A host and a service, by name or number. An empty host is any local address, or the local host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct CharEndpoint {
    pub host: String,
    pub service: String,
}

/// `<protocol type>` of a TCP source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum CharProtocol {
    Raw,
    Telnet,
    Telnets,
    Tls,
}

/// `<reconnect enabled timeout>`, of a source that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// `@enabled`.
    pub enabled: bool,
    /// `@timeout`, in seconds; only where enabled.
    pub timeout: Option<u32>,
}

words! {
    /// `<mouse mode>` of SPICE and its agent.
    MouseMode { Server = "server", Client = "client" }
}

/// `<log file append>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct CharLog {
    pub file: String,
    pub append: bool,
}

/// Who reads a source: what is missing is an error for some only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A device whose unix socket needs a path.
    Device,
    /// A virtio channel, whose unix socket may be left to the service.
    Channel,
}

/// libvirt's words for `@type`.
pub(super) const TYPES: &[(&str, ())] = &[
    ("null", ()),
    ("vc", ()),
    ("pty", ()),
    ("dev", ()),
    ("file", ()),
    ("pipe", ()),
    ("stdio", ()),
    ("udp", ()),
    ("tcp", ()),
    ("unix", ()),
    ("spicevmc", ()),
    ("spiceport", ()),
    ("nmdm", ()),
    ("qemu-vdagent", ()),
    ("dbus", ()),
];

/// Reads the type from `@type` of `view`, `pty` where absent, and the rest from its children; `None` with an
/// error that says why.
pub(super) fn read(view: &View<'_>, reader: Reader) -> Option<CharSource> {
    let kind = view.filled("type").unwrap_or("pty");
    // Where libvirt found the pty of a running guest.
    if kind == "pty" {
        view.attr("tty");
    }
    let sources = view.children("source");
    let most = if kind == "udp" { 2 } else { 1 };
    if let Some(extra) = sources.get(most) {
        extra.error(format!("a {kind} device has {most} <source> at most"), "leave one out");
    }
    let first = sources.first();
    let backend = match kind {
        "null" => CharBackend::Null,
        "vc" => CharBackend::Vc,
        "stdio" => CharBackend::Stdio,
        "spicevmc" => CharBackend::SpiceVmc,
        "pty" => {
            // As 'tty'.
            first.map(|s| s.attr("path"));
            CharBackend::Pty
        }
        "dev" => CharBackend::Dev(needed(view, first, "path")?),
        "pipe" => CharBackend::Pipe(needed(view, first, "path")?),
        "file" => {
            let path = needed(view, first, "path")?;
            CharBackend::File { path, append: first.and_then(|s| s.yes_no("append")).unwrap_or(false) }
        }
        "udp" => udp(view, &sources)?,
        "tcp" => tcp(view, first)?,
        "unix" => unix(view, first, reader)?,
        "spiceport" => {
            let channel = needed(view, first, "channel")?;
            if !channel.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
                let message = format!("'{}' is no name of a SPICE port", channel.escape_debug());
                first?.error_at("channel", message, "letters, digits, '.', '-' and '_' may stand in it");
                return None;
            }
            CharBackend::SpicePort(channel)
        }
        "nmdm" => {
            needed(view, first, "master")?;
            needed(view, first, "slave")?;
            CharBackend::Nmdm
        }
        "qemu-vdagent" => {
            let inner = |name: &str| first.and_then(|s| s.child(name));
            CharBackend::QemuVdagent {
                clipboard: inner("clipboard").and_then(|c| c.yes_no("copypaste")),
                mouse: inner("mouse").and_then(|m| m.one_of("mode", MouseMode::WORDS)),
            }
        }
        "dbus" => CharBackend::Dbus(needed(view, first, "channel")?),
        other => {
            let remedy = "known are null, vc, pty, dev, file, pipe, stdio, udp, tcp, unix, spicevmc, spiceport, \
                          nmdm, qemu-vdagent and dbus";
            view.error_at("type", format!("'{other}' is no type of a character device"), remedy);
            return None;
        }
    };
    if let Some(protocol) = view.child("protocol").filter(|_| kind != "tcp") {
        // libvirt reads it for TCP alone and drops it elsewhere.
        protocol.attr("type");
        protocol.warning(format!("a {kind} device has no protocol to choose"), "leave it out");
    }
    let log = view.child("log").and_then(|log| {
        let file = required(log.filled("file"), &log, "file", "name the file of the log")?;
        Some(CharLog { file: file.to_owned(), append: log.yes_no("append").unwrap_or(false) })
    });
    Some(CharSource { path: view.path().to_owned(), backend, log })
}

/// An attribute of `<source>` that must be there.
fn needed(view: &View<'_>, source: Option<&View<'_>>, attr: &str) -> Option<String> {
    let Some(value) = source.and_then(|s| s.filled(attr)) else {
        let message = format!("the <{}> has no source {attr}", view.name());
        view.error(message, format!("add <source {attr}='…'/>"));
        return None;
    };
    Some(value.to_owned())
}

fn listens(source: &View<'_>) -> bool {
    source.one_of("mode", &[("connect", false), ("bind", true)]).unwrap_or(false)
}

fn udp(view: &View<'_>, sources: &[View<'_>]) -> Option<CharBackend> {
    let (mut bind, mut connect) = (None, None);
    for source in sources {
        let at = CharEndpoint {
            host: source.filled("host").unwrap_or_default().to_owned(),
            service: source.filled("service").unwrap_or_default().to_owned(),
        };
        let place = if listens(source) { &mut bind } else { &mut connect };
        if place.is_none() {
            *place = Some(at);
        }
    }
    let Some(connect) = connect.filter(|c| !c.service.is_empty()) else {
        let remedy = "add <source mode='connect' host='…' service='…'/>";
        view.error(format!("the <{}> says nothing of where datagrams go", view.name()), remedy);
        return None;
    };
    Some(CharBackend::Udp { bind, connect })
}

fn tcp(view: &View<'_>, source: Option<&View<'_>>) -> Option<CharBackend> {
    let at = CharEndpoint { host: needed(view, source, "host")?, service: needed(view, source, "service")? };
    let source = source?;
    let listen = listens(source);
    let words = [
        ("raw", CharProtocol::Raw),
        ("telnet", CharProtocol::Telnet),
        ("telnets", CharProtocol::Telnets),
        ("tls", CharProtocol::Tls),
    ];
    let protocol = view.child("protocol").and_then(|p| p.one_of("type", &words));
    // What libvirt notes of its own configuration.
    source.attr("tlsFromConfig");
    Some(CharBackend::Tcp {
        at,
        listen,
        protocol: protocol.unwrap_or(CharProtocol::Raw),
        tls: source.yes_no("tls"),
        reconnect: reconnect(source, listen),
    })
}

fn unix(view: &View<'_>, source: Option<&View<'_>>, reader: Reader) -> Option<CharBackend> {
    let path = source.and_then(|s| s.filled("path")).map(str::to_owned);
    if path.is_none() && reader == Reader::Device {
        needed(view, source, "path")?;
    }
    let listen = source.is_some_and(listens) || path.is_none();
    let reconnect = source.and_then(|s| reconnect(s, listen));
    Some(CharBackend::Unix { path, listen, reconnect })
}

fn reconnect(source: &View<'_>, listen: bool) -> Option<Reconnect> {
    let view = source.child("reconnect")?;
    let enabled = required(view.yes_no("enabled"), &view, "enabled", "write 'yes' or 'no'")?;
    let mut timeout = None;
    if enabled {
        timeout = view.parsed("timeout");
        required(timeout, &view, "timeout", "give the seconds to wait");
        if listen {
            view.error(
                "only a source that connects can connect again",
                "leave it out, or use mode='connect'",
            );
        }
    } else {
        view.attr("timeout");
    }
    Some(Reconnect { enabled, timeout })
}
