//! Each verb asks the service for the right thing and answers in words and in JSON.

use serde_json::{Value, json};

use crate::objects::{DOMAIN, ENDLESS, NETWORK, end};
use crate::service::Bus;
use crate::{begun, failure, on, output};

fn json_of(bus: &Bus, args: &[&str]) -> Value {
    let args: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&output(bus, &args)).unwrap()
}

#[test]
fn verbs_without_an_answer_call_their_method_and_are_silent() {
    let bus = Bus::with_service();
    for (args, call) in [
        (&["vm", "shutdown", "echo"][..], "Shutdown"),
        (&["vm", "reboot", "echo"], "Reboot"),
        (&["vm", "reset", "echo"], "Reset"),
        (&["vm", "suspend", "echo"], "Suspend"),
        (&["vm", "resume", "echo"], "Resume"),
        (&["vm", "autostart", "echo"], "SetAutostart true"),
        (&["vm", "autostart", "echo", "--disable"], "SetAutostart false"),
        (&["vm", "start", "echo"], "Start"),
        (&["vm", "start", "echo", "--paused"], "Start paused=true"),
        (&["vm", "start", "echo", "--no-start-networks"], "Start start-networks=false"),
        (&["vm", "start", "echo", "--no-wait"], "Start no-wait=true"),
        (&["vm", "stop", "echo", "--graceful"], "Stop graceful=true"),
        (&["net", "autostart", "private"], "SetAutostart true"),
        (&["net", "access", "private", "users"], "SetAccess users"),
        (&["job", "cancel", "3"], "Cancel"),
    ] {
        assert_eq!(output(&bus, args), "", "{args:?}");
        assert_eq!(bus.calls(), [call], "{args:?}");
        let object = match args[0] {
            "vm" => DOMAIN,
            "net" => NETWORK,
            _ => ENDLESS,
        };
        assert_eq!(
            json_of(&bus, args),
            json!({ "verb": args[1], "object": object, "state": "done" }),
            "{args:?}"
        );
        bus.calls();
    }
}

#[test]
fn documents_are_shown_as_stored_as_they_run_and_with_passwords() {
    let bus = Bus::with_service();
    for (args, call) in [
        (&["net", "show", "private", "--xml"][..], "GetXml"),
        (&["net", "show", "private", "--xml", "--live"], "GetXml live=true"),
        (&["vm", "show", "echo", "--xml", "--secrets", "--live"], "GetXml live=true secrets=true"),
    ] {
        let xml = if args[0] == "vm" { "<domain/>" } else { "<network/>" };
        assert_eq!(output(&bus, args), format!("{xml}\n"));
        assert_eq!(bus.calls(), [call]);
        assert_eq!(json_of(&bus, args)["xml"], xml);
        bus.calls();
    }
    let (code, text) = failure(&mut on(&bus, &["vm", "show", "echo", "--secrets"]));
    assert_eq!(code, 2, "{text}");
}

