//! The nethost and its uplink, with real namespaces, nft, dnsmasq and pasta.
//!
//! As root each runs its helpers under an ordinary uid; the ordinary user's own case is the same test
//! run again by `setpriv`.
#![expect(unsafe_code, reason = "each test thread takes namespaces of its own")]
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/records.rs"]
mod records;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use warren::sys::bridge_helper::BridgeHelperError;
use warren::sys::nethost::{self, NethostError};
use warren::sys::netlink::BridgeSpec;
use warren::sys::netspace::NetSpace;
use warren::sys::pasta::{self, PastaError};
use warren::sys::process::{Exit, Process, Purpose, RunAs, Spawn, read_identity};
use warren::sys::{bridge_helper, dnsmasq, nft, tap};

const EXE: &str = env!("CARGO_BIN_EXE_warrend");
const SOON: Duration = Duration::from_secs(60);

fn ordinary_user() -> Option<RunAs> {
    is_root().then(|| RunAs { uid: 64_000, gid: 64_000, groups: Vec::new() })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A run directory; what a failed test leaves running is ended with it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in ["pasta.stat", "nethost.stat"] {
            let Ok(Some(noted)) = read_identity(&self.path().join(name)) else { continue };
            let stat = format!("/proc/{}/stat", noted.pid);
            if read_identity(Path::new(&stat)).is_ok_and(|now| now == Some(noted))
                && let Some(pid) = rustix::process::Pid::from_raw(noted.pid)
            {
                _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn in_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        records::begin().await;
        test.await;
    });
}

/// Takes this test's thread away from the host's network and mounts.
fn unshare() {
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS;
    // SAFETY: nothing in this test's thread, nor in the children it starts, counts on the old ones.
    unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
    sh("mount --make-rprivate / && ip link set lo up");
}

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-ec", script]).status().unwrap().success(), "{script}");
}

/// Runs one test of this program again, in other circumstances.
fn again(how: &[&str], test: &str) {
    let program = std::env::current_exe().unwrap();
    let (first, rest) = how.split_first().unwrap();
    let output = Command::new(first)
        .args(rest)
        .arg(program)
        .args(["--exact", "--ignored", "--nocapture", test])
        .env_remove("TMPDIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}{err}");
}

async fn life(dir: &Path) {
    let user = ordinary_user();
    let one = nethost::find_or_start(dir, Path::new(EXE), user.clone()).await.unwrap();
    let two = nethost::find_or_start(dir, Path::new(EXE), user.clone()).await.unwrap();
    assert_eq!(one.process().identity(), two.process().identity());
    if let Some(user) = &user {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", one.process().identity().pid)).unwrap();
        assert!(status.contains(&format!("Uid:\t{0}\t{0}", user.uid)), "{status}");
    }
    network_of(&two.space(), dir, user).await;

    let found = nethost::find(dir).await.unwrap().unwrap();
    let identity = found.process().identity();
    found.stop().await.unwrap();
    assert!(Process::adopt(identity).unwrap().is_none());
    assert!(nethost::find(dir).await.unwrap().is_none());
    let gone = two.space().open_tap("wtap%d", true).await.unwrap_err();
    assert!(warren::chain(&gone).contains("nobody answers"), "{}", warren::chain(&gone));
}

