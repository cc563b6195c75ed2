//! Private message buses, with the project's own policy and activation files, and the real polkitd.
//!
//! Owns their configuration. Must never connect to a bus of the machine.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use zbus::Connection;

use super::client::Client;
use super::world::{World, command_as};

/// A `dbus-daemon` of the test.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) address: String,
    socket: String,
    /// Dies with the world.
    _daemon: Child,
}

impl Bus {
    /// A bus with the rules of a system bus: what the policy files of this project and of polkit do not
    /// allow is refused. A call on the well-known name starts `warrend --system`.
    pub(crate) fn system(world: &World) -> Self {
        Self::system_with(world, &[])
    }

    /// The same with limits that are not a system bus's own.
    pub(crate) fn system_with(world: &World, limits: &[(&str, u32)]) -> Self {
        let source = env!("CARGO_MANIFEST_DIR");
        let limits: String =
            limits.iter().map(|(name, most)| format!("<limit name='{name}'>{most}</limit>")).collect();
        let policies = format!(
            "<policy context='default'><allow user='*'/><deny own='*'/><deny send_type='method_call'/>
               <allow send_type='signal'/><allow send_requested_reply='true' send_type='method_return'/>
               <allow send_requested_reply='true' send_type='error'/>
               <allow receive_type='method_call'/><allow receive_type='method_return'/>
               <allow receive_type='error'/><allow receive_type='signal'/>
               <allow send_destination='org.freedesktop.DBus' send_interface='org.freedesktop.DBus'/>
               <allow send_destination='org.freedesktop.DBus' send_interface='org.freedesktop.DBus.Introspectable'/>
             </policy>
             <include>/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf</include>
             <include>{source}/dbus/org.warren1.conf</include>{limits}"
        );
        Self::start(world, "system", 0, &policies, "org.warren1.service")
    }

    /// The session bus of this user, who alone may connect.
    pub(crate) fn session(world: &World, uid: u32) -> Self {
        let policies = "<policy context='default'><allow send_destination='*' eavesdrop='true'/>
            <allow eavesdrop='true'/><allow own='*'/></policy>";
        Self::start(world, "session", uid, policies, "org.warren1.session.service")
    }

    fn start(world: &World, kind: &str, uid: u32, policies: &str, service: &str) -> Self {
        let name = format!("bus-{kind}-{uid}");
        let dir = world.user_dir(&name, uid);
        let dir = dir.display();
        world.sh(&format!("chmod 755 {dir} && mkdir -p {dir}/services"));
        let exec = Self::exec_line(world, kind, uid);
        let file = std::fs::read_to_string(format!("{}/dbus/{service}", env!("CARGO_MANIFEST_DIR")))
            .expect("the activation file is in dbus/");
        let file = file.lines().map(|line| if line.starts_with("Exec=") { exec.as_str() } else { line });
        world.write(
            &format!("{name}/services/org.warren1.service"),
            &(file.collect::<Vec<_>>().join("\n") + "\n"),
        );
        let config = world.write(
            &format!("{name}/bus.conf"),
            &format!(
                "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
                 'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>
                 <busconfig><type>{kind}</type><listen>unix:path={dir}/socket</listen><auth>EXTERNAL</auth>
                 <servicedir>{dir}/services</servicedir>{policies}
                 <limit name='service_start_timeout'>100000</limit></busconfig>"
            ),
        );
        let mut daemon = command_as(uid, "dbus-daemon")
            .args(["--nofork", "--nosyslog", "--print-address=1"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        let stdout = daemon.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut address).expect("dbus-daemon prints its address");
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "dbus-daemon did not start: its message is above");
        Self { address, socket: format!("{dir}/socket"), _daemon: daemon }
    }

    /// How the bus starts the daemon: with the directories and the log file of a test.
    fn exec_line(world: &World, kind: &str, uid: u32) -> String {
        let script = format!(
            "#!/bin/sh\n{}\nexec {}/bin/warrend --{kind} 2>>{}/activated.log\n",
            super::daemon::environment(world, uid)
                .iter()
                .map(|(k, v)| format!("export {k}='{v}'\n"))
                .collect::<String>(),
            World::DIR,
            super::daemon::home(world, uid).display(),
        );
        let path = world.write(&format!("activate-{kind}-{uid}"), &script);
        format!("Exec={}", path.display())
    }

    /// A connection on which the bus sees this user as the caller.
    pub(crate) async fn connect(&self, uid: u32) -> Client {
        Self::over(self.socket(uid), uid).await
    }

    /// The same over a socket of [`Bus::socket`].
    pub(crate) async fn over(stream: UnixStream, uid: u32) -> Client {
        stream.set_nonblocking(true).expect("sockets can be made non-blocking");
        let connection: Connection = zbus::connection::Builder::unix_stream(stream)
            .user_id(uid)
            .method_timeout(Duration::from_secs(60))
            .build()
            .await
            .expect("the bus lets its users in");
        Client::new(connection)
    }

    /// The same before anything is said on it.
    pub(crate) fn socket(&self, uid: u32) -> UnixStream {
        let socket = self.socket.clone();
        let stream = std::thread::spawn(move || {
            // Of this thread alone: the kernel tells the bus the effective ids at the time of connect().
            let user = rustix::process::Uid::from_raw(uid);
            let group = rustix::process::Gid::from_raw(uid);
            if uid != 0 {
                rustix::thread::set_thread_groups(&[]).expect("root may drop groups");
                rustix::thread::set_thread_res_gid(None, group, None).expect("root may change its group");
                rustix::thread::set_thread_res_uid(None, user, None).expect("root may change its user");
            }
            UnixStream::connect(socket)
        });
        stream.join().expect("the thread does not panic").expect("the bus listens")
    }
}

/// The real polkitd on a private system bus, with this project's actions and rules of the test.
#[derive(Debug)]
pub(crate) struct Polkit {
    daemon: Child,
}

impl Polkit {
    /// Starts it. `rules` is the JavaScript of a rules file; empty for none.
    pub(crate) async fn start(world: &World, bus: &Bus, rules: &str) -> Self {
        let source = env!("CARGO_MANIFEST_DIR");
        world.sh(&format!(
            "mkdir -p /run/w/actions /run/w/rules /run/w/rules-etc && chmod 755 /run/w/rules /run/w/rules-etc
             cp /usr/share/polkit-1/actions/*.policy '{source}'/policy/*.policy /run/w/actions/
             mount --bind /run/w/actions /usr/share/polkit-1/actions
             mount --bind /run/w/rules /etc/polkit-1/rules.d"
        ));
        world.write("rules/10-test.rules", rules);
        let daemon = command_as(0, "/usr/lib/polkit-1/polkitd")
            .arg("--no-debug")
            .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)
            .stdout(Stdio::null())
            .spawn()
            .expect("polkitd is installed");
        let client = bus.connect(0).await;
        super::world::eventually("polkitd takes its name on the bus", Duration::from_secs(20), async || {
            client.has_owner("org.freedesktop.PolicyKit1").await.then_some(())
        })
        .await;
        Self { daemon }
    }

    /// Stops polkitd, or lets it go on, by a signal such as `STOP`.
    pub(crate) fn signal(&self, world: &World, signal: &str) {
        world.sh(&format!("kill -{signal} {}", self.daemon.id()));
    }

    /// Adds rules while polkitd runs; it watches the directory, and heeds them a moment later.
    pub(crate) fn add_rules(&self, world: &World, rules: &str) {
        world.write("rules/20-test.rules", rules);
    }
}
