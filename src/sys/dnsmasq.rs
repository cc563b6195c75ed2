//! DHCP and DNS, by dnsmasq.
//!
//! Owns the process, its files below a network's runtime directory, and the reading of its leases. Must
//! never plan a configuration, run dnsmasq as root (it keeps the three capabilities of the network), or follow it: what it
//! can change is only reached by descriptor.
//!
//! `DIR/conf/` is the service's and holds the configuration, which dnsmasq's group may read; `DIR/leases/` is dnsmasq's
//! own. The directories above are 0711 where dnsmasq has another user than the daemon. A former version had all of it in
//! `DIR/dnsmasq/`, which was dnsmasq's.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dirs::Dir;
use super::landlock::{Landlock, resolv_conf};
use super::netspace::NetSpace;
use super::process::{
    Identity, Process, ProcessError, RunAs, Seen, Spawn, SpawnError, StderrTail, note_identity, processes,
    read_identity, reopen_fifo, stderr_fifo,
};

const CONF_DIR: &str = "conf";
const LEASE_DIR: &str = "leases";
const LEASES: &str = "leases";
/// Where a former version had all of its files.
const FORMER_DIR: &str = "dnsmasq";
/// The largest lease file that is read: some 60,000 leases.
const LEASES_LIMIT: u64 = 4 << 20;

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
    /// The whole configuration; its leases are to be in [`new_lease_file`], its log on stderr.
    pub conf: String,
    /// Names in the format of `/etc/hosts`, for [`hosts_file`].
    pub hosts: String,
    /// The user that it runs as; `None`: the daemon's own.
    pub run_as: Option<RunAs>,
    /// What else it reads, beside what every program of the system may; `None`: it is not kept from anything, since its
    /// configuration may name whatever its writer likes.
    pub reads: Option<Vec<PathBuf>>,
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
    let new = dir.join(LEASE_DIR);
    let former = dir.join(FORMER_DIR);
    if former.is_dir() && !new.is_dir() { former.join(LEASES) } else { new.join(LEASES) }
}

/// Where a dnsmasq that is to be started keeps them.
pub fn new_lease_file(dir: &Path) -> PathBuf {
    dir.join(LEASE_DIR).join(LEASES)
}

/// Where the names are that the configuration refers to.
pub fn hosts_file(dir: &Path) -> PathBuf {
    dir.join(CONF_DIR).join("hosts")
}

fn identity_file(dir: &Path) -> PathBuf {
    dir.join("dnsmasq.stat")
}

/// Whose the leases are: the uid of a dnsmasq that runs, or ran, there.
pub fn owner_of_leases(dir: &Path) -> Option<u32> {
    Dir::open(dir).and_then(|dir| dir.dir(LEASE_DIR)).and_then(|leases| leases.owner()).ok()
}

/// Starts dnsmasq; done when it says that it has started.
pub async fn start(space: &NetSpace, spec: &DnsmasqSpec) -> Result<Dnsmasq, DnsmasqError> {
    let conf = write_files(spec).map_err(DnsmasqError::Files)?;
    let (reading, writing) = stderr_fifo(&spec.dir.join("dnsmasq.log")).map_err(DnsmasqError::Files)?;
    let process = Spawn::lasting("dnsmasq", identity_file(&spec.dir))
        .arg("--keep-in-foreground")
        .arg(conf_argument(&conf))
        // It stays the user that it is, rather than looking for one of its own.
        .args(["--user=", "--group=", "--pid-file="])
        .run_as(spec.run_as.clone())
        .enter(space)
        .network_capabilities_if(spec.run_as.is_some())
        .no_new_privileges()
        .landlock(spec.reads.as_ref().map(|reads| rules(&spec.dir, reads)))
        .stderr(writing)
        .spawn()
        .await?;
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
    let owner = spec.run_as.as_ref().map(|user| (user.uid, user.gid));
    // Read by its group, written by nobody but us.
    let ours = owner.map(|(_, group)| (rustix::process::geteuid().as_raw(), group));
    let (dir_mode, file_mode) = if ours.is_some() { (0o750, 0o640) } else { (0o700, 0o600) };
    let dir = Dir::open(&spec.dir)?;
    let conf = dir.make(CONF_DIR, dir_mode, ours)?;
    conf.write("dnsmasq.conf", spec.conf.as_bytes(), file_mode, ours)?;
    conf.write("hosts", spec.hosts.as_bytes(), file_mode, ours)?;
    make_lease_dir(&dir, owner)?;
    Ok(spec.dir.join(CONF_DIR).join("dnsmasq.conf"))
}

