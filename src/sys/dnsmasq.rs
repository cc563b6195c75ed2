//! DHCP and DNS, by dnsmasq.
//!
//! Owns the process, its files below a network's runtime directory, and the reading of its leases. Must
//! never plan a configuration, nor run dnsmasq as root: it keeps the three capabilities of the network.
//!
//! `DIR/dnsmasq/` belongs to the user that dnsmasq runs as and holds its configuration and leases; the
//! directories above are 0711 where that is not the daemon's own user.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::netspace::NetSpace;
use super::process::{
    Process, ProcessError, RunAs, Spawn, SpawnError, StderrTail, read_identity, reopen_fifo, stderr_fifo,
};
use super::unix;

/// How long dnsmasq has to say that it has started.
const READY: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(3);

/// Why there is no dnsmasq.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DnsmasqError {
    #[error("the files of dnsmasq could not be written")]
    Files(#[source] io::Error),
    #[error("dnsmasq could not be run; is the package dnsmasq installed?")]
    Run(#[from] SpawnError),
    #[error("dnsmasq ended at once: {0}")]
    Ended(String),
    #[error("dnsmasq did not start within 10 seconds: {0}")]
    Silent(String),
}

/// A dnsmasq that is to be started.
#[derive(Debug, Clone)]
pub struct DnsmasqSpec {
    /// The network's runtime directory.
    pub dir: PathBuf,
    /// The whole configuration; its leases are to be in [`lease_file`], its log on stderr.
    pub conf: String,
    /// Names in the format of `/etc/hosts`, for [`hosts_file`].
    pub hosts: String,
    /// The user that it runs as; `None`: the daemon's own.
    pub run_as: Option<RunAs>,
}

/// A dnsmasq that runs.
#[derive(Debug, Clone)]
pub struct Dnsmasq {
    /// Its process.
    pub process: Process,
    _log: Option<StderrTail>,
}

/// One DHCP lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// When it ends, in microseconds since 1970; 0: never.
    pub expires_usec: u64,
    /// Ethernet address; empty for a DHCPv6 lease, which does not tell it.
    pub mac: String,
    /// The address.
    pub address: IpAddr,
    /// What the guest calls itself.
    pub hostname: Option<String>,
    /// Client id, or DUID.
    pub client_id: Option<String>,
}

/// Where the leases of a network are.
pub fn lease_file(dir: &Path) -> PathBuf {
    dir.join("dnsmasq").join("leases")
}

/// Where the names are that the configuration refers to.
pub fn hosts_file(dir: &Path) -> PathBuf {
    dir.join("dnsmasq").join("hosts")
}

fn identity_file(dir: &Path) -> PathBuf {
    dir.join("dnsmasq.stat")
}

/// Starts dnsmasq; done when it says that it has started.
pub async fn start(space: &NetSpace, spec: &DnsmasqSpec) -> Result<Dnsmasq, DnsmasqError> {
    let conf = write_files(spec).map_err(DnsmasqError::Files)?;
    let (reading, writing) = stderr_fifo(&spec.dir.join("dnsmasq.log")).map_err(DnsmasqError::Files)?;
    let process = Spawn::new("dnsmasq")
        .arg("--keep-in-foreground")
        .arg(format!("--conf-file={}", conf.display()))
        // It stays the user that it is, rather than looking for one of its own.
        .args(["--user=", "--group=", "--pid-file="])
        .run_as(spec.run_as.clone())
        .enter(space)
        .network_capabilities_if(spec.run_as.is_some())
        .stderr(writing)
        .identity_file(identity_file(&spec.dir))
        .spawn()?;
    let log = StderrTail::start(reading, format!("dnsmasq of {}", spec.dir.display()));
    let started = async {
        while !log.tail().contains("started, version") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::select! {
        () = started => Ok(()),
        _ = process.exited() => {
            // The last line may still be in the FIFO.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(DnsmasqError::Ended(words(&log)))
        }
        () = tokio::time::sleep(READY) => Err(DnsmasqError::Silent(words(&log))),
    };
    if let Err(e) = outcome {
        let _ = process.terminate(GRACE).await;
        return Err(e);
    }
    Ok(Dnsmasq { process, _log: Some(log) })
}

fn words(log: &StderrTail) -> String {
    log.tail().trim().replace('\n', "; ")
}

fn write_files(spec: &DnsmasqSpec) -> io::Result<PathBuf> {
    let dir = spec.dir.join("dnsmasq");
    unix::make_dir(&dir, 0o700)?;
    let conf = dir.join("dnsmasq.conf");
    fs_err::write(&conf, &spec.conf)?;
    let hosts = hosts_file(&spec.dir);
    fs_err::write(&hosts, &spec.hosts)?;
    if let Some(user) = &spec.run_as {
        for path in [&dir, &conf, &hosts] {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))?;
        }
    }
    Ok(conf)
}

