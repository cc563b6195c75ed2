//! Which interfaces have routes from router advertisements. Owns the reading of the kernel's own list, which alone
//! tells them from those that a program has made; must never change a route.

use std::collections::BTreeSet;
use std::io;

/// IPv6 routes of the daemon's network namespace, one a line.
const ROUTES: &str = "/proc/net/ipv6_route";

/// `RTF_ADDRCONF`: made by the kernel upon a router advertisement.
const ADVERTISED: u32 = 0x0004_0000;

/// Their names. The file can be long.
pub fn interfaces() -> io::Result<BTreeSet<String>> {
    match fs_err::read_to_string(ROUTES) {
        Ok(text) => Ok(text.lines().filter_map(advertised).map(str::to_owned).collect()),
        // A kernel without IPv6.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) => Err(e),
    }
}

/// The interface of a line, if its route was advertised: destination, source and gateway with their lengths, then
/// metric, references, uses, flags and interface.
fn advertised(line: &str) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(8);
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    fields.next().filter(|_| flags & ADVERTISED != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_routes_are_told_from_others() {
        let zeroes = "0".repeat(32);
        let line = |flags: &str| {
            format!("{zeroes} 00 {zeroes} 00 {zeroes} 00000400 00000001 00000000 {flags}     up0")
        };
        assert_eq!(advertised(&line("00450003")), Some("up0"));
        assert_eq!(advertised(&line("00000001")), None);
        assert_eq!(advertised("broken"), None);
    }
}
