//! `--host`: the bus of another host, behind a stand-in for ssh that runs the real bridge here.

use std::os::unix::fs::PermissionsExt;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::service::Bus;
use crate::warrenctl;

/// A directory with an `ssh` that notes how it was called and runs what it was told to, as if the bus were
/// that of its host; and a `warrenctl` that finds no other bus.
fn elsewhere(bus: &Bus, args: &[&str]) -> (TempDir, Command) {
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join("ssh");
    let script = format!(
        "#!/bin/sh\necho \"$@\" > '{}/called'\n[ \"$3\" != nowhere ] || {{ echo no route >&2; exit 255; }}\n\
         shift 3\nDBUS_SESSION_BUS_ADDRESS='{}' exec sh -c \"$*\"\n",
        dir.path().display(),
        bus.address()
    );
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = warrenctl();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).args(args);
    (dir, command)
}

#[test]
fn another_host_is_reached_over_ssh() {
    let bus = Bus::with_service();
    let (dir, mut command) =
        elsewhere(&bus, &["--session", "--host", "me@there", "net", "show", "private", "--xml"]);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "<network/>\n", "{:?}", output.stderr);
    assert_eq!(output.status.code(), Some(0));
    let called = std::fs::read_to_string(dir.path().join("called")).unwrap();
    assert!(called.starts_with("-xT -- me@there sh -c 'exec systemd-stdio-bridge -p "), "{called}");

    let (_dir, mut command) = elsewhere(&bus, &["--session", "-H", "there", "net", "start", "nothing"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the service's no comes through");
}

#[test]
fn without_a_flag_the_other_hosts_system_service_is_meant() {
    let bus = Bus::with_service();
    let (dir, mut command) = elsewhere(&bus, &["--host", "nowhere", "net", "list"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no route\n") && text.contains("the Warren service cannot be reached: "), "{text}");
    let called = std::fs::read_to_string(dir.path().join("called")).unwrap();
    assert_eq!(called, "-xT -- nowhere systemd-stdio-bridge\n");
}

#[test]
fn what_cannot_be_is_said_before_anything_is_done() {
    let bus = Bus::with_service();
    let (dir, mut command) = elsewhere(&bus, &["--host", "there", "vm", "console", "it's echo"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("does not pass over ssh"), "{text}");
    // What is proposed is written for the shells of both hosts, and means the same service there.
    let proposed = text.split("run warrenctl there: ").nth(1).unwrap().trim();
    let shells = format!(
        "ssh() {{ shift 2; bash -c \"$*\"; }}; warrenctl() {{ printf '%s,' \"$@\"; }}; export -f warrenctl; {proposed}"
    );
    let there = std::process::Command::new("bash").args(["-c", &shells]).output().unwrap();
    assert_eq!(String::from_utf8(there.stdout).unwrap(), "--system,vm,console,it's echo,", "{proposed}");
    for host in ["-oProxyCommand=reboot", "a b", "a;reboot", "a,b", ""] {
        let (_other, mut command) = elsewhere(&bus, &[&format!("--host={host}"), "net", "list"]);
        assert_eq!(command.output().unwrap().status.code(), Some(2), "{host}");
    }
    assert!(!dir.path().join("called").exists());
}
