//! The session's uplink: `pasta`, which carries the nethost's traffic out through ordinary sockets of
//! the host.
//!
//! Owns how pasta is started, found again and ended, and the address at which it forwards DNS. Must
//! never open a way from the nethost to the host's own services: its ports are not forwarded, in
//! neither direction, and no address stands for the host's loopback.
//!
//! In the run directory stand `pasta.stat` (its identity), `pasta.json` (what it was started for) and
//! `pasta.stderr` (a FIFO).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nethost::Nethost;
use super::netlink::NetlinkError;
use super::netspace::NetSpace;
use super::process::{
    Identity, Process, ProcessError, RunAs, Seen, Spawn, SpawnError, StderrTail, note_identity, processes,
    read_identity, reopen_fifo, stderr_fifo,
};
use super::{resolve, unix};

/// The interface it makes in the nethost.
const INTERFACE: &str = "wuplink";
/// Link-local, so that no network of ours and no host that a guest could want has it.
const DNS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 53, 53);
/// Unique local with a prefix of its own, for hosts that have IPv6 alone.
const DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd57, 0x6172, 0x7265, 0x6e00, 0, 0, 0, 0x53);
const IDENTITY: &str = "pasta.stat";
/// All of its files.
const FILES: [&str; 3] = [IDENTITY, RECORD, STDERR];
const RECORD: &str = "pasta.json";
const STDERR: &str = "pasta.stderr";
const START_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Why there is no uplink. Networks without one still connect guests with each other.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PastaError {
    #[error("the host itself has no way out (no default route), so its session networks have none")]
    NoUplink,
    #[error("the host's network or the session's cannot be read")]
    Netlink(#[from] NetlinkError),
    #[error("the uplink could not be started")]
    Spawn(#[from] SpawnError),
    #[error("pasta ended at once{}", said(.words))]
    Ended { words: String },
    #[error("pasta made no uplink within 10 seconds{}", said(.words))]
    Late { words: String },
    #[error("a former pasta could not be ended")]
    Former(#[source] ProcessError),
    #[error("'{}' cannot be used for the uplink", .path.display())]
    Run { path: PathBuf, source: io::Error },
}

fn said(words: &str) -> String {
    // Without a syslog it complains of that before each line.
    let lines = words.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|l| !l.is_empty() && !l.ends_with("to syslog")).collect();
    if lines.is_empty() { String::new() } else { format!("; it said: {}", lines.join("; ")) }
}

/// A running uplink.
#[derive(Debug)]
pub struct Pasta {
    /// Its process.
    pub process: Process,
    /// The interface of the nethost's network that leads out.
    pub ifname: String,
    /// Inside the nethost, DNS queries to this address go to the host's name server.
    pub dns: IpAddr,
    dir: PathBuf,
}

impl Pasta {
    /// Ends it; its interface goes with it.
    pub async fn stop(self) -> Result<(), ProcessError> {
        self.process.terminate(STOP_GRACE).await?;
        unix::forget(&self.dir, &FILES);
        Ok(())
    }
}

/// What a later daemon must know of a running pasta.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    nethost: Identity,
    dns: IpAddr,
}

/// Gives the nethost a way out, and ends what a previous daemon left. `run_as` is the nethost's user.
/// Returns when the default route stands.
pub async fn start(nethost: &Nethost, run_dir: &Path, run_as: Option<RunAs>) -> Result<Pasta, PastaError> {
    end_former(run_dir).await?;
    let dns = choose_dns().await?;
    let started = launch(nethost, run_dir, run_as, dns).await;
    if started.is_err() {
        unix::forget(run_dir, &FILES);
    }
    started
}

/// The uplink whose traces stand in `run_dir`, if it lives and serves the nethost whose traces stand there too. One
/// whose records are lost is found by its arguments; `uid` is the user that it runs as.
pub async fn adopt(run_dir: &Path, uid: u32) -> io::Result<Option<Pasta>> {
    let Some(nethost) = super::nethost::identity(run_dir)? else { return Ok(None) };
    let found = match recorded(run_dir, nethost)? {
        Some(found) => Some(found),
        None => without_record(run_dir, nethost, uid).await?,
    };
    let Some((process, dns)) = found else { return Ok(None) };
    match reopen_fifo(&run_dir.join(STDERR)) {
        Ok(fd) => drop(StderrTail::start(fd, "pasta".to_owned())),
        Err(e) => tracing::warn!("what pasta says cannot be read: {e}"),
    }
    Ok(Some(Pasta { process, ifname: INTERFACE.to_owned(), dns, dir: run_dir.to_owned() }))
}

fn recorded(run_dir: &Path, nethost: Identity) -> io::Result<Option<(Process, IpAddr)>> {
    let Some(identity) = read_identity(&run_dir.join(IDENTITY))? else { return Ok(None) };
    let record = match fs::read(run_dir.join(RECORD)) {
        Ok(text) => serde_json::from_slice::<Record>(&text).ok(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let Some(record) = record.filter(|record| record.nethost == nethost) else { return Ok(None) };
    Ok(Process::adopt(identity)?.map(|process| (process, record.dns)))
}

/// A pasta in the namespaces of that nethost, whose records are written again.
async fn without_record(
    run_dir: &Path,
    nethost: Identity,
    uid: u32,
) -> io::Result<Option<(Process, IpAddr)>> {
    let seen =
        tokio::task::spawn_blocking(move || processes(|of| of == uid)).await.map_err(io::Error::other)??;
    let serves = |seen: &Seen| {
        let dns = seen.value("--dns-forward")?.parse().ok()?;
        let args = arguments(nethost.pid, dns);
        let same = seen.args.iter().skip(1).eq(args.iter().map(std::ffi::OsStr::new));
        (seen.is_program("pasta") && same).then_some((seen.identity, dns))
    };
    let Some((identity, dns)) = seen.iter().find_map(serves) else { return Ok(None) };
    let Some(process) = Process::adopt(identity)? else { return Ok(None) };
    let (stat, json) = (run_dir.join(IDENTITY), run_dir.join(RECORD));
    tracing::error!(
        "'{}' or '{}' is lost or broken; pasta (process {}) was found by its arguments and is taken over",
        stat.display(),
        json.display(),
        identity.pid
    );
    let record = serde_json::to_vec(&Record { nethost, dns })?;
    note_identity(&stat, identity).and_then(|()| unix::write_private(&json, &record))?;
    Ok(Some((process, dns)))
}

async fn launch(
    nethost: &Nethost,
    run_dir: &Path,
    run_as: Option<RunAs>,
    dns: IpAddr,
) -> Result<Pasta, PastaError> {
    let at = |name: &str| run_dir.join(name);
    let unusable = |name: &str| {
        let path = at(name);
        move |source: io::Error| PastaError::Run { path, source }
    };
    let nethost_identity = nethost.process().identity();
    let record = Record { nethost: nethost_identity, dns };
    let text = serde_json::to_vec(&record).map_err(|e| unusable(RECORD)(e.into()))?;
    unix::write_private(&at(RECORD), &text).map_err(unusable(RECORD))?;
    let (words, stderr) = stderr_fifo(&at(STDERR)).map_err(unusable(STDERR))?;
    let process = Spawn::lasting("pasta", at(IDENTITY))
        .args(arguments(nethost_identity.pid, dns))
        .run_as(run_as)
        .no_privileges()
        .stderr(stderr)
        .spawn()
        .await?;
    let tail = StderrTail::start(words, "pasta".to_owned());
    let space = nethost.space();
    let failed = tokio::select! {
        exit = process.exited() => {
            tracing::debug!("pasta ended with {exit}");
            // Its last words may still be in the FIFO.
            tokio::time::sleep(POLL).await;
            PastaError::Ended { words: tail.tail() }
        }
        ready = tokio::time::timeout(START_DEADLINE, route_stands(&space)) => match ready {
            Ok(Ok(())) => {
                let ifname = INTERFACE.to_owned();
                return Ok(Pasta { process, ifname, dns, dir: run_dir.to_owned() });
            }
            Ok(Err(e)) => e.into(),
            Err(_) => PastaError::Late { words: tail.tail() },
        },
    };
    process.terminate(STOP_GRACE).await.map_err(PastaError::Former)?;
    Err(failed)
}

/// See pasta(1).
fn arguments(nethost: i32, dns: IpAddr) -> Vec<String> {
    let mut args: Vec<String> =
        ["--foreground", "--stderr", "--quiet", "--config-net", "--no-map-gw"].map(str::to_owned).to_vec();
    // Neither the nethost's ports on the host, nor the host's loopback ports in the nethost.
    for direction in ["--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"] {
        args.extend([direction.to_owned(), "none".to_owned()]);
    }
    args.extend(["--ns-ifname".to_owned(), INTERFACE.to_owned()]);
    args.extend(["--dns-forward".to_owned(), dns.to_string()]);
    args.extend(["--userns".to_owned(), format!("/proc/{nethost}/ns/user")]);
    args.extend(["--netns".to_owned(), format!("/proc/{nethost}/ns/net")]);
    args
}

/// The route is the last that pasta makes.
async fn route_stands(space: &NetSpace) -> Result<(), NetlinkError> {
    let netlink = space.netlink().await?;
    loop {
        if let Some(link) = netlink.link(INTERFACE).await? {
            let routes = netlink.routes().await?;
            if routes.iter().any(|r| r.dst.prefix_len() == 0 && r.oif == Some(link.index)) {
                return Ok(());
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Pasta forwards queries within one family only: one that has a way out, and a name server.
async fn choose_dns() -> Result<IpAddr, PastaError> {
    let routes = NetSpace::host().netlink().await?.routes().await?;
    // What the kernel makes for itself (unreachable defaults) has no interface but the loopback.
    let out = |v6: bool| {
        routes.iter().any(|r| {
            r.dst.prefix_len() == 0
                && matches!(r.dst, ipnet::IpNet::V6(_)) == v6
                && r.oif.is_some_and(|i| i != 1)
        })
    };
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    pick_dns(out(false), out(true), &servers).ok_or(PastaError::NoUplink)
}

/// The address for the ways out there are and the text of resolv.conf(5).
fn pick_dns(out_v4: bool, out_v6: bool, resolv_conf: &str) -> Option<IpAddr> {
    let servers: Vec<&str> = resolve::servers_in(resolv_conf).collect();
    let v6_only = !servers.is_empty() && servers.iter().all(|s| s.contains(':'));
    match (out_v4, out_v6) {
        (false, false) => None,
        (true, true) if v6_only => Some(DNS_V6.into()),
        (true, _) => Some(DNS_V4.into()),
        (false, true) => Some(DNS_V6.into()),
    }
}

/// Ends a pasta that serves no nethost of ours any more, or whose record is lost.
async fn end_former(run_dir: &Path) -> Result<(), PastaError> {
    let unusable = |source| PastaError::Run { path: run_dir.join(IDENTITY), source };
    let Some(identity) = read_identity(&run_dir.join(IDENTITY)).map_err(unusable)? else { return Ok(()) };
    if let Some(process) = Process::adopt(identity).map_err(unusable)? {
        process.terminate(STOP_GRACE).await.map_err(PastaError::Former)?;
    }
    unix::forget(run_dir, &FILES);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_is_asked_where_there_is_a_way() {
        let v4 = Some(IpAddr::from(DNS_V4));
        let v6 = Some(IpAddr::from(DNS_V6));
        assert_eq!(pick_dns(false, false, "nameserver 192.0.2.1"), None);
        assert_eq!(pick_dns(true, false, ""), v4);
        assert_eq!(pick_dns(true, true, "nameserver 192.0.2.1\nnameserver fd00::1"), v4);
        assert_eq!(pick_dns(true, true, "# x\nnameserver fd00::1"), v6);
        assert_eq!(pick_dns(false, true, ""), v6);
    }

    #[test]
    fn only_what_matters_of_its_words_is_told() {
        assert_eq!(said("Failed to send 3 bytes to syslog\n\n"), "");
        assert_eq!(said("External interface not usable\n"), "; it said: External interface not usable");
    }
}
