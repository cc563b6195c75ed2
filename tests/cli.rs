//! `warrenctl` as a person or a script meets it: against no service at all, and against a small stand-in
//! for the service on a private bus.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "cli/complete.rs"]
mod complete;
#[path = "cli/edit.rs"]
mod edit;
#[path = "cli/list.rs"]
mod list;
#[path = "cli/objects.rs"]
mod objects;
#[path = "cli/remote.rs"]
mod remote;
#[path = "cli/service.rs"]
mod service;
#[path = "cli/shutdown.rs"]
mod shutdown;
#[path = "cli/silent.rs"]
mod silent;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/verbs.rs"]
mod verbs;
#[path = "cli/watch.rs"]
mod watch;

use std::process::{Child, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use objects::UUID;
use service::Bus;

/// The program with no bus to be found and nothing said in the environment.
fn warrenctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warrenctl"));
    command
        .env_remove("WARREN_SCOPE")
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .timeout(Duration::from_secs(120));
    command
}

fn on(bus: &Bus, args: &[&str]) -> Command {
    let mut command = warrenctl();
    command.env("DBUS_SESSION_BUS_ADDRESS", bus.address()).arg("--session").args(args);
    command
}

/// One that runs beside the test, which holds its standard streams.
fn begun(bus: &Bus, args: &[&str]) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_warrenctl"))
        .arg("--session")
        .args(args)
        .env("DBUS_SESSION_BUS_ADDRESS", bus.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Standard output of a call that must succeed.
fn output(bus: &Bus, args: &[&str]) -> String {
    let output = on(bus, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit status and standard error of a call.
fn failure(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &["net"][..],
        &["net", "dance"],
        &["net", "start"],
        &["vm", "start", "a", "--force"],
        &["--system", "--session", "net", "list"],
        &[],
    ] {
        let mut command = warrenctl();
        let (code, text) = failure(command.args(args));
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(!text.is_empty(), "{args:?}");
    }
    let bus = Bus::empty();
    let (code, text) = failure(&mut on(&bus, &["net", "define", "/nonexistent/file.xml"]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("/nonexistent/file.xml"), "{text}");
    let (code, text) = failure(warrenctl().args(["net", "list"]).env("WARREN_SCOPE", "both"));
    assert_eq!((code, text.trim()), (2, "WARREN_SCOPE is 'both'; it must be 'system' or 'session'"));
}

#[test]
fn an_unreachable_service_is_3() {
    for scope in ["--system", "--session"] {
        let (code, text) = failure(warrenctl().args([scope, "net", "list"]));
        assert_eq!(code, 3, "{text}");
        assert!(text.starts_with("the Warren service cannot be reached: "), "{text}");
    }
    let (_, text) = failure(warrenctl().args(["--session", "net", "list"]));
    assert!(text.contains("dbus-run-session") && text.contains("--system"), "{text}");
    // A bus on which nobody has the name.
    let bus = Bus::empty();
    let (code, text) = failure(&mut on(&bus, &["vm", "list"]));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("org.warren1"), "{text}");
}

#[test]
fn the_exit_status_is_right_where_nobody_reads_the_error() {
    let bus = Bus::with_service();
    for (args, code) in [
        (&["net", "show", "nothing"][..], 1),
        (&["--json", "net", "show", "nothing"], 1),
        (&["--json", "net", "dance"], 2),
        (&["--system", "net", "list"], 3),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_warrenctl"));
        if code != 3 {
            command.arg("--session");
        }
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
        command.env("DBUS_SESSION_BUS_ADDRESS", bus.address()).args(args);
        assert_eq!(command.stderr(writer).status().unwrap().code(), Some(code), "{args:?}");
    }
}

#[test]
fn the_scope_comes_from_flag_or_environment() {
    let bus = Bus::with_service();
    let mut command = warrenctl();
    command.env("WARREN_SCOPE", "session").env("DBUS_SESSION_BUS_ADDRESS", bus.address());
    assert!(command.args(["net", "list"]).output().unwrap().status.success());
    let (code, _) = failure(command.arg("--system"));
    assert_eq!(code, 3, "the flag goes before the environment");
}

#[test]
fn help_has_examples_and_sets_apart_what_every_verb_takes() {
    let help = |args: &[&str]| String::from_utf8(warrenctl().args(args).output().unwrap().stdout).unwrap();
    let start = help(&["vm", "start", "--help"]);
    let (options, examples) = start.split_once("Examples:\n").unwrap();
    let (own, global) = options.split_once("Global options:\n").unwrap();
    assert!(own.contains("--no-wait") && !own.contains("--session"), "{start}");
    assert!(global.contains("--session") && !global.contains("--no-wait"), "{start}");
    assert!(examples.starts_with("  warrenctl vm start guest\n      Starts a machine"), "{start}");
    let top = help(&["--help"]);
    assert!(top.contains("Examples:\n") && top.contains("Exit status: 0 done"), "{top}");
}

#[test]
fn manual_pages_need_no_service_and_say_more_than_help() {
    let dir = tempfile::tempdir().unwrap();
    assert!(warrenctl().arg("man").arg(dir.path()).output().unwrap().status.success());
    for page in ["warrenctl-net.1", "warrenctl-vm-console.1", "warrenctl-watch.1", "warrenctl-job-wait.1"] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
    let page = std::fs::read_to_string(dir.path().join("warrenctl.1")).unwrap();
    for section in
        ["SYNOPSIS", "OPTIONS", "EXIT STATUS", "JSON", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]
    {
        assert!(page.contains(section), "{section}");
    }
    assert!(!dir.path().join("warrenctl-man.1").exists(), "what is hidden has no page");
}

#[test]
fn lists_are_tables_for_people_and_json_for_scripts() {
    let bus = Bus::with_service();
    let table = output(&bus, &["net", "list", "-l"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["Name", "State", "Mode", "Addresses", "Bridge", "Access", "Autostart", "Owner", "UUID"]
    );
    assert_eq!(lines[1], ["private", "inactive", "isolated", "192.168.152.1/24", UUID]);
    assert_eq!(lines.len(), 2);

    let json: serde_json::Value = serde_json::from_str(&output(&bus, &["--json", "net", "list"])).unwrap();
    assert_eq!(json[0]["name"], "private");
    assert_eq!(json[0]["forward-mode"], "isolated");
    assert_eq!(json[0]["addresses"], serde_json::json!(["192.168.152.1/24"]));
    let json: serde_json::Value = serde_json::from_str(&output(&bus, &["--json", "vm", "list"])).unwrap();
    assert_eq!(json[0]["memory-bytes"], 128 << 20);
    assert_eq!(json[0]["addresses"][1]["address"], "192.168.122.5");
}

#[test]
fn one_object_is_shown_by_name_or_uuid() {
    let bus = Bus::with_service();
    for name in ["private", UUID] {
        let shown = output(&bus, &["net", "show", name]);
        assert!(shown.starts_with("Name:             private\n"), "{shown}");
        assert!(shown.contains("\nPending changes:  no\n"), "{shown}");
        assert!(shown.contains("\nFailure:          its bridge 'br0' is in use\n"), "{shown}");
        let json: serde_json::Value =
            serde_json::from_str(&output(&bus, &["--json", "net", "show", name])).unwrap();
        assert_eq!(json["failure"], "its bridge 'br0' is in use");
        assert_eq!((&json["uuid"], &json["state-reason"]), (&UUID.into(), &"none".into()));
    }
    assert_eq!(output(&bus, &["net", "show", "--xml", "private"]), "<network/>\n");
    let leases = output(&bus, &["net", "leases", "private"]);
    let row: Vec<&str> = leases.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["192.168.122.5/24", "52:54:00:00:00:01", "guest", "never", "eth0"]);
}

#[test]
fn a_machine_is_shown_with_what_it_is_made_of() {
    let bus = Bus::with_service();
    let shown = output(&bus, &["vm", "show", "echo"]);
    assert!(shown.contains("Memory:  128 MiB\n"), "{shown}");
    assert!(
        shown.contains("Interfaces:\n  Type     Network  MAC\n  network  private  52:54:00:00:00:01"),
        "{shown}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&output(&bus, &["--json", "vm", "show", "echo"])).unwrap();
    assert_eq!(json["interfaces"][0]["network"], "private");
}

#[test]
fn an_error_of_the_service_is_1_with_its_message() {
    let bus = Bus::with_service();
    let (code, text) = failure(&mut on(&bus, &["net", "start", "nothing"]));
    assert_eq!((code, text.as_str()), (1, "there is no network 'nothing'\n"));
    let (_, text) = failure(&mut on(&bus, &["net", "start", "privat"]));
    assert_eq!(text, "there is no network 'privat'; did you mean 'private'?\n");
    for verb in ["wait", "cancel"] {
        let (code, text) = failure(&mut on(&bus, &["job", verb, "99"]));
        assert_eq!(code, 1);
        assert!(text.contains("there is no job /org/warren1/job/99; it is forgotten a minute"), "{text}");
    }
    let (code, text) = failure(&mut on(&bus, &["net", "undefine", "private"]));
    assert_eq!((code, text.as_str()), (1, "not you\n"));
}

#[test]
fn a_wrong_document_is_shown_where_it_is_wrong() {
    let bus = Bus::with_service();
    let (code, text) =
        failure(on(&bus, &["net", "define", "-"]).write_stdin("<network>\n  <nonsense/>\n</network>\n"));
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "/network/nonsense (line 2, column 3): no such thing\n \
         --> <stdin>:2:3\n2 |   <nonsense/>\n  |   ^^^^^^^^^^^\n"
    );
    let checked =
        on(&bus, &["net", "check", "-"]).write_stdin("<network>\n  <odd/>\n</network>\n").output().unwrap();
    assert_eq!(checked.status.code(), Some(1), "an error in the report");
    assert_eq!(
        String::from_utf8(checked.stdout).unwrap(),
        "error: /network/odd: it is odd; make it even\n --> <stdin>:2:3\n2 |   <odd/>\n  |   ^^^^^^\n"
    );
}

#[test]
fn a_job_is_followed_to_its_end() {
    let bus = Bus::with_service();
    assert_eq!(output(&bus, &["net", "start", "private"]), "");
    // The stand-in's Stop is a job that fails.
    let (code, text) = failure(&mut on(&bus, &["net", "stop", "private"]));
    assert_eq!((code, text.as_str()), (1, "guests are on it\n"));
    // With force, it is one that ends before its path is answered.
    assert_eq!(output(&bus, &["net", "stop", "--force", "private"]), "");
}

#[test]
fn a_job_that_vanishes_with_its_service_is_3() {
    let bus = Bus::with_service();
    let mut start = begun(&bus, &["net", "define", "--start", "-"]);
    std::io::Write::write_all(&mut start.stdin.take().unwrap(), b"<network><slow/></network>").unwrap();
    bus.wait_for_endless_job();
    drop(bus);
    let output = start.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn ctrl_c_cancels_a_job() {
    let bus = Bus::with_service();
    let mut start = begun(&bus, &["net", "define", "--start", "-"]);
    std::io::Write::write_all(&mut start.stdin.take().unwrap(), b"<network><slow/></network>").unwrap();
    bus.wait_for_endless_job();
    let pid = rustix::process::Pid::from_child(&start);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = start.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "it was cancelled\nThe network private is defined, and not started. Start it with: warrenctl net start private\n"
    );
}

#[test]
fn a_console_in_a_script_ends_after_silence() {
    let bus = Bus::with_service();
    let output = on(&bus, &["vm", "console", "echo", "--idle", "1"]).write_stdin("hello\n").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "history\nhello\n");
}
