//! The person who is asked: by an authentication agent that the test is, through the real polkitd.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zbus::{OwnedVariant, Variant, interface};

use crate::callers::{NETWORK_XML, People};
use crate::common::{BOB, Client, World, command_as, error_name, eventually, world};

const AGENT: &str = "/org/freedesktop/PolicyKit1/AuthenticationAgent";
const POLKIT: &str = "org.freedesktop.PolicyKit1";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Begin { action: String, message: String, details: HashMap<String, String>, cookie: String },
    Cancel { cookie: String },
}

/// An agent that never answers.
struct Agent(UnboundedSender<Told>);

#[interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Agent {
    async fn begin_authentication(
        &self,
        action: String,
        message: String,
        _icon: String,
        details: HashMap<String, String>,
        cookie: String,
        _identities: Vec<(String, HashMap<String, OwnedVariant>)>,
    ) {
        let _ = self.0.send(Told::Begin { action, message, details, cookie });
        std::future::pending::<()>().await;
    }

    fn cancel_authentication(&self, cookie: String) {
        let _ = self.0.send(Told::Cancel { cookie });
    }
}

/// Such an agent on this connection, and what it is told.
pub(crate) async fn answers_nothing(client: &Client) -> UnboundedReceiver<Told> {
    let (sender, agent) = unbounded_channel();
    client.serve_at(AGENT, Agent(sender)).await;
    agent
}

async fn told(agent: &mut UnboundedReceiver<Told>) -> Told {
    let told = tokio::time::timeout(Duration::from_secs(60), agent.recv()).await;
    told.expect("polkit tells the agent in time").expect("the agent is there")
}

/// A call by busctl, in a process of Bob's that waits for a line before it calls.
fn caller(bus: &str, call: &str) -> Child {
    let script = format!("read -r _ && exec busctl --address='{bus}' call org.warren1 {call}");
    command_as(BOB.uid, "sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh is installed")
}

/// Makes polkit ask this agent for the calls of that process, and lets it call.
pub(crate) async fn ask_for(child: &mut Child, client: &Client) {
    let status = format!("/proc/{}/status", child.id());
    eventually("it runs as Bob", Duration::from_secs(10), async || {
        let status = std::fs::read_to_string(&status).expect("the child runs");
        status.contains(&format!("Uid:\t{}", BOB.uid)).then_some(())
    })
    .await;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("/proc is mounted");
    // The 22nd field, counted after the name, which is in parentheses and the second.
    let start = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19));
    let start: u64 = start.and_then(|field| field.parse().ok()).expect("a process has a start time");
    let process: HashMap<&str, Variant<'_>> = HashMap::from([
        ("pid", child.id().into()),
        ("start-time", start.into()),
        ("uid", i32::try_from(BOB.uid).expect("a small number").into()),
    ]);
    let body = (("unix-process", process), "C", AGENT);
    let authority = "org.freedesktop.PolicyKit1.Authority.RegisterAuthenticationAgent";
    client
        .call_on::<_, ()>(POLKIT, "/org/freedesktop/PolicyKit1/Authority", authority, &body)
        .await
        .expect("polkit takes an agent for a process of the same user");
    child.stdin.take().expect("it is a pipe").write_all(b"now\n").expect("the child reads");
}

/// The caller is gone, with its question open.
fn leave(mut child: Child) {
    child.kill().expect("a child can be killed");
    child.wait().expect("a child can be waited for");
}