/// The dnsmasq that a former daemon started.
pub fn adopt(dir: &Path) -> io::Result<Option<Dnsmasq>> {
    let Some(identity) = read_identity(&identity_file(dir))? else { return Ok(None) };
    let Some(process) = Process::adopt(identity)? else { return Ok(None) };
    let log = reopen_fifo(&dir.join("dnsmasq.log"));
    let log = log.ok().map(|fd| StderrTail::start(fd, format!("dnsmasq of {}", dir.display())));
    Ok(Some(Dnsmasq { process, _log: log }))
}

impl Dnsmasq {
    /// Ends it.
    pub async fn stop(self) -> Result<(), ProcessError> {
        self.process.terminate(GRACE).await.map(drop)
    }
}

/// Reads dnsmasq's lease file; no file means no leases, and a line that is not understood is left out.
pub fn read_leases(path: &Path) -> io::Result<Vec<Lease>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(parse_leases(&text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The leases of a lease file's text: `EXPIRY MAC ADDRESS HOSTNAME CLIENT-ID`, `*` for what is not known;
/// after a line `duid …` come DHCPv6 leases, with the IAID where the MAC was.
pub fn parse_leases(text: &str) -> Vec<Lease> {
    let mut leases = Vec::new();
    let mut v6 = false;
    for line in text.lines() {
        if line.starts_with("duid ") {
            v6 = true;
            continue;
        }
        match parse_lease(line, v6) {
            Some(lease) => leases.push(lease),
            None => tracing::warn!("a lease is not understood: '{}'", line.escape_debug()),
        }
    }
    leases
}

fn parse_lease(line: &str, v6: bool) -> Option<Lease> {
    let mut fields = line.split(' ');
    let seconds: u64 = fields.next()?.parse().ok()?;
    let mac = fields.next()?;
    let address = fields.next()?.parse().ok()?;
    let mut known = || fields.next().filter(|f| *f != "*").map(str::to_owned);
    let hostname = known();
    Some(Lease {
        expires_usec: seconds.checked_mul(1_000_000)?,
        mac: if v6 { String::new() } else { mac.to_owned() },
        address,
        hostname,
        client_id: known(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_both_families_are_read() {
        let text = "1900000000 52:54:00:a4:6f:91 192.168.122.197 fedora 01:52:54:00:a4:6f:91\n\
            broken\n0 52:54:00:00:00:02 192.168.122.3 * *\nduid 00:01\n1900000001 123 fd00::5 * 00:02\n";
        let leases = parse_leases(text);
        assert_eq!(leases.len(), 3);
        assert_eq!(leases[0].hostname.as_deref(), Some("fedora"));
        assert_eq!(leases[0].expires_usec, 1_900_000_000_000_000);
        assert_eq!((leases[1].hostname.as_deref(), leases[1].client_id.as_deref()), (None, None));
        assert_eq!((leases[2].mac.as_str(), leases[2].address), ("", "fd00::5".parse().unwrap()));
    }
}
