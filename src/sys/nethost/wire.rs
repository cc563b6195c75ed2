//! What the nethost and its clients say to each other.
//!
//! Owns the text of requests and answers, and which sysctl keys may be named. Must never touch a
//! socket. A nethost outlives the program that started it, so a newer client may speak to an older
//! server: requests may be added here, never changed.

use std::io;

/// No message is longer, in bytes.
pub(super) const MESSAGE_MAX: usize = 1024;

/// One request. Each gets one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Are you there?
    Ping,
    /// A `NETLINK_ROUTE` socket.
    Netlink,
    /// A TAP device; its answer carries the descriptor and the name the kernel gave it.
    Tap {
        /// The wished name, a template like `wtap%d`, or empty.
        name: String,
        /// Whether frames carry a virtio-net header.
        vnet_hdr: bool,
    },
    /// A queue of a TAP device that has several; the answer is that of [`Request::Tap`].
    TapQueue {
        /// The wished name or a template for the first queue, the device's name for the others.
        name: String,
        /// Whether the device is to be made.
        first: bool,
    },
    /// The value of a sysctl.
    Read {
        /// Its key, like `net/ipv4/ip_forward`.
        key: String,
    },
    /// A new value for a sysctl.
    Write {
        /// Its key.
        key: String,
        /// The value.
        value: String,
    },
}

/// What the server answers, without the descriptor beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done; the text is a name or a value, or empty.
    Done(String),
    /// The kernel refused with this errno.
    Errno(i32),
    /// The server refused, and says why.
    Refused(String),
}

impl Request {
    /// The message that carries it. A text must not hold NUL, which parts the fields.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let fields: Vec<&str> = match self {
            Self::Ping => vec!["ping"],
            Self::Netlink => vec!["netlink"],
            Self::Tap { name, vnet_hdr } => vec!["tap", name, if *vnet_hdr { "1" } else { "0" }],
            Self::TapQueue { name, first } => vec!["queue", name, if *first { "1" } else { "0" }],
            Self::Read { key } => vec!["read", key],
            Self::Write { key, value } => vec!["write", key, value],
        };
        if fields.iter().any(|f| f.contains('\0')) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a request cannot hold a NUL character"));
        }
        Ok(fields.join("\0").into_bytes())
    }

    /// `None`: not a request that this version knows.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let fields: Vec<&str> = std::str::from_utf8(message).ok()?.split('\0').collect();
        Some(match fields.as_slice() {
            ["ping"] => Self::Ping,
            ["netlink"] => Self::Netlink,
            ["tap", name, vnet_hdr @ ("0" | "1")] => {
                Self::Tap { name: (*name).to_owned(), vnet_hdr: *vnet_hdr == "1" }
            }
            ["queue", name, first @ ("0" | "1")] => {
                Self::TapQueue { name: (*name).to_owned(), first: *first == "1" }
            }
            ["read", key] => Self::Read { key: (*key).to_owned() },
            ["write", key, value] => Self::Write { key: (*key).to_owned(), value: (*value).to_owned() },
            _ => return None,
        })
    }
}

impl Answer {
    /// The message that carries it; a text too long for a message is cut.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = match self {
            Self::Done(text) => format!("done\0{text}"),
            Self::Errno(errno) => format!("errno\0{errno}"),
            Self::Refused(text) => format!("refused\0{text}"),
        }
        .into_bytes();
        message.truncate(MESSAGE_MAX);
        message
    }

    /// `None`: not an answer.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let message = String::from_utf8_lossy(message);
        let (kind, text) = message.split_once('\0')?;
        match kind {
            "done" => Some(Self::Done(text.to_owned())),
            "errno" => Some(Self::Errno(text.parse().ok()?)),
            "refused" => Some(Self::Refused(text.to_owned())),
            _ => None,
        }
    }

    /// The answer that tells of an error.
    pub(super) fn from_error(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Errno(errno),
            None => Self::Refused(error.to_string()),
        }
    }

    /// The text of what was done, or the error.
    pub(super) fn into_result(self) -> io::Result<String> {
        match self {
            Self::Done(text) => Ok(text),
            Self::Errno(errno) => Err(io::Error::from_raw_os_error(errno)),
            Self::Refused(why) => Err(io::Error::other(why)),
        }
    }
}

/// Whether `key` names a sysctl of the network namespace: below `net/`, no step that leads elsewhere.
pub(super) fn is_net_key(key: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    key.starts_with("net/") && key.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_as_they_were_sent() {
        let requests = [
            Request::Ping,
            Request::Netlink,
            Request::Tap { name: String::new(), vnet_hdr: false },
            Request::Tap { name: "wtap%d".to_owned(), vnet_hdr: true },
            Request::TapQueue { name: "wtap0".to_owned(), first: false },
            Request::Read { key: "net/ipv4/ip_forward".to_owned() },
            Request::Write { key: "net/ipv4/ip_forward".to_owned(), value: "1".to_owned() },
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode().unwrap()), Some(request));
        }
        assert!(Request::Read { key: "net\0write".to_owned() }.encode().is_err());
        for unknown in [&b""[..], b"quit", b"ping\0x", b"tap\0a\x002", b"\xff"] {
            assert_eq!(Request::decode(unknown), None);
        }
    }

    #[test]
    fn answers_arrive_as_they_were_sent() {
        for answer in
            [Answer::Done("wtap0".to_owned()), Answer::Errno(libc::EEXIST), Answer::Refused("no".to_owned())]
        {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        assert_eq!(Answer::Done("x".repeat(2 * MESSAGE_MAX)).encode().len(), MESSAGE_MAX);
        let error = Answer::Errno(libc::EEXIST).into_result().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn only_keys_of_the_network_are_taken() {
        assert!(is_net_key("net/ipv4/ip_forward"));
        assert!(is_net_key("net/ipv6/conf/wbr0.5/disable_ipv6"));
        for key in
            ["", "net", "net/", "kernel/core_pattern", "net/../kernel/x", "net//x", "/net/x", "net/./x"]
        {
            assert!(!is_net_key(key), "{key}");
        }
    }
}
