//! Real guests: the image, their documents, and the line protocol of their serial console.
//!
//! Owns the build of the image (`tests/guest/`, kept in the build directory) and the console's protocol.
//! Must never start QEMU: that is what is under test.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::world::World;

/// A boot takes some seconds alone, and more on a machine that does much else.
const BOOT: Duration = Duration::from_secs(400);
/// Longest command of the tests: a DHCP exchange.
const COMMAND: Duration = Duration::from_secs(160);

/// The directory with `kernel` and `initrd`, built at the first call.
pub(crate) fn guest_files() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            // CARGO_TARGET_TMPDIR is `tmp` in the target directory, wherever that is.
            let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("guest");
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/build.sh");
            let status = Command::new("bash").arg(script).arg(&dir).status().expect("bash is installed");
            assert!(status.success(), "the test guest cannot be built: its message is above");
            dir
        })
        .clone()
}

/// What tells the kernel of a guest how fast its clock ticks: it measures wrong while it boots on a busy machine, and
/// then its seconds are short. Empty where this machine cannot tell.
pub(crate) fn clock() -> &'static str {
    static CLOCK: OnceLock<String> = OnceLock::new();
    CLOCK.get_or_init(|| {
        let file = guest_files().join("clock");
        std::fs::read_to_string(file).expect("it was made with the guest").trim().to_owned()
    })
}

/// A turn to boot a guest. There are as many as the machine has CPUs, whoever runs the tests: a guest that boots takes
/// one whole, and beside more of them each would only take longer.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held")] File);

impl Turn {
    /// Waits for one.
    pub(crate) async fn wait() -> Self {
        let turns = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
        let dir = guest_files();
        loop {
            for turn in 0..turns {
                let file =
                    File::create(dir.join(format!("turn-{turn}"))).expect("the build directory is writable");
                if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    return Self(file);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The lines of `<os>` that boot the test guest directly.
fn boot(name: &str) -> String {
    let dir = World::DIR;
    format!(
        "<kernel>{dir}/guest/kernel</kernel><initrd>{dir}/guest/initrd</initrd>\
         <cmdline>console=ttyS0 quiet panic=-1 mitigations=off {} warren.name={name}</cmdline>",
        clock()
    )
}

/// A document of `examples/` as it stands.
pub(crate) fn example(file: &str) -> String {
    let path = format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path} can be read: {e}"))
}

/// The document of a test guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestXml {
    name: String,
    devices: String,
    os: String,
}

impl GuestXml {
    /// A guest without a NIC, with a serial console.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), devices: String::new(), os: boot(name) }
    }

    /// Without kernel and disk: it asks the network what to boot.
    pub(crate) fn diskless(mut self) -> Self {
        self.os = "<boot dev='network'/>".into();
        self
    }

    /// With this kernel in place of the image's.
    pub(crate) fn with_kernel(mut self, path: &str) -> Self {
        self.os = format!("<kernel>{path}</kernel>");
        self
    }

    /// With these device elements, after those that are there.
    pub(crate) fn with(mut self, devices: &str) -> Self {
        self.devices += devices;
        self
    }

    /// With a NIC on this network.
    pub(crate) fn on_network(self, network: &str) -> Self {
        let source = format!("<source network='{network}'/><model type='virtio'/>");
        self.with(&format!("<interface type='network'>{source}</interface>"))
    }

    /// A domain document of `examples/`, booted as a test guest: only what its comments ask to be put
    /// there (kernel, paths) is put there, and a serial console where it has none.
    pub(crate) fn from_example(file: &str) -> String {
        let text = example(file);
        let name = text.split("<name>").nth(1).and_then(|rest| rest.split("</name>").next());
        let name = name.expect("an example has a name");
        // The rest of `<os>` follows the type.
        let mut text = text.replacen(">hvm</type>", &format!(">hvm</type>{}", boot(name)), 1);
        if !text.contains("<serial") {
            text = text.replacen("</devices>", "<serial type='pty'/></devices>", 1);
        }
        text
    }
}

impl fmt::Display for GuestXml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<domain type='qemu'>\n  <name>{name}</name>\n  <memory unit='MiB'>96</memory>\n  <vcpu>1</vcpu>\n  \
             <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>\n  \
             <devices>\n    {devices}\n    <serial type='pty'/>\n  </devices>\n</domain>\n",
            name = self.name,
            boot = self.os,
            devices = self.devices
        )
    }
}

/// The serial console of a test guest.
#[derive(Debug)]
pub(crate) struct Console {
    stream: UnixStream,
    seen: String,
}

impl Console {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let stream = StdUnixStream::from(fd);
        stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        Self { stream: UnixStream::from_std(stream).expect("a socket can be watched"), seen: String::new() }
    }

    /// Waits until the guest has booted. Its NICs in the guest's order: name and MAC.
    pub(crate) async fn booted(&mut self) -> Vec<(String, String)> {
        let text = self.until("READY", BOOT).await;
        Self::nics(&text)
    }

    fn nics(text: &str) -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("NIC "));
        lines.filter_map(|line| line.split_once(' ')).map(|(n, m)| (n.to_owned(), m.to_owned())).collect()
    }

    /// Runs a shell line in the guest: its output and exit status.
    pub(crate) async fn try_run(&mut self, line: &str) -> (String, i32) {
        static TAG: AtomicU32 = AtomicU32::new(1);
        let tag = TAG.fetch_add(1, Ordering::Relaxed);
        assert!(line.len() < 2000, "a console takes lines of less than 4096 bytes");
        self.stream.write_all(format!("T{tag} {line}\n").as_bytes()).await.expect("the console takes input");
        self.until(&format!("BEGIN T{tag}\n"), COMMAND).await;
        let output = self.until(&format!("DONE T{tag} "), COMMAND).await;
        let status = self.until("\n", COMMAND).await;
        (output.trim().to_owned(), status.trim().parse().unwrap_or(-1))
    }

    /// Runs a shell line in the guest, which must succeed: its output.
    pub(crate) async fn run(&mut self, line: &str) -> String {
        let (output, status) = self.try_run(line).await;
        assert_eq!(status, 0, "'{line}' succeeds in the guest: {output}");
        output
    }

    /// Asks DHCP on this NIC: the address, which must come, without its prefix.
    pub(crate) async fn lease(&mut self, nic: &str) -> String {
        let output = self.run(&format!("lease {nic}")).await;
        let address = output.strip_prefix(&format!("LEASE {nic} ")).and_then(|rest| rest.split('/').next());
        address.unwrap_or_else(|| panic!("the guest got a lease: {output}")).to_owned()
    }

    /// Whether that address answers the guest's pings.
    pub(crate) async fn reaches(&mut self, address: &str) -> bool {
        self.try_run(&format!("reach {address}")).await.1 == 0
    }

    /// Reads until `mark`; what came before it.
    async fn until(&mut self, mark: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(mark) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + mark.len());
                return before;
            }
            match tokio::time::timeout_at(deadline, self.stream.read(&mut buffer)).await {
                Ok(Ok(0)) => panic!("the console closed before '{mark}' came; so far: {}", self.seen),
                Ok(Ok(n)) => self.seen += &String::from_utf8_lossy(&buffer[..n]).replace('\r', ""),
                Ok(Err(e)) => panic!("the console can be read: {e}"),
                Err(_) => panic!("in {patience:?} no '{mark}' came on the console; so far: {}", self.seen),
            }
        }
    }
}
