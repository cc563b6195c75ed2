//! `<listen>` of a display. Owns how it goes together with the attributes `listen` and `socket`, which say the
//! same in short, and that a display which asks for no port is a unix socket.

use crate::model::doc::required;
use crate::xml::view::View;

/// `<listen type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `address`; `None` means the local host.
    Address(Option<String>),
    /// `network`: the address of the host on this network.
    Network(String),
    /// `socket`: a unix socket; `None` means a path that is chosen.
    Socket(Option<String>),
    /// `none`: clients are handed over one by one.
    None,
}

/// Where a display of this type listens; a type that does not listen has none.
pub(super) fn read(view: &View<'_>, kind: &str) -> Vec<Listen> {
    if !matches!(kind, "vnc" | "spice" | "rdp") {
        return Vec::new();
    }
    let children = view.children("listen");
    let mut listens: Vec<Listen> = children.iter().filter_map(|child| one(child, kind)).collect();
    let address = view.filled("listen").map(str::to_owned);
    let socket = if kind == "vnc" { view.filled("socket").map(str::to_owned) } else { None };
    let same = |attr: &str, outer: &str, inner: Option<&String>| {
        if let Some(inner) = inner.filter(|i| *i != outer) {
            let message = format!("{attr} is '{outer}' and <listen> says '{inner}'");
            view.error_at(attr, message, "leave one out");
        }
    };
    match (listens.first_mut(), address, socket) {
        (Some(Listen::Socket(inner)), None, Some(outer)) => {
            same("socket", &outer, inner.as_ref());
            inner.get_or_insert(outer);
        }
        (Some(Listen::Address(inner)), Some(outer), None) => {
            same("listen", &outer, inner.as_ref());
            inner.get_or_insert(outer);
        }
        // The address that a network had when the guest last ran.
        (Some(Listen::Network(_)), Some(_), None) => {}
        (Some(_), address, socket) => {
            if let Some((attr, text)) = address.map(|a| ("listen", a)).or(socket.map(|s| ("socket", s))) {
                // libvirt drops it.
                let message = format!("{attr} is '{text}' and <listen>, which counts, is of another type");
                view.warning_at(attr, message, "leave it out");
            }
        }
        (None, address, socket) => {
            // libvirt takes the socket where both are given.
            if let Some(path) = socket {
                if address.is_some() {
                    view.error_at("listen", "a display that is a socket has no address", "leave one out");
                }
                listens.push(Listen::Socket(Some(path)));
            } else if address.is_none() && kind != "rdp" && !asks_for_a_port(view) {
                listens.push(Listen::Socket(None));
            } else {
                listens.push(Listen::Address(address));
            }
        }
    }
    listens
}

/// Whether the document wants a display on TCP. One that says nothing of it gets no port: every user of the host could
/// connect to it.
fn asks_for_a_port(view: &View<'_>) -> bool {
    ["port", "tlsPort", "autoport", "websocket"].into_iter().any(|name| view.filled(name).is_some())
}

fn one(view: &View<'_>, kind: &str) -> Option<Listen> {
    let words = [("address", 0), ("network", 1), ("socket", 2), ("none", 3)];
    let word = required(view.one_of("type", &words), view, "type", "give address, network, socket or none")?;
    if word >= 2 && kind == "rdp" {
        view.error_at("type", "RDP listens on an address", "write type='address'");
    }
    if word != 1 && view.filled("network").is_some() {
        view.error_at("network", "this type of <listen> has no network", "write type='network'");
    }
    Some(match word {
        0 => Listen::Address(view.filled("address").map(str::to_owned)),
        1 => {
            // As above.
            view.attr("address");
            let remedy = "name the network";
            Listen::Network(required(view.filled("network"), view, "network", remedy)?.to_owned())
        }
        2 => Listen::Socket(view.filled("socket").map(str::to_owned)),
        _ => Listen::None,
    })
}
