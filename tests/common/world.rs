//! A world for each test: its own network, mount, process and IPC namespaces.
//!
//! Owns the namespaces and what is laid out in them. A test function calls [`world`], which starts the
//! test binary once more inside fresh namespaces, for this one test; there the body runs, as root of a
//! machine that has only a loopback. When the inner process ends, or the outer one is killed, the kernel
//! ends all that was started. Must never leave anything on the machine: `/run` is a tmpfs of the
//! world, and all files of a test are in [`World::DIR`].

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::guest::guest_files;

/// Set in the inner process.
const INSIDE: &str = "WARREN_TEST_WORLD";
/// No test may take longer, from start to end.
const PATIENCE: Duration = Duration::from_secs(900);
/// How much slower than an idle machine one may be that does much else.
const BUSY: u32 = 5;

/// An ordinary user of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
}

/// One ordinary user.
pub(crate) const ALICE: User = User { name: "warren-alice", uid: 61001 };
/// Another one.
pub(crate) const BOB: User = User { name: "warren-bob", uid: 61002 };
/// A third one.
pub(crate) const CAROL: User = User { name: "warren-carol", uid: 61003 };

/// Held by each test for as long as its world is there, and by one that measures times alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// Runs the test `body` in a world of its own. Panics with all that was printed there if it fails.
pub(crate) fn world<F: AsyncFnOnce(World)>(body: F) {
    let _beside_others = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    run(body);
}

/// As [`world`], while no other test of this binary has a world.
pub(crate) fn world_alone<F: AsyncFnOnce(World)>(body: F) {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    run(body);
}

fn run<F: AsyncFnOnce(World)>(body: F) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a tokio runtime starts").block_on(async { body(World::lay_out()).await });
        return;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "end-to-end tests need root for namespaces of their own: run them by 'make test', which asks sudo"
    );
    guest_files();
    // The body's type is named after the function that holds it: `e2e::theme::test::{{closure}}`.
    let name = std::any::type_name::<F>().split("::").skip(1).collect::<Vec<_>>();
    let name = name.split(|part| *part == "{{closure}}").next().unwrap_or_default().join("::");
    run_inside(&name);
}

