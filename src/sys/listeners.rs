//! Where the processes of a user listen on TCP, by the kernel's list of sockets. Owns the reading of it; must never
//! guess which process it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_LISTEN`
const LISTENS: &str = "0A";

/// The addresses on which sockets of `uid` listen, in the daemon's network namespace. The lists can be long: not for the
/// thread that answers callers.
pub fn of_user(uid: u32) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for list in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs_err::read_to_string(list) {
            Ok(text) => found.extend(text.lines().filter_map(|line| listener(line, uid))),
            // A kernel without IPv6.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// Number, local and remote address, state, queues, timer, retransmissions, uid and more; see proc(5).
fn listener(line: &str, uid: u32) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTENS || fields.get(7)?.parse() != Ok(uid) {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(SocketAddr::new(self::address(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits, each as the host has it.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_user_that_listen_are_found() {
        let me = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = std::net::TcpListener::bind(address) else { continue };
            let at = socket.local_addr().unwrap();
            assert!(of_user(me).unwrap().contains(&at), "{at}");
            assert!(!of_user(me + 1).unwrap().contains(&at));
        }
        let line = "0: 0100007F:170C 00000000:0000 01 00000000:00000000 00:00000000 00000000 7 0 1 1";
        assert_eq!(listener(line, 7), None, "a connection");
        assert_eq!(listener("sl local_address rem_address st tx_queue", 7), None);
    }
}
