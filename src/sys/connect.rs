//! Connections that count as another user's.
//!
//! Owns the one way to make a socket whose creator is a guest's user: the kernel judges a connection by who has made its
//! socket (`meta skuid`), whoever uses it afterwards. Must never be used where a file is opened.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::sync::oneshot;

/// Connects to the first of these addresses that answers, each in `deadline`. With a `uid` the socket is made by that
/// user.
pub async fn connect_as(
    uid: Option<u32>,
    addresses: Vec<SocketAddr>,
    deadline: Duration,
) -> io::Result<TcpStream> {
    let (tell, told) = oneshot::channel();
    // A thread of its own: it ends, and its user with it.
    std::thread::Builder::new().name("connects".to_owned()).spawn(move || {
        let connected = become_user(uid).and_then(|()| connect(&addresses, deadline));
        // Nobody may wait any more.
        let _ = tell.send(connected);
    })?;
    told.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}

fn connect(addresses: &[SocketAddr], deadline: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(address, deadline) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Of this thread alone: see `setfsuid(2)`.
fn become_user(uid: Option<u32>) -> io::Result<()> {
    let Some(uid) = uid else { return Ok(()) };
    // SAFETY: plain numbers. The second call changes nothing, and answers what the first has made.
    let is = unsafe {
        libc::setfsuid(uid);
        libc::setfsuid(uid)
    };
    if u32::try_from(is) == Ok(uid) { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_that_users() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let me = rustix::process::geteuid().as_raw();
        for uid in [None, Some(if me == 0 { 4242 } else { me })] {
            let stream = connect_as(uid, vec![at], Duration::from_secs(10)).await.unwrap();
            let made_by = rustix::fs::fstat(stream.as_fd()).unwrap().st_uid;
            assert_eq!(made_by, uid.unwrap_or(me));
        }
        drop(listener);
        let refused = connect_as(None, vec![at], Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect_as(None, vec![], Duration::from_secs(10)).await.is_err());
    }
}
