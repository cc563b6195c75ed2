//! QEMU's monitor, as whoever has taken over QEMU would use it: while no daemon is connected to it.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use super::client::Object;
use super::world::World;

/// A connection to QEMU's monitor, and whose it is.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    pub(crate) pid: u32,
}

impl Monitor {
    /// Of a running guest; to be called when its daemon is dead.
    pub(crate) fn of(world: &World, guest: &Object, pid: u32) -> Self {
        let uuid = guest.path.as_str().rsplit('/').next().expect("a path has a last part").replace('_', "-");
        let socket = world.sh(&format!("find /run/w -path '*/{uuid}/qmp.sock'"));
        let stream = UnixStream::connect(&socket).unwrap_or_else(|e| panic!("'{socket}': {e}"));
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket has a timeout");
        let answers = BufReader::new(stream.try_clone().expect("a descriptor can be duplicated"));
        let mut monitor = Self { stream, answers, pid };
        let greeting = monitor.read();
        assert!(greeting.get("QMP").is_some(), "{greeting}");
        monitor.run("qmp_capabilities", &json!({})).expect("QEMU negotiates");
        monitor
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("QEMU answers");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("QEMU says '{line}': {e}"))
    }

    /// What QEMU returns, or the text of its error.
    pub(crate) fn run(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        self.run_with(command, arguments, None)
    }

    /// As [`Self::run`], with a descriptor beside the command.
    pub(crate) fn run_with(
        &mut self,
        command: &str,
        arguments: &Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, String> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let parts = [IoSlice::new(line.as_bytes())];
        let sent = sendmsg(&self.stream, &parts, &mut ancillary, SendFlags::empty()).expect("QEMU reads");
        assert_eq!(sent, line.len(), "a short line is sent at once");
        loop {
            let answer = self.read();
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(error["desc"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    /// Gives QEMU a file, for reading; the name by which QEMU opens it as an image.
    pub(crate) fn give(&mut self, set: u32, file: &Path) -> String {
        let file = File::open(file).expect("the test's own file");
        self.run_with("add-fd", &json!({ "fdset-id": set }), Some(file.as_fd())).expect("QEMU takes it");
        format!("/dev/fdset/{set}")
    }

    /// The descriptor of QEMU's that is this, by the end of its name in `/proc`.
    pub(crate) fn descriptor(&self, end: &str) -> Option<(u32, PathBuf)> {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("QEMU runs");
        fds.flatten().find_map(|fd| {
            let target = std::fs::read_link(fd.path()).ok()?;
            let number = fd.file_name().to_str()?.parse().ok()?;
            target.to_str()?.ends_with(end).then_some((number, target))
        })
    }
}