/// A directory for the leases of a dnsmasq with this user and group. One that is there already keeps what is in it;
/// what a former version has left is taken over.
fn make_lease_dir(dir: &Dir, owner: Option<(u32, u32)>) -> io::Result<()> {
    let user = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user);
    match dir.dir(LEASE_DIR) {
        Ok(there) if there.owner()? == user => return there.give(0o700, owner),
        Ok(_) => dir.remove(LEASE_DIR)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let former = dir.dir(FORMER_DIR).and_then(|former| former.read(LEASES, LEASES_LIMIT));
    // Nobody else writes there before it is given away.
    let new = dir.make(LEASE_DIR, 0o700, None)?;
    // Made here, since dnsmasq itself would let everybody read it.
    new.write(LEASES, &former.ok().flatten().unwrap_or_default(), 0o600, owner)?;
    new.give(0o700, owner)?;
    dir.remove(FORMER_DIR)
}

/// What dnsmasq may reach.
fn rules(dir: &Path, reads: &[PathBuf]) -> Landlock {
    let rules = Landlock::new().system().alone().read(dir.join(CONF_DIR)).write(dir.join(LEASE_DIR));
    reads.iter().chain(&resolv_conf()).fold(rules, Landlock::read)
}

fn conf_argument(conf: &Path) -> String {
    format!("--conf-file={}", conf.display())
}

/// The dnsmasq that a previous daemon started, and its user. Where its record is lost it is found again by its
/// configuration among the processes `of` such users. It reads much then: not for the thread that answers callers.
pub fn find(dir: &Path, of: impl Fn(u32) -> bool) -> io::Result<Option<Seen>> {
    let record = identity_file(dir);
    if let Some(identity) = read_identity(&record)?
        && Process::adopt(identity)?.is_some()
    {
        return Seen::of(identity.pid);
    }
    let conf = conf_argument(&dir.join(CONF_DIR).join("dnsmasq.conf"));
    let is_it = |seen: &Seen| seen.is_program("dnsmasq") && seen.args.iter().any(|arg| *arg == *conf);
    let Some(seen) = processes(of)?.into_iter().find(is_it) else { return Ok(None) };
    let (pid, shown) = (seen.identity.pid, record.display());
    tracing::error!(
        "'{shown}' is lost or broken; dnsmasq (process {pid}) was found by its arguments and is taken over"
    );
    if let Err(e) = note_identity(&record, seen.identity) {
        tracing::warn!("'{shown}' cannot be written again: {e}");
    }
    Ok(Some(seen))
}

/// The dnsmasq that [`find`] has found.
pub fn adopt(dir: &Path, identity: Identity) -> io::Result<Option<Dnsmasq>> {
    let Some(process) = Process::adopt(identity)? else { return Ok(None) };
    let log = reopen_fifo(&dir.join("dnsmasq.log"));
    let log = log.ok().map(|fd| StderrTail::start(fd, format!("dnsmasq of {}", dir.display())));
    Ok(Some(Dnsmasq { process, _log: log }))
}

/// The leases of a dnsmasq whose lease file was removed: it goes on with that, though it has no name any more, whatever
/// stands there now. `None`: it has the file that is there. It may take a while.
pub fn nameless_leases(dir: &Path, dnsmasq: Identity) -> io::Result<Option<Vec<u8>>> {
    match read_nameless(dnsmasq) {
        Ok(Some(leases)) => Ok(Some(leases)),
        // Another user's descriptors are not seen without the right to trace it.
        _ if lease_file(dir).try_exists()? => Ok(None),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        Err(e) => Err(e),
    }
}

fn read_nameless(dnsmasq: Identity) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let ends = format!("/{LEASE_DIR}/{LEASES} (deleted)");
    for entry in std::fs::read_dir(format!("/proc/{}/fd", dnsmasq.pid))? {
        let path = entry?.path();
        if !std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().ends_with(&ends)) {
            continue;
        }
        // What dnsmasq has open there may be anything.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = std::fs::File::options().read(true).custom_flags(flags).open(&path)?;
        let is = file.metadata()?;
        if !is.is_file() || is.len() > LEASES_LIMIT {
            continue;
        }
        let mut leases = Vec::new();
        file.take(LEASES_LIMIT).read_to_end(&mut leases)?;
        return Ok(Some(leases));
    }
    Ok(None)
}

