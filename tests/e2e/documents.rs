//! What the documents tell their readers to type is typed here, in its order, by an ordinary user with a
//! session bus that starts the service; what they say will be printed must be printed.

use crate::common::{ALICE, Bus, World, command_as, none_runs, world};

use super::session::machine;

/// The texts of the fenced blocks of this kind, in order.
fn blocks(document: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{kind}") {
            found.push(
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect(),
            );
        }
    }
    found
}

/// Whether a line of the output is as the document shows it: blanks are alike, `…` stands for anything.
fn shown(output: &str, expected: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    output.lines().map(plain).any(|line| {
        let mut rest = line.as_str();
        expected.split('…').map(plain).all(|part| match rest.find(&part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    })
}

/// Runs the commands of `docs/FILE` in one shell.
async fn as_it_says(world: &World, file: &str) {
    machine(world);
    let bus = Bus::session(world, ALICE.uid);
    let text = std::fs::read_to_string(format!("{}/docs/{file}", env!("CARGO_MANIFEST_DIR")));
    let text = text.expect("the document is there");
    let commands = blocks(&text, "sh");
    assert!(commands.len() > 5, "the commands were found");
    let home = world.user_dir("reader", ALICE.uid).display().to_string();
    world.sh(&format!("ln -s /run/w/guest {home}/guest && ln -s /run/w/examples {home}/examples"));
    let script = world.write("typed", &format!("set -e -o pipefail\n{}", commands.join("\n")));
    let output = command_as(ALICE.uid, "timeout")
        .args(["800", "bash"])
        .arg(script)
        .current_dir(&home)
        .env("HOME", &home)
        .env("PATH", "/run/w/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DBUS_SESSION_BUS_ADDRESS", &bus.address)
        .output()
        .expect("bash is installed");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docs/{file}: {}: {printed}\n{errors}", output.status);
    for expected in blocks(&text, "text").iter().flat_map(|block| block.lines()) {
        assert!(shown(&printed, expected), "docs/{file} shows '{expected}': {printed}\n{errors}");
    }
    none_runs("qemu-system").await;
    none_runs("dnsmasq").await;
}

#[test]
fn the_tutorial_works_as_it_is_written() {
    world(async |world: World| as_it_says(&world, "tutorial.md").await);
}

#[test]
fn the_recipes_for_busctl_work() {
    world(async |world: World| as_it_says(&world, "busctl.md").await);
}
