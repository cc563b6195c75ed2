//! The daemon under test: started, killed, started again.
//!
//! Owns its process, its directories and its log, which is printed when the test fails. Must never look
//! into the daemon's state but through the bus.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use super::bus::Bus;
use super::client::Client;
use super::world::{User, World, command_as, eventually};

/// Everything that Warren writes for this user is below.
pub(super) fn home(world: &World, uid: u32) -> PathBuf {
    world.path(&format!("warren-{uid}"))
}

/// What a service manager would set; the directories are made here as it would.
pub(super) fn environment(world: &World, uid: u32) -> Vec<(&'static str, String)> {
    let home = home(world, uid).display().to_string();
    world.sh(&format!(
        "for d in {home} {home}/state {home}/run {home}/config {home}/xdg; do
             [ -d $d ] || install -d -m 0755 -o {uid} -g {uid} $d; done; chmod 700 {home}/xdg"
    ));
    vec![
        ("STATE_DIRECTORY", format!("{home}/state")),
        ("RUNTIME_DIRECTORY", format!("{home}/run")),
        ("CONFIGURATION_DIRECTORY", format!("{home}/config")),
        ("XDG_RUNTIME_DIR", format!("{home}/xdg")),
        ("HOME", home),
        ("RUST_BACKTRACE", "1".into()),
        ("RUST_LOG", "warren=debug,info".into()),
    ]
}

/// A running `warrend`.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    scope: &'static str,
    user: u32,
    host: String,
    address: String,
}

impl Daemon {
    /// `warrend --system`, as root, on this bus.
    pub(crate) async fn system(world: &World, bus: &Bus) -> Self {
        Self::start(world, bus, "system", 0, "").await
    }

    /// `warrend --session` of this user, on the user's bus.
    pub(crate) async fn session(world: &World, bus: &Bus, uid: u32) -> Self {
        Self::start(world, bus, "session", uid, "").await
    }

    /// As [`Daemon::session`], on another host of the world.
    pub(crate) async fn session_on(world: &World, bus: &Bus, user: User, host: &str) -> Self {
        Self::start(world, bus, "session", user.uid, host).await
    }

    async fn start(world: &World, bus: &Bus, scope: &'static str, user: u32, host: &str) -> Self {
        let log = home(world, user).with_extension("log");
        let child = Self::spawn(world, &bus.address, scope, user, host, &log);
        let daemon = Self { child, log, scope, user, host: host.into(), address: bus.address.clone() };
        daemon.ready(&bus.connect(user).await, None).await;
        daemon
    }

    fn spawn(world: &World, address: &str, scope: &str, user: u32, host: &str, log: &PathBuf) -> Child {
        let output = File::options().create(true).append(true).open(log).expect("the log can be opened");
        let warrend = world.path("bin/warrend");
        let mut command = command_as(user, &warrend);
        if !host.is_empty() {
            command = command_as(0, "nsenter");
            command.arg(format!("--net=/run/netns/{host}")).arg("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={user}")]);
            command.arg("--clear-groups").arg(&warrend);
        }
        command
            .arg(format!("--{scope}"))
            .envs(environment(world, user))
            .env(format!("DBUS_{}_BUS_ADDRESS", scope.to_uppercase()), address)
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the daemon was built")
    }

    /// Waits until the service is on the bus. One that was killed may still be seen there.
    async fn ready(&self, client: &Client, killed: Option<String>) {
        let log = &self.log;
        eventually(
            &format!("warrend is on the bus; see {}", log.display()),
            Duration::from_secs(20),
            async || client.owner("org.warren1").await.filter(|owner| Some(owner) != killed.as_ref()),
        )
        .await;
    }

    /// SIGKILL, then a new daemon, ready to be called.
    pub(crate) async fn kill_and_restart(&mut self, world: &World, client: &Client) {
        let killed = client.owner("org.warren1").await;
        self.kill();
        self.child = Self::spawn(world, &self.address, self.scope, self.user, &self.host, &self.log);
        self.ready(client, killed).await;
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM; its status.
    pub(crate) async fn terminate(&mut self, world: &World) -> ExitStatus {
        world.sh(&format!("kill -TERM {}", self.child.id()));
        eventually("warrend ends when it is asked to", Duration::from_secs(30), async || {
            self.child.try_wait().expect("a child can be asked")
        })
        .await
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(200).collect::<Vec<_>>();
            eprintln!("---- {} (its last lines)", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        // A test may have killed it already; what it leaves dies with the world.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
