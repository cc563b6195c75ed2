//! Who asks for a password where no desktop does: `pkttyagent`, at this terminal. Owns how it is started;
//! must never see what is typed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Until polkit knows the agent. It asks nothing, so this is a matter of the machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Is there where logind runs.
const LOGIND: &str = "/run/systemd/seats";

/// Starts the agent for this process, and returns when polkit knows it. It ends with this process, whatever
/// ends that. Where there is none, or where the session has one of its own, all stays as it is.
pub(super) async fn start() {
    let id = std::process::id().to_string();
    let mut agent = Command::new("setpriv");
    agent.args(["--pdeathsig", "TERM", "--", "pkttyagent", "--notify-fd", "1", "--process", &id]);
    // The desktop's own agent goes first. Without logind polkit knows no sessions, so there is none, and polkit
    // would not look for one to fall back to either.
    if Path::new(LOGIND).exists() {
        agent.arg("--fallback");
    }
    let agent = agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut agent) = agent else { return };
    // It asks at the terminal itself, and closes this when it is known.
    if let Some(mut ready) = agent.stdout.take() {
        let _ = tokio::time::timeout(PATIENCE, ready.read_to_end(&mut Vec::new())).await;
    }
}
