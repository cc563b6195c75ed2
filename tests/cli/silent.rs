//! A bus, or a service, that takes what it is asked and never answers.

use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::service::Bus;

/// libdbus's limit for an answer, which is warrenctl's too, and what a busy machine adds.
const PATIENCE: std::ops::Range<u64> = 24..50;

/// Runs a command of `sh` with `warrenctl` at hand on this bus; its exit status and all that it said.
fn run(address: &str, command: &str) -> (Option<i32>, String) {
    let here = std::path::Path::new(env!("CARGO_BIN_EXE_warrenctl")).parent().unwrap();
    let path = format!("{}:{}", here.display(), std::env::var("PATH").unwrap());
    let begun = Instant::now();
    let output = Command::new("timeout")
        .args(["80", "sh", "-c", command])
        .env("PATH", path)
        .env("WARREN_SCOPE", "session")
        .env("DBUS_SESSION_BUS_ADDRESS", address)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let took = begun.elapsed().as_secs();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(PATIENCE.contains(&took), "{command} took {took} s: {said}");
    (output.status.code(), said)
}

#[test]
fn what_never_answers_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    // Accepts, and keeps what it has accepted.
    std::thread::spawn(move || {
        let _kept: Vec<UnixStream> = listener.incoming().map_while(Result::ok).collect();
    });
    let silent_bus = format!("unix:path={}", socket.display());

    let bus = Bus::empty();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = bus.address().to_owned();
    // Nothing is served on it, so that nothing is answered.
    let _silent_service = runtime.block_on(async {
        let address: zbus::Address = address.parse().unwrap();
        let connection = zbus::connection::Builder::address(address).build().await.unwrap();
        connection.request_name("org.warren1").await.unwrap();
        connection
    });

    let at_terminal = |command: &str| format!("script -qefc '{command}' /dev/null");
    let cases = [
        (silent_bus.as_str(), "warrenctl status".to_owned(), "the bus gave no answer"),
        (silent_bus.as_str(), at_terminal("warrenctl status"), "the bus gave no answer"),
        (bus.address(), "warrenctl vm start web".to_owned(), "the service gave no answer"),
        (bus.address(), at_terminal("warrenctl watch"), "the service gave no answer"),
    ];
    std::thread::scope(|threads| {
        for (address, command, wanted) in cases {
            threads.spawn(move || {
                let (status, said) = run(address, &command);
                assert_eq!(status, Some(3), "{command}: {said}");
                assert!(said.contains(wanted), "{command}: {said}");
            });
        }
    });
}
