//! `net leases NAME`

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, Options};

/// Lists the addresses that a network's DHCP server gave.
pub(in crate::cli) async fn run(session: &Session, name: &str) -> Result<ExitCode, CliError> {
    let network = session.bus.find(Kind::Network, name).await?;
    let leases: Vec<Map> = network.act("GetLeases", Options::new()).await?;
    if session.json {
        output::json(&leases.iter().map(output::record).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let rows = leases.iter().map(|lease| {
        let part = |key| output::part(lease, key);
        let expires = part("expires-usec").parse().map_or(String::new(), |usec| remaining(usec, now));
        vec![output::with_prefix(lease), part("mac"), part("hostname"), expires, part("interface")]
    });
    output::line(&output::table(&["Address", "MAC", "Hostname", "Expires", "Interface"], rows.collect()))?;
    Ok(ExitCode::SUCCESS)
}

/// How long until a time in microseconds since 1970; 0 stands for a lease without end.
fn remaining(usec: u64, now_seconds: u64) -> String {
    let seconds = (usec / 1_000_000).saturating_sub(now_seconds);
    match seconds {
        _ if usec == 0 => "never".into(),
        0 => "expired".into(),
        1..60 => format!("in {seconds} s"),
        60..3600 => format!("in {} min", seconds / 60),
        _ => format!("in {} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::remaining;

    #[test]
    fn a_lease_says_how_long_it_lasts() {
        assert_eq!(remaining(0, 100), "never");
        assert_eq!(remaining(100_000_000, 100), "expired");
        assert_eq!(remaining(130_000_000, 100), "in 30 s");
        assert_eq!(remaining(3_699_000_000, 100), "in 59 min");
        assert_eq!(remaining(7_360_000_000, 100), "in 2 h 1 min");
    }
}