#[test]
fn the_question_names_the_object_and_goes_with_its_caller() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let network = people.root.define_network(NETWORK_XML).await.expect("root may define");
        let mut agent = answers_nothing(&people.other).await;

        let call = format!("{} org.warren1.Network Start 'a{{sv}}' 0", network.path.as_str());
        let mut child = caller(&people.bus.address, &call);
        ask_for(&mut child, &people.other).await;
        let Told::Begin { action, message, details, cookie } = told(&mut agent).await else {
            panic!("the agent is asked first")
        };
        assert_eq!(action, "org.warren1.network.manage");
        assert_eq!(message, "Authentication is required to manage the virtual network lab");
        assert_eq!(details.get("polkit.caller-pid").map(String::is_empty), Some(false), "{details:?}");
        // Others are answered meanwhile.
        assert_eq!(network.xml().await.matches("lab").count(), 1);
        leave(child);
        assert_eq!(told(&mut agent).await, Told::Cancel { cookie });
        assert_eq!(network.state().await, "inactive", "what was asked is not done");

        // Before a document is read, the question cannot name what is in it.
        let call = "/org/warren1 org.warren1.Manager DefineNetwork 'sa{sv}' '<not even XML' 0";
        let mut child = caller(&people.bus.address, call);
        ask_for(&mut child, &people.other).await;
        // polkit may withdraw a question twice: when Warren asks it to, and when it misses the caller itself.
        let (message, cookie) = loop {
            if let Told::Begin { message, cookie, .. } = told(&mut agent).await {
                break (message, cookie);
            }
        };
        assert_eq!(message, "Authentication is required to define a virtual network");
        leave(child);
        assert_eq!(told(&mut agent).await, Told::Cancel { cookie });

        // Without the message's leave nobody is asked.
        let call = format!("{} org.warren1.Network Start 'a{{sv}}' 0", network.path.as_str());
        let call = format!("--allow-interactive-authorization=no {call}");
        let mut child = caller(&people.bus.address, &call);
        ask_for(&mut child, &people.other).await;
        assert!(!child.wait().expect("a child can be waited for").success());
        let refused = network.seen_by(&people.other).act("Start").await.expect_err("Bob may not");
        assert_eq!(error_name(&refused), "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
        while let Ok(told) = agent.try_recv() {
            assert!(matches!(told, Told::Cancel { .. }), "nobody is asked: {told:?}");
        }
    });
}

/// Gives root a password in this world, and lets polkit's own helper check it.
fn root_has_a_password(world: &World, bus: &str) {
    // Of "secret".
    let hash =
        "$6$warren$XKrdVcG4PXdcMX9.B/hHf2VR4uqDkXa5HUXXN4JnfseZ0mWMDJNnTkt/QdsnJKJsdtSClleS5Apiw5ESyB.oD.";
    world.write("shadow", &format!("root:{hash}:20000:0:99999:7:::\n"));
    world.sh("chmod 600 /run/w/shadow && mount --bind /run/w/shadow /etc/shadow && mkdir /run/w/pam");
    world.write("pam/polkit-1", "auth required pam_unix.so\naccount required pam_permit.so\n");
    let socket = bus.trim_start_matches("unix:path=").split(',').next().unwrap_or_default();
    // The helper is setuid, and so heeds no environment.
    world.sh(&format!(
        "mount --bind /run/w/pam /etc/pam.d && mkdir -p /run/dbus && ln -s {socket} /run/dbus/system_bus_socket"
    ));
}

#[test]
fn at_a_terminal_without_a_desktop_warrenctl_has_the_password_asked() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let network = people.root.define_network(NETWORK_XML).await.expect("root may define");
        root_has_a_password(&world, &people.bus.address);
        let mut terminal = command_as(BOB.uid, "script")
            .args(["-qefc", "/run/w/bin/warrenctl --system net start lab", "/dev/null"])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &people.bus.address)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is installed");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, heard) = (terminal.stdout.take().expect("it is a pipe"), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                heard.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        let shown = || shown.lock().expect("no panic").clone();
        let asked = "Authentication is required to manage the virtual network lab";
        eventually("the password is asked for", Duration::from_secs(20), async || {
            let shown = shown();
            (shown.contains(asked) && shown.contains("Password: ")).then_some(())
        })
        .await;
        assert_eq!(network.state().await, "inactive", "not before it is given");
        terminal.stdin.as_mut().expect("it is a pipe").write_all(b"secret\n").expect("script reads");
        let status = eventually("warrenctl ends", Duration::from_secs(30), async || {
            terminal.try_wait().expect("a child can be asked")
        })
        .await;
        assert!(status.success(), "{}", shown());
        assert_eq!(network.state().await, "active");
        eventually("the agent ends with it", Duration::from_secs(10), async || {
            world.try_sh("pgrep -x pkttyagent").is_err().then_some(())
        })
        .await;
    });
}