#[test]
fn a_document_is_taken_under_conditions() {
    let bus = Bus::with_service();
    let define = |args: &[&str]| {
        let args: Vec<&str> = ["net", "define", "-"].iter().chain(args).copied().collect();
        on(&bus, &args).write_stdin("<network/>").output().unwrap()
    };
    let dry = define(&["--dry-run"]);
    assert_eq!(String::from_utf8(dry.stdout).unwrap(), "this network would be taken\n");
    assert_eq!(bus.calls(), ["DefineNetwork <network/> dry-run=true"]);
    let right = define(&["--if-generation", "7"]);
    assert_eq!(String::from_utf8(right.stdout).unwrap(), "network private defined\n");
    assert_eq!(bus.calls(), ["DefineNetwork <network/> if-generation=7"]);
    let wrong = define(&["--if-generation", "6"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(String::from_utf8(wrong.stderr).unwrap(), "the generation is 7\n");
    assert_eq!(define(&["--dry-run", "--start"]).status.code(), Some(2));
}

#[test]
fn what_is_asked_is_told_in_words_and_in_json() {
    let bus = Bus::with_service();
    assert_eq!(
        output(&bus, &["vm", "addresses", "echo"]),
        "Address           MAC                Interface  Source\n\
         192.168.122.5/24  52:54:00:00:00:01  wtap0      lease\n"
    );
    assert_eq!(json_of(&bus, &["vm", "addresses", "echo"])[0]["source"], "lease");
    assert_eq!(output(&bus, &["vm", "display", "echo"]), "vnc://127.0.0.1:1\n");
    assert_eq!(
        json_of(&bus, &["vm", "display", "echo"]),
        json!([{ "type": "vnc", "uri": "vnc://127.0.0.1:1" }])
    );
    assert_eq!(
        output(&bus, &["status"]),
        "Version:   1.2.3\nScope:     session\nWarnings:  no KVM, no luck\n",
        "what is known once the host was looked at"
    );
    assert_eq!(json_of(&bus, &["status"])["warnings"], json!(["no KVM", "no luck"]));
    assert_eq!(
        output(&bus, &["host"]),
        "Bridges:   br0, br1\nCPUs:      4\nMemory:    8 GiB\nWarnings:  no KVM, no luck\n\n\
         Emulators:\n  Arch    Path\n  x86_64  /usr/bin/qemu-system-x86_64\n"
    );
    assert_eq!(json_of(&bus, &["host"])["emulators"][0]["machines"], json!(["pc", "q35"]));
    bus.calls();
    assert_eq!(
        output(&bus, &["permissions"]),
        "org.warren1.domain.console:  yes\norg.warren1.network.manage:  challenge\n"
    );
    let answers = json_of(&bus, &["permissions", "--net", "private"]);
    assert_eq!(answers["org.warren1.network.manage"], "challenge");
    assert_eq!(bus.calls(), ["GetPermissions".into(), format!("GetPermissions object={NETWORK}")]);
}

#[test]
fn an_error_is_json_where_answers_are() {
    let bus = Bus::with_service();
    let error = |args: &[&str], code: i32| -> Value {
        let output = on(&bus, args).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        serde_json::from_slice(&output.stderr).unwrap()
    };
    assert_eq!(
        error(&["net", "start", "nothing"], 1),
        json!({ "name": "org.warren1.Error.NoSuchNetwork", "message": "there is no network 'nothing'", "exit-status": 1 })
    );
    assert_eq!(error(&["net", "dance"], 2)["name"], "Usage");
    assert_eq!(error(&["job", "wait", "x"], 2)["name"], "Usage");
    let empty = Bus::empty();
    let unreachable = on(&empty, &["--json", "net", "list"]).output().unwrap();
    let error: Value = serde_json::from_slice(&unreachable.stderr).unwrap();
    assert_eq!((&error["name"], &error["exit-status"]), (&json!("Unreachable"), &json!(3)));
}

#[test]
fn a_job_is_listed_awaited_and_cancelled() {
    let bus = Bus::with_service();
    assert_eq!(
        output(&bus, &["job", "list"]),
        "Job  Operation  Object   State    Progress\n3    Start      private  running  50%\n"
    );
    assert_eq!(
        json_of(&bus, &["job", "list"]),
        json!([{ "job": ENDLESS, "object": NETWORK, "operation": "Start", "progress": 0.5, "state": "running" }])
    );
    // Not waited for, it is printed.
    assert_eq!(output(&bus, &["net", "start", "private", "--no-wait"]), format!("{ENDLESS}\n"));
    let answer = json_of(&bus, &["net", "start", "private", "--no-wait"]);
    assert_eq!(answer, json!({ "verb": "start", "object": NETWORK, "state": "running", "job": ENDLESS }));

    bus.calls();
    let waiting = || {
        bus.forget_looks();
        let child = begun(&bus, &["job", "wait", ENDLESS]);
        // It reads the job, and then looks at it again and again.
        bus.wait_for_endless_job();
        bus.wait_for_endless_job();
        child
    };
    let interrupted = waiting();
    let pid = rustix::process::Pid::from_child(&interrupted);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(interrupted.wait_with_output().unwrap().status.code(), Some(3));
    assert_eq!(bus.calls(), Vec::<String>::new(), "who waits for the job of another does not cancel it");

    let wait = waiting();
    assert_eq!(output(&bus, &["job", "cancel", "3"]), "");
    let ended = wait.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "it was cancelled\n");

    let (code, text) = failure(&mut on(&bus, &["job", "wait", "99"]));
    assert_eq!(code, 1, "a job that is not there: {text}");
}

/// A job that has failed, and only then says why.
struct Failed;

#[zbus::interface(name = "org.warren1.Job")]
impl Failed {
    #[zbus(property)]
    fn state(&self, #[zbus(connection)] connection: &zbus::Connection) -> String {
        let connection = connection.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            end(&connection, FAILED, "failed", "org.warren1.Error.InUse", "guests are on it").await
        });
        "failed".into()
    }
}

const FAILED: &str = "/org/warren1/job/7";

#[test]
fn a_job_that_has_just_failed_says_why_and_a_cancelled_one_that_it_was() {
    let bus = Bus::with_service();
    bus.run(|c| Box::pin(async move { c.object_server().at(FAILED, Failed).await.map(drop) }));
    let (code, text) = failure(&mut on(&bus, &["job", "wait", "7"]));
    assert_eq!((code, text.as_str()), (1, "guests are on it\n"));
    let mut child = begun(&bus, &["job", "wait", ENDLESS]);
    bus.wait_for_endless_job();
    // As the service says it: neither a name nor a message.
    bus.run(|c| Box::pin(async move { end(&c, ENDLESS, "cancelled", "", "").await }));
    let mut text = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(text, "the job was cancelled\n");
}

#[test]
fn a_console_is_chosen_and_taken() {
    let bus = Bus::with_service();
    let args = ["vm", "console", "echo", "--device", "serial1", "--force", "--idle", "1"];
    let ended = on(&bus, &args).write_stdin("").output().unwrap();
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "history\n");
    assert_eq!(bus.calls(), ["OpenConsole device=serial1 force=true"]);
}
