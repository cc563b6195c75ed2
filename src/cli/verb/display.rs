//! `vm display NAME`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, Options};

/// What a path alone does not say.
const SOCKET: &str = "A socket is opened by the service's own user; other programs connect by OpenGraphics on D-Bus. For a TCP \
                      port, write port='-1' and a passwd into <graphics>.";

/// Prints where each display of a machine is, as viewers take it.
pub(in crate::cli) async fn run(session: &Session, name: &str) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    let info: Map = machine.act("GetInfo", Options::new()).await?;
    let displays = info.get("graphics").and_then(output::rows).unwrap_or_default();
    let here = session.host.as_ref().map_or("localhost", |host| host.name());
    let found: Vec<(String, String)> = displays
        .iter()
        .filter_map(|display| Some((output::part(display, "type"), uri(display, here)?)))
        .collect();
    if session.json {
        let list = found.iter().map(|(kind, uri)| json!({ "type": kind, "uri": uri }));
        output::json(&Value::Array(list.collect()))?;
    } else {
        let lines: String = found.iter().map(|(_, uri)| format!("{uri}\n")).collect();
        output::write(lines.as_bytes())?;
        if found.iter().any(|(_, uri)| uri.contains("+unix:")) {
            output::tell(SOCKET);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The address of a display, or nothing where nobody can connect to it. `here` is where the service's host
/// is reached when the display listens everywhere.
///
/// A VNC display is counted from port 5900, as VNC viewers count.
fn uri(display: &Map, here: &str) -> Option<String> {
    let (kind, socket) = (output::part(display, "type"), output::part(display, "socket"));
    if !socket.is_empty() {
        return Some(format!("{kind}+unix://{socket}"));
    }
    let port: u16 = output::part(display, "port").parse().ok().filter(|port| *port > 0)?;
    let address = match output::part(display, "address") {
        any if matches!(any.as_str(), "" | "0.0.0.0" | "::") => here.to_owned(),
        address => address,
    };
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    match (kind.as_str(), port.checked_sub(5900)) {
        ("vnc", Some(display)) => Some(format!("vnc://{address}:{display}")),
        _ => Some(format!("{kind}://{address}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use zbus::{OwnedVariant, Variant};

    use super::*;

    fn at(kind: &str, address: &str, port: u32, socket: &str) -> Option<String> {
        let text = |text: &str| OwnedVariant::try_from(Variant::from(text)).unwrap();
        let display = Map::from([
            ("type".into(), text(kind)),
            ("address".into(), text(address)),
            ("port".into(), OwnedVariant::from(port)),
            ("socket".into(), text(socket)),
        ]);
        uri(&display, "host")
    }

    #[test]
    fn a_display_is_named_as_viewers_want_it() {
        assert_eq!(at("vnc", "127.0.0.1", 5901, "").unwrap(), "vnc://127.0.0.1:1");
        assert_eq!(at("vnc", "0.0.0.0", 5900, "").unwrap(), "vnc://host:0");
        assert_eq!(at("spice", "::1", 5900, "").unwrap(), "spice://[::1]:5900");
        assert_eq!(at("spice", "", 0, "/run/x.sock").unwrap(), "spice+unix:///run/x.sock");
        assert_eq!(at("vnc", "127.0.0.1", 0, ""), None);
        assert_eq!(at("sdl", "", 0, ""), None);
    }
}
