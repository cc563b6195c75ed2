//! What differs at a terminal, which `script` makes here.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::service::Bus;

/// A command line on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    typed: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Runs a command of `sh` there, with a PATH on which `warrenctl` is first.
    pub(crate) fn run(bus: &Bus, command: &str, set: &[(&str, &str)]) -> Self {
        let here = std::path::Path::new(env!("CARGO_BIN_EXE_warrenctl")).parent().unwrap();
        let path = format!("{}:{}", here.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("script")
            .args(["-qefc", command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("PATH", path)
            .env("SHELL", "/bin/sh")
            .env("TERM", "vt100")
            .env("WARREN_SCOPE", "session")
            .env("DBUS_SESSION_BUS_ADDRESS", bus.address())
            .envs(set.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is installed");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut stdout, heard) = (child.stdout.take().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Self { typed: child.stdin.take().unwrap(), child, shown }
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.typed.write_all(text.as_bytes()).unwrap();
        self.typed.flush().unwrap();
    }

    /// Waits until the screen has shown something.
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.shown().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// The exit status, once it has ended by itself.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                std::thread::sleep(Duration::from_millis(50));
                return (status.code(), self.shown());
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn colours_are_for_terminals_only_and_not_for_everybody() {
    let bus = Bus::with_service();
    let colour = "\x1b[";
    let (code, shown) = Terminal::run(&bus, "warrenctl vm list", &[]).end();
    assert_eq!(code, Some(0));
    assert!(shown.contains(colour) && shown.contains("running"), "{shown:?}");
    let (_, shown) = Terminal::run(&bus, "warrenctl vm show echo", &[]).end();
    assert!(shown.contains("\x1b[32mrunning\x1b[0m"), "{shown:?}");
    for (command, set) in [
        ("warrenctl vm list", ("NO_COLOR", "1")),
        ("warrenctl vm list", ("TERM", "dumb")),
        ("warrenctl vm show echo", ("NO_COLOR", "1")),
        ("warrenctl vm list | cat", ("X", "")),
        ("warrenctl --json vm show echo", ("X", "")),
    ] {
        let (_, shown) = Terminal::run(&bus, command, &[set]).end();
        assert!(!shown.contains(colour) && shown.contains("running"), "{command} {set:?}: {shown:?}");
    }
}

#[test]
fn a_job_has_a_bar_on_a_terminal() {
    let bus = Bus::with_service();
    let terminal = Terminal::run(&bus, "warrenctl net start private", &[]);
    terminal.wait_for("50%");
    bus.calls();
    let (stopped, _) = Terminal::run(&bus, "warrenctl job cancel 3", &[]).end();
    assert_eq!(stopped, Some(0));
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(1));
    assert!(shown.contains("it was cancelled"), "{shown:?}");
}

#[test]
fn a_console_says_when_the_other_side_has_closed_it() {
    let bus = Bus::with_service();
    for (key, closed) in [("\x04", true), ("\x1d", false)] {
        let mut terminal = Terminal::run(&bus, "warrenctl vm console echo", &[]);
        terminal.wait_for("history");
        terminal.type_in(key);
        let (code, shown) = terminal.end();
        assert_eq!((code, shown.contains("The connection was closed.")), (Some(0), closed), "{shown:?}");
    }
}
