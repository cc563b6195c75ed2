//! The addresses of hosts that documents name, and the servers that are asked for them.
//!
//! Owns how many look-ups are under way: the library's cannot be cut off, and a name server that does not answer
//! would otherwise take every thread that the service has for the disk. Each user but root has a share of them, so that
//! his names keep nobody else from theirs.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

/// Look-ups at once, of all users.
const AT_ONCE: usize = 16;
/// Look-ups at once of one user.
const SHARE: usize = 4;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));
static SHARES: Mutex<Option<HashMap<u32, Weak<Semaphore>>>> = Mutex::new(None);

/// The share of this user's; it lives as long as somebody has a turn of it or waits for one.
fn share(uid: u32) -> Arc<Semaphore> {
    let mut shares = SHARES.lock().unwrap_or_else(PoisonError::into_inner);
    let shares = shares.get_or_insert_default();
    if let Some(share) = shares.get(&uid).and_then(Weak::upgrade) {
        return share;
    }
    shares.retain(|_, share| share.strong_count() > 0);
    let share = Arc::new(Semaphore::new(if uid == 0 { AT_ONCE } else { SHARE }));
    shares.insert(uid, Arc::downgrade(&share));
    share
}

/// The addresses of `host`, a name or an address, each with this port, for a document of `uid`. The caller sets the
/// deadline; a look-up that outlives it keeps its turn until it ends.
pub async fn resolve(host: &str, port: u16, uid: u32) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let own = share(uid).acquire_owned().await.map_err(io::Error::other)?;
    let turn = TURNS.clone().acquire_owned().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let look_up = move || {
        let _turns = (own, turn);
        (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
    };
    tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
}

/// The servers that this host asks for names. Reads a file.
pub fn servers() -> Vec<IpAddr> {
    let text = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
    servers_in(&text).filter_map(|server| server.parse().ok()).collect()
}

/// The servers in the text of resolv.conf(5).
pub(super) fn servers_in(resolv_conf: &str) -> impl Iterator<Item = &str> {
    resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: std::time::Duration = std::time::Duration::from_millis(50);

    #[tokio::test]
    async fn an_address_needs_no_turn_and_a_name_does() {
        let _all = TURNS.clone().acquire_many_owned(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        assert_eq!(resolve("::1", 80, 0).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(
            tokio::time::timeout(SOON, resolve("localhost", 80, 0)).await.is_err(),
            "it waits for its turn"
        );
        drop(_all);
        // A share that is taken is another user's affair.
        let taken = share(7).acquire_many_owned(u32::try_from(SHARE).unwrap()).await.unwrap();
        assert!(tokio::time::timeout(SOON, resolve("localhost", 80, 7)).await.is_err(), "his share is taken");
        for uid in [0, 8] {
            let found = resolve("localhost", 80, uid).await.unwrap();
            assert!(found.iter().all(|a| a.ip().is_loopback()));
        }
        drop(taken);
        resolve("localhost", 80, 7).await.unwrap();
        share(9);
        assert!(!SHARES.lock().unwrap().as_ref().unwrap().contains_key(&7), "nothing is kept of him");
    }
}
