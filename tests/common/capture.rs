//! What passes on an interface, and on a multicast group.
//!
//! Owns the capture (by tcpdump, read back as pcap) and the plain UDP socket. Must never send.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, socket, sockopt};

use super::world::{World, command_as, eventually};

/// A running capture of all frames on one interface.
#[derive(Debug)]
pub(crate) struct Capture {
    file: PathBuf,
    interface: String,
    child: Child,
}

impl Capture {
    /// Starts it on this interface of the test's machine; returns once it captures.
    pub(crate) async fn start(world: &World, interface: &str) -> Self {
        let file = world.path(&format!("capture-{interface}.pcap"));
        let log = world.path(&format!("capture-{interface}.log"));
        let child = command_as(0, "tcpdump")
            .args(["-i", interface, "-n", "-U", "--immediate-mode", "-Z", "root", "-w"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("files of the world can be written"))
            .spawn()
            .expect("tcpdump is installed");
        eventually(&format!("tcpdump listens on {interface}"), Duration::from_secs(10), async || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on")).then_some(())
        })
        .await;
        Self { file, interface: interface.into(), child }
    }

    /// The frames so far, each from its destination MAC on.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let data = std::fs::read(&self.file).unwrap_or_default();
        let mut frames = Vec::new();
        // A pcap file: a header of 24 bytes, then records with their length at byte 8 of 16.
        let mut rest = data.get(24..).unwrap_or_default();
        while let Some(length) = rest.get(8..12) {
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let Some(frame) = rest.get(16..16 + length) else { break };
            frames.push(frame.to_vec());
            rest = &rest[16 + length..];
        }
        frames
    }

    /// How many frames hold these bytes.
    pub(crate) fn count(&self, bytes: &[u8]) -> usize {
        self.frames().iter().filter(|frame| holds(frame, bytes)).count()
    }

    /// Waits for a frame with these bytes.
    pub(crate) async fn expect(&self, bytes: &[u8]) {
        let what = format!("'{}' passes on {}", String::from_utf8_lossy(bytes), self.interface);
        eventually(&what, Duration::from_secs(10), async || (self.count(bytes) > 0).then_some(())).await;
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended with its interface; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `bytes` are anywhere in `frame`.
pub(crate) fn holds(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}

/// A plain UDP socket that has joined this multicast group on the interface with `local`.
pub(crate) fn join_group(group: Ipv4Addr, port: u16, local: Ipv4Addr) -> UdpSocket {
    let fd = socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a UDP socket can be made");
    // QEMU has bound the same address, and says so in the same way.
    sockopt::set_socket_reuseaddr(&fd, true).expect("the address can be shared");
    bind(&fd, &SocketAddrV4::new(group, port)).expect("the group's address can be bound");
    sockopt::set_ip_add_membership(&fd, &group, &local).expect("the group can be joined");
    let socket = UdpSocket::from(fd);
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a deadline");
    socket
}
