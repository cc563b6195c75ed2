//! The addresses of hosts that documents name.
//!
//! Owns how many look-ups are under way: the library's cannot be cut off, and a name server that does not answer
//! would otherwise take every thread that the service has for the disk.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

/// Look-ups at once, of all users.
const AT_ONCE: usize = 16;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// The addresses of `host`, a name or an address, each with this port. The caller sets the deadline; a look-up that
/// outlives it keeps its turn until it ends.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let turn = TURNS.clone().acquire_owned().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let look_up = move || {
        let _turn = turn;
        (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
    };
    tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_turn_and_a_name_does() {
        let _all = TURNS.clone().acquire_many_owned(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        assert_eq!(resolve("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, resolve("localhost", 80)).await.is_err(), "it waits for its turn");
        drop(_all);
        assert!(resolve("localhost", 80).await.unwrap().iter().all(|a| a.ip().is_loopback()));
    }
}
