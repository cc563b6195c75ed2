//! Completion, in the shells themselves.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::service::Bus;
use crate::terminal::Terminal;
use crate::warrenctl;

/// The script for a shell in a file.
fn script(shell: &str) -> (TempDir, String) {
    let output = warrenctl().args(["completions", shell]).output().unwrap();
    assert!(output.status.success(), "it needs no service");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("_warrenctl");
    std::fs::write(&file, output.stdout).unwrap();
    (dir, file.display().to_string())
}

/// What the program offers for the last of these words.
fn offered(bus: &str, words: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_warrenctl"))
        .arg("--")
        .args(words)
        .env("WARRENCTL_COMPLETE", "fish")
        .env("WARREN_SCOPE", "session")
        .env("DBUS_SESSION_BUS_ADDRESS", bus)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn verbs_options_and_names_are_offered() {
    let bus = Bus::with_service();
    // On a machine that does much else the service may not answer in the time that who types has.
    let at = |words: &[&str]| {
        let mut asked = (0..10).map(|_| offered(bus.address(), words));
        asked.find(|offered| !offered.is_empty()).unwrap_or_default()
    };
    assert_eq!(at(&["warrenctl", "vm", "res"]), ["reset", "resume"]);
    assert_eq!(at(&["warrenctl", "net", "start", "p"]), ["private"]);
    assert_eq!(at(&["warrenctl", "vm", "start", "p"]), Vec::<String>::new(), "that is a network");
    assert_eq!(at(&["warrenctl", "vm", "start", "e"]), ["echo"]);
    assert_eq!(at(&["warrenctl", "vm", "start", "--no-w"]), ["--no-wait"]);
    assert_eq!(at(&["warrenctl", "watch", "--vm", ""]), ["echo"]);
    assert_eq!(at(&["warrenctl", "watch", "--topics", "leases,ad"]), ["leases,addresses"]);
    assert_eq!(at(&["warrenctl", "vm", "list", "--state", "paused,ru"]), ["paused,running"]);
    assert_eq!(at(&["warrenctl", "vm", "list", "--state=cr"]), ["--state=crashed"]);
    assert_eq!(at(&["warrenctl", "net", "list", "--state", "s"]), ["starting", "stopping"]);
    assert_eq!(at(&["warrenctl", "vm", "shutdown", "--w"]), ["--wait"]);
    assert_eq!(at(&["warrenctl", "job", "wait", ""])[0], "3");
    assert_eq!(at(&["warrenctl", "net", "access", "private", ""])[..2], ["admin", "users"]);
    assert_eq!(at(&["warrenctl", "--system", "vm", "start", "e"]), Vec::<String>::new(), "not on that bus");
}

#[test]
fn who_types_is_not_kept_waiting_and_nothing_is_started() {
    // What the buses of the test take to start is not counted.
    let mut taken = Duration::ZERO;
    let mut silent = |address: &str| {
        let begun = Instant::now();
        assert_eq!(offered(address, &["warrenctl", "vm", "start", "e"]), Vec::<String>::new());
        taken += begun.elapsed();
    };
    // Neither a bus nor a service: silence, at once.
    silent("unix:path=/nonexistent");
    silent(Bus::empty().address());
    // A service that does not answer.
    let stuck = Bus::with_service();
    let (goes_on, waits) = std::sync::mpsc::channel::<()>();
    stuck.run(move |_| {
        // Until this test lets go of the other end.
        let _ = waits.recv();
        Box::pin(async { Ok(()) })
    });
    silent(stuck.address());
    // Each takes less than a second where the machine has nothing else to do; a bus waits for 25 s.
    assert!(taken < Duration::from_secs(20), "{taken:?}");
    drop(goes_on);
}

#[test]
fn a_service_is_not_started_for_a_completion() {
    let dir = tempfile::tempdir().unwrap();
    let (services, started) = (dir.path().join("dbus-1/services"), dir.path().join("started"));
    std::fs::create_dir_all(&services).unwrap();
    // It ends in failure, so that the bus does not wait for its name.
    let exec = format!("/bin/mkdir {} /", started.display());
    let file = format!("[D-BUS Service]\nName=org.warren1\nExec={exec}\n");
    std::fs::write(services.join("org.warren1.service"), file).unwrap();
    let bus = Bus::with_services_in(dir.path());
    assert_eq!(offered(bus.address(), &["warrenctl", "vm", "start", "e"]), Vec::<String>::new());
    assert!(!started.exists());
    // It could have been: a verb does start it.
    let _ = crate::on(&bus, &["vm", "list"]).output().unwrap();
    assert!(started.exists());
}

/// Types a line with a Tab in it into a shell, and waits until the completed line was done.
fn completes(shell: &str, command: &str, first: &str) {
    let bus = Bus::with_service();
    let (_dir, file) = script(shell);
    let mut terminal = Terminal::run(&bus, command, &[("HOME", "/nonexistent")]);
    terminal.type_in(&format!("{first} source {file}; PS1='sour''ced> '\n"));
    terminal.wait_for("sourced> ");
    terminal.type_in("warrenctl vm reb\tec\t\n");
    bus.wait_for_call("Reboot");
    terminal.type_in("warrenctl net list --state ina\t --nam\t; echo 'list''ed'\n");
    terminal.wait_for("listed");
    assert!(terminal.shown().contains("private\r\n"), "{:?}", terminal.shown());
    terminal.type_in("exit\n");
    let (_, shown) = terminal.end();
    assert!(!shown.contains("error"), "{shown}");
}

#[test]
fn bash_completes() {
    let shell = "bash --norc --noprofile -i";
    completes("bash", shell, "");
    // It cuts words at '='.
    let bus = Bus::with_service();
    let (_dir, file) = script("bash");
    let mut terminal = Terminal::run(&bus, shell, &[("HOME", "/nonexistent")]);
    terminal.type_in(&format!("source {file}; PS1='sour''ced> '\n"));
    terminal.wait_for("sourced> ");
    terminal.type_in("warrenctl net list --state=ina\t --nam\t; echo 'list''ed'\n");
    terminal.wait_for("listed");
    assert!(terminal.shown().contains("private\r\n"), "{:?}", terminal.shown());
}

#[test]
fn zsh_completes() {
    completes("zsh", "zsh -f -i", "autoload -U compinit; compinit -u -D;");
}

#[test]
fn fish_completes() {
    let bus = Bus::with_service();
    let (dir, file) = script("fish");
    let here = std::path::Path::new(env!("CARGO_BIN_EXE_warrenctl")).parent().unwrap();
    let output = Command::new("fish")
        .args(["--no-config", "-c", &format!(
            "source {file}; complete -C 'warrenctl vm start ec'; complete -C 'warrenctl vm list --state ru'"
        )])
        .env("PATH", format!("{}:{}", here.display(), std::env::var("PATH").unwrap()))
        .env("HOME", dir.path())
        .env("WARREN_SCOPE", "session")
        .env("DBUS_SESSION_BUS_ADDRESS", bus.address())
        .output()
        .expect("fish is installed");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "echo\trunning\nrunning\n", "{:?}", output.stderr);
}

