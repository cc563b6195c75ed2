//! Waits until a machine has an address.
//!
//! Owns what counts as one: not that of an earlier run, nor one that only says that its network card is alive. Who waits
//! only looks on: neither the end of the time nor Ctrl-C does anything to the machine.

use std::net::IpAddr;
use std::time::Duration;

use zbus::Variant;

use crate::cli::error::CliError;
use crate::cli::events::{Event, Events};
use crate::cli::follow;
use crate::cli::output;
use crate::cli::proxy::{Map, Object, Options};

/// Returns the machine's addresses once one of them can be used.
pub(super) async fn wait(machine: &Object, name: &str, timeout: Duration) -> Result<Vec<Map>, CliError> {
    // It may get one before the answer is here.
    let events = Events::listen(machine.bus()).await?;
    let bar = follow::bar(&format!("waiting for {name} to get an address"));
    bar.enable_steady_tick(Duration::from_millis(200));
    let end = tokio::time::timeout(timeout, addresses(machine, name, events)).await;
    bar.finish_and_clear();
    end.unwrap_or_else(|_| Err(over(name, timeout)))
}

async fn addresses(machine: &Object, name: &str, mut events: Events) -> Result<Vec<Map>, CliError> {
    let mut subscribed = false;
    loop {
        if !subscribed {
            machine.bus().subscribe(&["addresses".to_owned()]).await?;
            subscribed = true;
        }
        let state = output::part(&machine.properties().await?, "State");
        if matches!(state.as_str(), "shutoff" | "stopping" | "crashed") {
            return Err(ended(name, &state));
        }
        let found: Vec<Map> = machine.act("GetAddresses", Options::new()).await?;
        if found.iter().any(is_usable) {
            return Ok(found);
        }
        loop {
            match events.next().await? {
                Event::Signal { object, member, .. }
                    if object == machine.path()
                        && (member == "AddressesChanged" || member == "StateChanged") =>
                {
                    break;
                }
                Event::Removed { object } if object == machine.path() => return Err(ended(name, "gone")),
                // Another one knows nothing of what the one before was asked.
                Event::Service { runs: true } => {
                    subscribed = false;
                    break;
                }
                _ => {}
            }
        }
    }
}

/// Whether it is of this run, and of more than one cable.
fn is_usable(address: &Map) -> bool {
    let link_local = match output::part(address, "address").parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local(),
        Err(_) => true,
    };
    !is_stale(address) && !link_local
}

/// Whether it is only known from an earlier run.
pub(super) fn is_stale(address: &Map) -> bool {
    address.get("stale").is_some_and(|stale| matches!(**stale, Variant::Bool(true)))
}

fn over(name: &str, timeout: Duration) -> CliError {
    let seconds = timeout.as_secs();
    let message = format!(
        "{name} has got no address in {seconds} s; it runs on, and 'warrenctl vm console {name}' shows what it does"
    );
    CliError::Waited { name: "Timeout", message }
}

fn ended(name: &str, state: &str) -> CliError {
    CliError::Waited { name: "WrongState", message: format!("{name} is {state}, and gets no address") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_this_run_that_leads_somewhere_counts() {
        let address = |text: &'static str, stale: bool| {
            is_usable(&Map::from([
                ("address".into(), zbus::OwnedVariant::try_from(Variant::from(text)).unwrap()),
                ("stale".into(), zbus::OwnedVariant::from(stale)),
            ]))
        };
        assert!(address("192.168.122.5", false) && address("fd00::5", false));
        assert!(!address("192.168.122.5", true));
        assert!(!address("fe80::5054:ff:fe00:1", false) && !address("169.254.3.4", false));
    }
}