/// All that a network needs, in the nethost's space, and nothing of it on the host.
async fn network_of(space: &NetSpace, dir: &Path, user: Option<RunAs>) {
    let netlink = space.netlink().await.unwrap();
    assert!(netlink.link("lo").await.unwrap().unwrap().up);
    assert_eq!(space.sysctl_get("net/ipv4/ip_forward").await.unwrap(), "1");
    space.sysctl("net/ipv4/ip_forward", "0").await.unwrap();
    assert_eq!(space.sysctl_get("net/ipv4/ip_forward").await.unwrap(), "0");
    assert!(space.sysctl_get("kernel/hostname").await.is_err());

    let bridge = BridgeSpec {
        name: "wbr77".to_owned(),
        mac: [0x52, 0x54, 0, 1, 2, 3],
        stp: false,
        delay_seconds: 0,
        mtu: 1500,
        alias: "warren:test".to_owned(),
    };
    let bridge = netlink.create_bridge(&bridge).await.unwrap();
    netlink.set_up(bridge, true).await.unwrap();
    netlink.add_address(bridge, "192.168.177.1/24".parse().unwrap()).await.unwrap();
    assert!(NetSpace::host().netlink().await.unwrap().link("wbr77").await.unwrap().is_none());

    let tap = space.open_tap("wtap%d", true).await.unwrap();
    let link = netlink.link(&tap.name).await.unwrap().unwrap();
    netlink.set_master(link.index, Some(bridge)).await.unwrap();
    let again = space.open_tap(&tap.name, true).await.unwrap_err().to_string();
    assert!(again.contains("already exists"), "{again}");
    let name = tap.name.clone();
    drop(tap);
    // A child that another test forks just now has the descriptor too, until it is executed.
    let gone = async {
        while netlink.link(&name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("a TAP ends with its last descriptor");

    nft::apply(space, "table inet warren_t { chain c { type filter hook forward priority 0; }; }")
        .await
        .unwrap();
    assert!(nft::tables(space).await.unwrap().contains(&("inet".to_owned(), "warren_t".to_owned())));

    let leases = dnsmasq::new_lease_file(dir);
    let conf = format!(
        "interface=wbr77\nexcept-interface=lo\nbind-dynamic\nno-resolv\nno-hosts\nlog-facility=-\n\
         dhcp-range=192.168.177.2,192.168.177.254\ndhcp-leasefile={}\n",
        leases.display()
    );
    let spec = dnsmasq::DnsmasqSpec {
        dir: dir.to_owned(),
        conf,
        hosts: String::new(),
        run_as: user,
        reads: Some(Vec::new()),
    };
    if is_root() {
        // The directories above the lease file are passed by another uid.
        sh(&format!("chmod 711 {}", dir.display()));
    }
    let served = dnsmasq::start(space, &spec).await.unwrap();
    served.stop().await.unwrap();
}

#[test]
fn a_nethost_is_a_network_without_root() {
    let dir = Home::new();
    in_runtime(life(dir.path()));
}

#[test]
fn an_ordinary_user_has_one_too() {
    if is_root() {
        again(&["setpriv", "--reuid=64001", "--regid=64001", "--clear-groups"], "ordinary_user_case");
    }
}

#[test]
#[ignore = "run by an_ordinary_user_has_one_too"]
fn ordinary_user_case() {
    assert!(!is_root());
    let dir = Home::new();
    in_runtime(life(dir.path()));
}

#[test]
fn a_host_that_forbids_namespaces_is_told_how_to_allow_them() {
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
    again(&["unshare", "--user", "--map-root-user", "sh", "-c", forbid], "forbidden_case");
}

#[test]
#[ignore = "run by a_host_that_forbids_namespaces_is_told_how_to_allow_them"]
fn forbidden_case() {
    let dir = Home::new();
    in_runtime(async {
        let error = nethost::find_or_start(dir.path(), Path::new(EXE), None).await.unwrap_err();
        assert!(matches!(error, NethostError::Forbidden { .. }), "{}", warren::chain(&error));
        assert!(error.to_string().contains("user.max_user_namespaces"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no traces are left");
    });
}

#[test]
fn a_silent_nethost_is_named_and_not_replaced() {
    let dir = Home::new();
    in_runtime(async {
        let nethost = nethost::find_or_start(dir.path(), Path::new(EXE), ordinary_user()).await.unwrap();
        nethost.process().signal(Signal::STOP).unwrap();
        let pid = nethost.process().identity().pid;
        let error = nethost::find_or_start(dir.path(), Path::new(EXE), ordinary_user()).await.unwrap_err();
        assert!(matches!(error, NethostError::Silent { pid: named, .. } if named == pid));
        nethost.stop().await.unwrap();
    });
}

#[test]
fn traces_of_a_dead_nethost_do_not_matter() {
    let dir = Home::new();
    in_runtime(async {
        let nethost = nethost::find_or_start(dir.path(), Path::new(EXE), ordinary_user()).await.unwrap();
        nethost.process().signal(Signal::KILL).unwrap();
        nethost.process().exited().await;
        assert!(nethost::find(dir.path()).await.unwrap().is_none());
        let next = nethost::find_or_start(dir.path(), Path::new(EXE), ordinary_user()).await.unwrap();
        assert_ne!(next.process().identity(), nethost.process().identity());
        next.stop().await.unwrap();
    });
}

#[test]
fn pasta_is_the_way_out_and_no_way_to_the_hosts_own_services() {
    if !is_root() {
        return;
    }
    unshare();
    let dir = Home::new();
    in_runtime(async {
        let nethost = nethost::find_or_start(dir.path(), Path::new(EXE), ordinary_user()).await.unwrap();
        let none = pasta::start(&nethost, dir.path(), ordinary_user()).await.unwrap_err();
        assert!(matches!(none, PastaError::NoUplink), "{}", warren::chain(&none));

        let mut outside = a_server_outside(dir.path());
        let secret = TcpListener::bind("127.0.0.1:7778").unwrap();
        let uplink = pasta::start(&nethost, dir.path(), ordinary_user()).await.unwrap();
        let space = nethost.space();
        let link = space.netlink().await.unwrap().link(&uplink.ifname).await.unwrap();
        assert!(link.is_some_and(|l| l.up));
        assert_eq!(ask(&space, "tcp/10.9.0.2/7777", "").await, "from outside");
        assert_eq!(ask(&space, &format!("udp/{}/53", uplink.dns), "q").await, "from a name server");
        for own in ["127.0.0.1", "10.9.0.1"] {
            assert_eq!(ask(&space, &format!("tcp/{own}/7778"), "").await, "", "the host's {own} is reached");
        }
        drop(secret);

        let uid = ordinary_user().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
        let adopt = || pasta::adopt(dir.path(), uid);
        let adopted = adopt().await.unwrap().unwrap();
        assert_eq!(adopted.process.identity(), uplink.process.identity());
        assert_eq!((&adopted.ifname, adopted.dns), (&uplink.ifname, uplink.dns));

        // A pasta of a former nethost is not taken for this one's, and does not stay.
        nethost.stop().await.unwrap();
        let next = nethost::find_or_start(dir.path(), Path::new(EXE), ordinary_user()).await.unwrap();
        assert!(adopt().await.unwrap().is_none());
        let second = pasta::start(&next, dir.path(), ordinary_user()).await.unwrap();
        assert!(Process::adopt(uplink.process.identity()).unwrap().is_none());
        assert_eq!(ask(&next.space(), "tcp/10.9.0.2/7777", "").await, "from outside");
        second.stop().await.unwrap();
        assert!(next.space().netlink().await.unwrap().link("wuplink").await.unwrap().is_none());
        next.stop().await.unwrap();
        outside.kill().unwrap();
        outside.wait().unwrap();
    });
}

#[test]
fn the_bridge_helper_gives_a_tap_where_it_is_allowed() {
    if !is_root() {
        return;
    }
    unshare();
    sh("mount -t tmpfs tmpfs /etc; mkdir /etc/qemu; ip link add wbr5 type bridge");
    in_runtime(async {
        let refused = bridge_helper::bridge_tap("wbr5").await.unwrap_err();
        assert!(matches!(refused, BridgeHelperError::NotAllowed { .. }), "{refused}");
        std::fs::write("/etc/qemu/bridge.conf", "allow wbr5\n").unwrap();
        let fd = bridge_helper::bridge_tap("wbr5").await.unwrap();
        let name = tap::name_of(&fd).unwrap();
        let netlink = NetSpace::host().netlink().await.unwrap();
        let bridge = netlink.link("wbr5").await.unwrap().unwrap();
        assert_eq!(netlink.link(&name).await.unwrap().unwrap().master, Some(bridge.index));
        let missing = bridge_helper::bridge_tap("wbr6").await.unwrap_err();
        assert!(missing.to_string().contains("wbr6"), "{missing}");
    });
}

/// What a child in that space reads from an address as bash writes it, after it sent `question`.
async fn ask(space: &NetSpace, address: &str, question: &str) -> String {
    let script = format!("exec 3<>/dev/{address}; printf '{question}' >&3; timeout 10 head -n1 <&3");
    let output = Spawn::brief("bash", Purpose::Script).args(["-c", &script]).enter(space);
    let output = output.output(None, SOON).await.unwrap();
    let answered = output.exit == Exit::Code(0);
    if answered { String::from_utf8_lossy(&output.stdout).trim().to_owned() } else { String::new() }
}

/// Gives this thread's network a way out to 10.9.0.2 in another namespace, where a TCP server, and a
/// name server of sorts, answer. The child keeps that namespace.
fn a_server_outside(dir: &Path) -> std::process::Child {
    let program = std::env::current_exe().unwrap();
    let child = Command::new("unshare")
        .arg("--net")
        .arg(program)
        .args(["--exact", "--ignored", "outside_case", "--nocapture"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ready = || {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        of(&child.id().to_string()) != of("thread-self")
    };
    while !ready() {
        std::thread::sleep(Duration::from_millis(10));
    }
    sh(&format!(
        "ip link add v0 type veth peer name v1 netns {pid}
         ip addr add 10.9.0.1/24 dev v0; ip link set v0 up; ip route add default via 10.9.0.2
         nsenter -t {pid} -n sh -ec 'ip addr add 10.9.0.2/24 dev v1; ip link set v1 up; ip link set lo up'
         echo nameserver 10.9.0.2 >{dir}/resolv.conf; mount --bind {dir}/resolv.conf /etc/resolv.conf",
        pid = child.id(),
        dir = dir.display(),
    ));
    child.stdin.as_ref().unwrap().write_all(b"go").unwrap();
    child
}

#[test]
#[ignore = "run by a_server_outside"]
fn outside_case() {
    std::io::stdin().read_exact(&mut [0; 2]).unwrap();
    std::thread::spawn(|| {
        let socket = UdpSocket::bind("10.9.0.2:53").unwrap();
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
            socket.send_to(b"from a name server\n", peer).unwrap();
        }
    });
    for peer in TcpListener::bind("10.9.0.2:7777").unwrap().incoming() {
        peer.unwrap().write_all(b"from outside\n").unwrap();
    }
}