/// Writes a lease file for a dnsmasq that is to be started, as this user.
pub fn restore_leases(dir: &Path, leases: &[u8], run_as: Option<&RunAs>) -> io::Result<()> {
    let owner = run_as.map(|user| (user.uid, user.gid));
    let dir = Dir::open(dir)?;
    dir.remove(LEASE_DIR)?;
    // Nobody else writes there before it is given away.
    let new = dir.make(LEASE_DIR, 0o700, None)?;
    new.write(LEASES, leases, 0o600, owner)?;
    new.give(0o700, owner)
}

impl Dnsmasq {
    /// Ends it.
    pub async fn stop(self) -> Result<(), ProcessError> {
        self.process.terminate(GRACE).await.map(drop)
    }
}

/// Reads a lease file ([`lease_file`]); no file means no leases, and a line that is not understood is left out. What is no
/// file of dnsmasq's own, or longer than 4 MiB, is an error. It may take a while: not for the thread that answers calls.
pub fn read_leases(path: &Path) -> io::Result<Vec<Lease>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let text = match Dir::open(dir).and_then(|dir| dir.read(name, LEASES_LIMIT)) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(Vec::new()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    Ok(parse_leases(&String::from_utf8_lossy(&text)))
}

/// The leases of a lease file's text: `EXPIRY MAC ADDRESS HOSTNAME CLIENT-ID`, `*` for what is not known;
/// after a line `duid …` come DHCPv6 leases, with the IAID where the MAC was.
pub fn parse_leases(text: &str) -> Vec<Lease> {
    let mut leases = Vec::new();
    let mut v6 = false;
    let mut strange = 0u64;
    for line in text.lines() {
        if line.starts_with("duid ") {
            v6 = true;
            continue;
        }
        match parse_lease(line, v6) {
            Some(lease) => leases.push(lease),
            None if strange == 0 => {
                let start: String = line.chars().take(100).collect();
                tracing::warn!("a lease is not understood: '{}'", start.escape_debug());
                strange += 1;
            }
            None => strange += 1,
        }
    }
    if strange > 1 {
        tracing::warn!("{strange} leases are not understood");
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
    fn root_writes_where_dnsmasq_cannot_and_takes_a_former_lease_file_over() {
        use std::os::unix::fs::MetadataExt;
        let temp = tempfile::tempdir().unwrap();
        let former = temp.path().join("dnsmasq");
        std::fs::create_dir(&former).unwrap();
        std::fs::write(former.join("leases"), "1 52:54:00:00:00:02 192.168.122.3 * *\n").unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let run_as = is_root.then(|| RunAs { uid: 64_200, gid: 64_200, groups: Vec::new() });
        if is_root {
            std::os::unix::fs::chown(&former, Some(64_199), None).unwrap();
            std::os::unix::fs::chown(former.join("leases"), Some(64_199), None).unwrap();
        }
        assert_eq!(read_leases(&lease_file(temp.path())).unwrap().len(), 1);
        let (conf, hosts) = ("port=0\n".to_owned(), String::new());
        let spec = DnsmasqSpec { dir: temp.path().to_owned(), conf, hosts, run_as, reads: None };
        for _ in 0..2 {
            write_files(&spec).unwrap();
            assert_eq!(read_leases(&lease_file(temp.path())).unwrap().len(), 1);
        }
        let is = |name: &str| {
            let meta = std::fs::symlink_metadata(temp.path().join(name)).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        assert!(!former.exists());
        if is_root {
            assert_eq!(is("conf"), (0, 64_200, 0o750));
            assert_eq!(is("conf/dnsmasq.conf"), (0, 64_200, 0o640));
            assert_eq!(is("leases"), (64_200, 64_200, 0o700));
            assert_eq!(is("leases/leases"), (64_200, 64_200, 0o600));
        } else {
            assert_eq!((is("conf").2, is("conf/dnsmasq.conf").2, is("leases").2), (0o700, 0o600, 0o700));
        }
    }

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
