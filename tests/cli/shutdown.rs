//! `vm shutdown --wait`: it ends when the machine is off, and does nothing to it whatever happens.

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use zbus::fdo::RequestNameFlags;

use crate::objects::DOMAIN;
use crate::service::Bus;
use crate::terminal::Terminal;
use crate::{begun, failure, on, output};

/// One that waits, its guest having been asked.
fn waiting(bus: &Bus, args: &[&str]) -> Child {
    let child = begun(bus, &[&["vm", "shutdown", "echo", "--wait"], args].concat());
    bus.wait_for_call("Shutdown");
    child
}

fn enters(bus: &Bus, state: &'static str) {
    bus.signal(false, DOMAIN, "org.warren1.Domain", "StateChanged", (state, "running", "shutdown"));
}

fn ended(child: Child) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn it_ends_when_the_machine_is_off() {
    let bus = Bus::with_service();
    let mut child = waiting(&bus, &["--timeout", "20"]);
    enters(&bus, "stopping");
    bus.signal(false, crate::objects::NETWORK, "org.warren1.Network", "StateChanged", ("shutoff", "", ""));
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it is not off yet");
    enters(&bus, "shutoff");
    assert_eq!(ended(child), (Some(0), String::new()));
    assert_eq!(bus.calls(), ["Shutdown"]);
}

#[test]
fn a_machine_that_crashes_has_not_shut_down() {
    let bus = Bus::with_service();
    let child = waiting(&bus, &[]);
    enters(&bus, "crashed");
    assert_eq!(ended(child), (Some(1), "echo has crashed instead of shutting down\n".into()));
}

#[test]
fn the_time_is_over_at_1_and_the_guest_left_alone() {
    let bus = Bus::with_service();
    let args = ["vm", "shutdown", "echo", "--wait", "--timeout", "1"];
    let (code, text) = failure(&mut on(&bus, &args));
    assert_eq!(code, 1);
    assert!(text.starts_with("echo has not shut down in 1 s; it was left as it is"), "{text}");
    let (code, text) = failure(on(&bus, &args).arg("--json"));
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &error["name"], &error["exit-status"]), (1, &"Timeout".into(), &1.into()));
    assert_eq!(bus.calls(), ["Shutdown", "Shutdown"]);
    for wrong in [&["--timeout", "1"][..], &["--wait", "--timeout", "0"], &["--wait", "--timeout", "x"]] {
        let args: Vec<&str> = ["vm", "shutdown", "echo"].iter().chain(wrong).copied().collect();
        assert_eq!(failure(&mut on(&bus, &args)).0, 2, "{wrong:?}");
    }
    assert_eq!(output(&bus, &["vm", "shutdown", "echo"]), "", "without --wait it was asked, no more");
}

#[test]
fn ctrl_c_ends_the_waiting_alone_and_as_a_shell_expects() {
    let bus = Bus::with_service();
    let child = waiting(&bus, &[]);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait_with_output().unwrap().status;
    // A shell's own loop goes on after whoever ends otherwise.
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
    assert_eq!(bus.calls(), ["Shutdown"]);
}

#[test]
fn a_service_that_is_replaced_is_awaited_and_one_that_ends_is_3() {
    let bus = Bus::with_service();
    let leave = || bus.run(|c| Box::pin(async move { c.release_name("org.warren1").await.map(drop) }));
    let come = || {
        bus.run(|c| {
            Box::pin(async move {
                c.request_name_with_flags("org.warren1", RequestNameFlags::DO_NOT_QUEUE).await.map(drop)
            })
        });
    };
    let mut child = waiting(&bus, &[]);
    leave();
    come();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the next one says that it runs");
    enters(&bus, "shutoff");
    assert_eq!(ended(child), (Some(0), String::new()));
    bus.calls();
    let child = waiting(&bus, &[]);
    leave();
    let begun = Instant::now();
    let (code, text) = ended(child);
    assert_eq!(code, Some(3));
    assert!(text.contains("it ended while echo was shutting down"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn who_waits_at_a_terminal_sees_for_what() {
    let bus = Bus::with_service();
    let terminal = Terminal::run(&bus, "warrenctl vm shutdown echo --wait", &[]);
    terminal.wait_for("waiting for echo to shut down");
    enters(&bus, "shutoff");
    assert_eq!(terminal.end().0, Some(0));
}