fn run_inside(test: &str) {
    let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let out = log.reopen().expect("the temporary file can be opened again");
    let err = out.try_clone().expect("a descriptor can be duplicated");
    let exe = std::env::current_exe().expect("the test binary knows its path");
    // The shell is process 1 in there: it reaps what loses its parent. `setpriv` ends all when we end.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--ipc", "--pid", "--fork"])
        .args(["--mount-proc", "--kill-child", "sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .expect("setpriv and unshare (util-linux) are installed");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if Instant::now() > deadline {
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status.is_none() {
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }
    let text = std::fs::read_to_string(log.path()).unwrap_or_default();
    // The verdict of the inner process is ours, and counted once.
    text.lines().filter(|line| !line.starts_with("test result:")).for_each(|line| println!("{line}"));
    let status = status.unwrap_or_else(|| panic!("{test} took longer than {PATIENCE:?}"));
    assert!(status.success(), "{test} failed in its world: {status}");
    assert!(text.contains("1 passed"), "no test is named '{test}'");
}

/// The machine of one test. There is one in each inner process.
#[derive(Debug)]
pub(crate) struct World {}

impl World {
    /// Holds everything of the test: short, so that socket paths stay short.
    pub(crate) const DIR: &str = "/run/w";

    fn lay_out() -> Self {
        let world = Self {};
        assert!(Path::new("/dev/net/tun").exists(), "/dev/net/tun is missing: run scripts/setup.sh");
        world.sh("mount -t tmpfs -o mode=755 tmpfs /run && mount -t sysfs sysfs /sys
             mkdir -p /run/netns /run/w/bin /run/w/guest /run/w/examples && ip link set lo up
             sysctl -q -w net.ipv4.ping_group_range='0 2147483647'
             cp /etc/passwd /etc/group /run/w/");
        let mut passwd = std::fs::read_to_string("/run/w/passwd").expect("/etc/passwd was copied");
        let mut group = std::fs::read_to_string("/run/w/group").expect("/etc/group was copied");
        for User { name, uid } in [ALICE, BOB, CAROL] {
            let _ = writeln!(passwd, "{name}:x:{uid}:{uid}::/run/w/home-{name}:/bin/sh");
            let _ = writeln!(group, "{name}:x:{uid}:");
            world.sh(&format!("install -d -m 0700 -o {uid} -g {uid} /run/w/home-{name}"));
        }
        std::fs::write("/run/w/passwd", passwd).expect("files of the world can be written");
        std::fs::write("/run/w/group", group).expect("files of the world can be written");
        world.sh("mount --bind /run/w/passwd /etc/passwd && mount --bind /run/w/group /etc/group");
        // Ordinary users reach these here, wherever the build directory is.
        let source = env!("CARGO_MANIFEST_DIR");
        for (what, at) in [
            (env!("CARGO_BIN_EXE_warrend"), "bin/warrend"),
            (env!("CARGO_BIN_EXE_warrenctl"), "bin/warrenctl"),
        ] {
            world.sh(&format!("touch /run/w/{at} && mount --bind '{what}' /run/w/{at}"));
        }
        world.sh(&format!("mount --bind '{}' /run/w/guest", guest_files().display()));
        world.sh(&format!("mount --bind '{source}/examples' /run/w/examples"));
        world
    }

    /// A path under the world's directory.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        Path::new(Self::DIR).join(relative)
    }

    /// Writes a file under the world's directory, readable by all; executable if it is a script.
    pub(crate) fn write(&self, relative: &str, content: &str) -> PathBuf {
        let path = self.path(relative);
        std::fs::write(&path, content).expect("files of the world can be written");
        let mode = if content.starts_with("#!") { "755" } else { "644" };
        self.sh(&format!("chmod {mode} '{}'", path.display()));
        path
    }

    /// Runs a shell script on the test's machine; it must succeed. Its standard output, trimmed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.try_sh(script).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As [`World::sh`]; a failure is answered with what was printed.
    pub(crate) fn try_sh(&self, script: &str) -> Result<String, String> {
        let output = Command::new("sh").args(["-e", "-c", script]).output().expect("sh is installed");
        let stdout = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        Err(format!(
            "'{script}' failed, {}: {stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Another host: a network namespace with only a loopback, in which processes are run by [`World::on`].
    pub(crate) fn add_host(&self, host: &str) {
        self.sh(&format!("ip netns add {host} && ip -n {host} link set lo up"));
    }

    /// A cable from `near` on the test's machine to `far` on `host`. Both ends are up; `near` has
    /// the address `near_ip`, `far` the address `far_ip` (each `ADDRESS/PREFIX`, or empty for none).
    pub(crate) fn cable(&self, near: &str, near_ip: &str, host: &str, far: &str, far_ip: &str) {
        self.sh(&format!(
            "ip link add {near} type veth peer name {far} netns {host}
             ip link set {near} up && ip -n {host} link set {far} up
             if [ -n '{near_ip}' ]; then ip address add '{near_ip}' dev {near}; fi
             if [ -n '{far_ip}' ]; then ip -n {host} address add '{far_ip}' dev {far}; fi"
        ));
    }

    /// Runs a shell script on `host`; it must succeed.
    pub(crate) fn on(&self, host: &str, script: &str) -> String {
        self.sh(&format!("nsenter --net=/run/netns/{host} sh -ec '{script}'"))
    }

    /// Whether `address` answers a ping of `host` (empty: of the test's machine) within two seconds.
    pub(crate) fn pings(&self, host: &str, address: &str) -> bool {
        let enter = if host.is_empty() { String::new() } else { format!("nsenter --net=/run/netns/{host} ") };
        self.try_sh(&format!("{enter}ping -q -c 4 -i 0.5 -W 1 {address} | grep -q '[1-4] received'")).is_ok()
    }

    /// A directory of that user, mode 0700.
    pub(crate) fn user_dir(&self, relative: &str, uid: u32) -> PathBuf {
        let path = self.path(relative);
        self.sh(&format!("install -d -m 0700 -o {uid} -g {uid} '{}'", path.display()));
        path
    }
}

/// A command that runs as this user with no other groups, and with an environment of its own.
pub(crate) fn command_as(uid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}")).arg("--clear-groups").arg("--");
    if uid == 0 {
        command = Command::new(program);
    } else {
        command.arg(program);
    }
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C").stdin(Stdio::null());
    command.process_group(0);
    command
}

/// Asks until the answer is `Some`, at most `patience`, as an idle machine has it; panics saying what never happened.
pub(crate) async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let patience = patience * BUSY;
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "in {patience:?}, this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