#[test]
fn zsh_finds_the_function_by_itself() {
    let bus = Bus::with_service();
    let (dir, _) = script("zsh");
    let begin = format!(
        "fpath=({} $fpath); autoload -U compinit; compinit -u -D; PS1='rea''dy> '\n",
        dir.path().display()
    );
    let mut terminal = Terminal::run(&bus, "zsh -f -i", &[("HOME", "/nonexistent")]);
    terminal.type_in(&begin);
    terminal.wait_for("ready> ");
    terminal.type_in("warrenctl vm reset ec\t\n");
    bus.wait_for_call("Reset");
}

#[test]
fn a_name_with_a_space_is_one_word_for_bash() {
    let bus = Bus::with_service();
    bus.run(|c| {
        Box::pin(async move { c.object_server().at("/org/warren1/domain/spaced", Spaced).await.map(drop) })
    });
    let (_dir, file) = script("bash");
    let mut terminal = Terminal::run(&bus, "bash --norc --noprofile -i", &[("HOME", "/nonexistent")]);
    // Done in place of the program, unless it is asked for candidates.
    let done = r#"warrenctl() { [ "$WARRENCTL_COMPLETE" ] && command warrenctl "$@" || echo "[$4]"; }"#;
    terminal.type_in(&format!("source {file}; {done}; PS1='sour''ced> '\n"));
    terminal.wait_for("sourced> ");
    terminal.type_in("warrenctl vm start -- my\t\n");
    terminal.wait_for("[my guest]");
    terminal.type_in("warrenctl vm stop -- my\\ g\tnow\n");
    terminal.wait_for("stop -- my\\ guest now");
}

/// A machine whose name is two words.
struct Spaced;

#[zbus::interface(name = "org.warren1.Domain")]
impl Spaced {
    #[zbus(property)]
    fn name(&self) -> &str {
        "my guest"
    }
    #[zbus(property)]
    fn owner(&self) -> u32 {
        0
    }
}
