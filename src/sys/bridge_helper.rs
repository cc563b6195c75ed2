//! A TAP on a bridge of the host, for a service that is not root: QEMU's setuid helper makes it.
//!
//! Owns the call of `qemu-bridge-helper` and what its refusals mean. Must never take the helper's
//! privileges away (no "no new privileges"): it lives by its setuid bit.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::process::{Exit, Purpose, Spawn, SpawnError};
use super::{tap, unix};

/// Where distributions put it.
const PLACES: [&str; 3] = [
    "/usr/lib/qemu/qemu-bridge-helper",
    "/usr/libexec/qemu-bridge-helper",
    "/usr/libexec/qemu/qemu-bridge-helper",
];
const DEADLINE: Duration = Duration::from_secs(10);
/// The number its socket has in the helper.
const SOCKET_FD: i32 = 3;

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BridgeHelperError {
    #[error("qemu-bridge-helper is not installed (looked for it at {})", PLACES.join(", "))]
    Missing,
    #[error(
        "qemu-bridge-helper does not allow the bridge '{bridge}' ({words}); a line 'allow {bridge}' in \
         /etc/qemu/bridge.conf, which its user must be able to read, allows it"
    )]
    NotAllowed { bridge: String, words: String },
    #[error(
        "qemu-bridge-helper may not change the host's network ({words}); it needs the setuid bit: \
         chmod u+s {}", .helper.display()
    )]
    NotSetuid { helper: PathBuf, words: String },
    #[error("qemu-bridge-helper gave no device on the bridge '{bridge}': {words}")]
    Failed { bridge: String, words: String },
    #[error("qemu-bridge-helper could not be run")]
    Spawn(#[from] SpawnError),
    #[error("the socket to qemu-bridge-helper failed")]
    Socket(#[source] io::Error),
}

/// A new TAP device, with virtio-net headers, that is a port of the host's bridge `bridge`. The device
/// ends with its last descriptor.
pub async fn bridge_tap(bridge: &str) -> Result<OwnedFd, BridgeHelperError> {
    let helper = PLACES.map(Path::new).into_iter().find(|p| p.exists()).ok_or(BridgeHelperError::Missing)?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| BridgeHelperError::Socket(e.into()))?;
    // When the helper has ended well, the message is there; what it left behind may hold the socket open.
    rustix::io::ioctl_fionbio(&ours, true).map_err(|e| BridgeHelperError::Socket(e.into()))?;
    let output = Spawn::brief(helper, Purpose::BridgeHelper)
        .arg(format!("--br={bridge}"))
        .arg("--use-vnet")
        .arg(format!("--fd={SOCKET_FD}"))
        .fd(theirs, SOCKET_FD)
        .output(None, DEADLINE)
        .await?;
    if output.exit != Exit::Code(0) {
        return Err(refusal(bridge, helper, &output.stderr, output.exit));
    }
    match unix::receive_message(ours.as_fd(), 1).map_err(BridgeHelperError::Socket)? {
        (_, Some(fd)) => {
            tap::name_of_received(&fd, true).map_err(BridgeHelperError::Socket)?;
            Ok(fd)
        }
        (_, None) => Err(BridgeHelperError::Failed {
            bridge: bridge.to_owned(),
            words: "its answer carries no descriptor".to_owned(),
        }),
    }
}

fn refusal(bridge: &str, helper: &Path, stderr: &str, exit: Exit) -> BridgeHelperError {
    let bridge = bridge.to_owned();
    let words: Vec<&str> = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let words = if words.is_empty() { format!("it ended with {exit}") } else { words.join("; ") };
    if words.contains("acl") {
        BridgeHelperError::NotAllowed { bridge, words }
    } else if words.contains("Operation not permitted") {
        BridgeHelperError::NotSetuid { helper: helper.to_owned(), words }
    } else {
        BridgeHelperError::Failed { bridge, words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_their_remedy() {
        let helper = Path::new("/usr/lib/qemu/qemu-bridge-helper");
        let told = |stderr| refusal("br0", helper, stderr, Exit::Code(1)).to_string();
        assert!(told("access denied by acl file\n").contains("'allow br0' in /etc/qemu/bridge.conf"));
        assert!(told("failed to parse default acl file `/etc/qemu/bridge.conf'\n").contains("'allow br0'"));
        let bit = told("failed to create tun device: Operation not permitted\n");
        assert!(bit.contains("chmod u+s /usr/lib/qemu/qemu-bridge-helper"), "{bit}");
        assert!(told("").contains("it ended with status 1"));
    }
}
