//! Newtypes whose values are valid by construction: names, addresses, sizes. Must never hold a value
//! that the kernel, QEMU or the store would refuse.

use std::fmt;
use std::str::FromStr;

pub use uuid::Uuid;

/// Why a text is not the value it should be: a sentence fragment that names what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidValue> {
    Err(InvalidValue(message.into()))
}

/// Name of a network interface, 1 to 15 bytes, as the kernel's `dev_valid_name` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = InvalidValue;

    fn from_str(s: &str) -> Result<Self, InvalidValue> {
        if s.is_empty() || s.len() > 15 {
            return invalid(format!("'{s}' has {} bytes, an interface name has 1 to 15", s.len()));
        }
        if s == "." || s == ".." {
            return invalid(format!("'{s}' is not an interface name"));
        }
        // Beyond the kernel's own rule: a leading dash could be taken for an option, and a quote or
        // anything not printable has no business in a rule or an argument.
        let bad = |c: char| !c.is_ascii_graphic() || matches!(c, '/' | ':' | '"' | '\\' | '*' | '%' | ',');
        if s.starts_with('-') || s.chars().any(bad) {
            return invalid(format!(
                "'{}' is not an interface name: letters, digits, '.', '_', '-' and '+' are",
                s.escape_debug()
            ));
        }
        Ok(Self(s.to_owned()))
    }
}

/// Name of a network or a domain, as libvirt takes it: 1 to 255 bytes, no `/`, no control
/// characters, not `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(String);

impl ObjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = InvalidValue;

    fn from_str(s: &str) -> Result<Self, InvalidValue> {
        if s.is_empty() || s.len() > 255 {
            return invalid(format!("a name has 1 to 255 bytes, this one has {}", s.len()));
        }
        if s == "." || s == ".." {
            return invalid(format!("'{s}' cannot be a name"));
        }
        if let Some(c) = s.chars().find(|c| *c == '/' || c.is_control()) {
            return invalid(format!("'{}' cannot stand in a name", c.escape_debug()));
        }
        if s.trim().is_empty() {
            return invalid("a name cannot be only white space");
        }
        Ok(Self(s.to_owned()))
    }
}

macro_rules! display_and_as_ref {
    ($($t:ty),+) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $t {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )+};
}
display_and_as_ref!(IfName, ObjectName);

/// An Ethernet address. Written `52:54:00:ab:cd:ef`; `-` is read for `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A unicast address from the range `52:54:00` that QEMU and KVM guests use.
    pub fn for_guest(tail: [u8; 3]) -> Self {
        Self([0x52, 0x54, 0x00, tail[0], tail[1], tail[2]])
    }

    /// Whether it is `00:00:00:00:00:00`, which stands for no address at all.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }

    /// Whether the group bit is set, which no NIC's own address may have.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl FromStr for Mac {
    type Err = InvalidValue;

    fn from_str(s: &str) -> Result<Self, InvalidValue> {
        let mut bytes = [0u8; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().unwrap_or("");
            let hex = !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = match u8::from_str_radix(part, 16) {
                Ok(b) if hex => b,
                _ => return invalid(format!("'{s}' is not a MAC address like 52:54:00:12:34:56")),
            };
        }
        if parts.next().is_some() {
            return invalid(format!("'{s}' is not a MAC address like 52:54:00:12:34:56"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(pub u64);

impl MemorySize {
    /// `value` in `unit`, the units being libvirt's: `b` or `bytes`; `KB`, `MB`, `GB`, `TB` (powers of
    /// 1000); `k` or `KiB`, `M` or `MiB`, `G` or `GiB`, `T` or `TiB` (powers of 1024).
    pub fn from_unit(value: u64, unit: &str) -> Result<Self, InvalidValue> {
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "b" | "bytes" => 1,
            "kb" => 1000,
            "k" | "kib" => 1 << 10,
            "mb" => 1_000_000,
            "m" | "mib" => 1 << 20,
            "gb" => 1_000_000_000,
            "g" | "gib" => 1 << 30,
            "tb" => 1_000_000_000_000,
            "t" | "tib" => 1 << 40,
            _ => return invalid(format!("unknown unit '{unit}'; b, KiB, MiB, GiB and TiB are known")),
        };
        match value.checked_mul(factor) {
            Some(bytes) => Ok(Self(bytes)),
            None => invalid(format!("{value} {unit} is more than 2^64 bytes")),
        }
    }

    /// In KiB, rounded up, which is what libvirt counts in.
    pub fn kib(self) -> u64 {
        self.0.div_ceil(1024)
    }
}
