//! `warrenctl` with a real service and real guests: what a stand-in cannot know.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common::{ALICE, BOB, Bus, GuestXml, Service, World, command_as, eventually, world};

/// A command of Alice that finds her service.
pub(crate) fn alice(bus: &Bus, program: &str) -> Command {
    let mut command = command_as(ALICE.uid, program);
    command
        .env("PATH", "/run/w/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("SHELL", "/bin/sh")
        .env("TERM", "dumb")
        .env("WARREN_SCOPE", "session")
        .env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
    command
}

/// Exit status, standard output and standard error of `warrenctl`.
pub(crate) fn warrenctl(bus: &Bus, args: &[&str]) -> (i32, String, String) {
    ended(alice(bus, "timeout").args(["300", "warrenctl"]).args(args).output().expect("timeout is installed"))
}

pub(crate) fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    (output.status.code().expect("no signal ended it"), text(output.stdout), text(output.stderr))
}

#[test]
fn a_shutdown_is_awaited_also_while_the_service_is_replaced() {
    world(async |world: World| {
        let mut service = Service::session(&world, ALICE.uid).await;
        // Without ACPI a machine cannot switch itself off.
        let xml =
            GuestXml::new("guest").to_string().replace("<devices>", "<features><acpi/></features><devices>");
        let guest = service.client.define_domain(&xml).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        // The test guest does not heed the button.
        let (code, _, text) =
            warrenctl(&service.bus, &["vm", "shutdown", "guest", "--wait", "--timeout", "2"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.starts_with("guest has not shut down in 2 s"), "{text}");
        assert_eq!(guest.state().await, "running", "it was left as it is");

        let waiting = || {
            alice(&service.bus, "timeout")
                .args(["300", "warrenctl", "--json", "vm", "shutdown", "guest", "--wait"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("timeout is installed")
        };
        console.run("(sleep 3; poweroff -f) >/dev/null 2>&1 &").await;
        let (code, answer, text) = ended(waiting().wait_with_output().expect("it ends"));
        assert_eq!((code, text.as_str()), (0, ""));
        assert!(answer.contains(r#""state": "done""#), "{answer}");
        assert_eq!(guest.state().await, "shutoff");

        let (mut console, _) = guest.boot().await;
        console.run("(sleep 5; poweroff -f) >/dev/null 2>&1 &").await;
        let child = waiting();
        tokio::time::sleep(Duration::from_secs(1)).await;
        service.kill_and_restart(&world).await;
        let (code, _, text) = ended(child.wait_with_output().expect("it ends"));
        assert_eq!((code, text.as_str()), (0, ""));
        assert_eq!(guest.state().await, "shutoff");
    });
}

#[test]
fn a_job_that_fails_says_why_as_a_call_does() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let xml = GuestXml::new("guest").with_kernel("/nonexistent/kernel").to_string();
        service.client.define_domain(&xml).await.expect("a kernel is looked for at the start");
        let (code, _, said) = warrenctl(&service.bus, &["vm", "start", "guest"]);
        assert_eq!(code, 1, "{said}");
        assert!(!said.contains("org.warren1.Error.") && said.contains("/nonexistent/kernel"), "{said}");
        let file = world.write("again.xml", &xml.replace(">guest<", ">again<")).display().to_string();
        let (code, _, told) = warrenctl(&service.bus, &["vm", "define", &file, "--start"]);
        assert_eq!(code, 1, "{told}");
        let on = "machine again is defined, and not started. Start it with: warrenctl vm start again";
        assert!(told.contains("/nonexistent/kernel") && told.contains(on), "{told}");
        assert_eq!(service.client.domain("again").await.expect("it is defined").state().await, "shutoff");
        // At a terminal it is a job, which may have ended before its path is answered.
        for _ in 0..10 {
            let command = ["-qefc", "warrenctl vm start guest", "/dev/null"];
            let terminal = alice(&service.bus, "script").args(command).stdin(Stdio::null()).output();
            let (code, shown, _) = ended(terminal.expect("script is installed"));
            assert_eq!(code, 1, "{shown}");
            assert!(shown.contains(said.trim_end()), "{shown} is not {said}");
        }
    });
}

#[test]
fn odd_names_are_listed_and_understood_in_any_locale() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let bus = &service.bus;
        let names = ["--help", "größer Gast", "ein  Gast", "plain"];
        for name in names {
            let xml = GuestXml::new(name).diskless().to_string();
            service.client.define_domain(&xml).await.expect("a valid document");
        }
        let (_, listed, _) = warrenctl(bus, &["vm", "list", "--names", "--state", "shutoff"]);
        assert_eq!(listed.lines().collect::<Vec<_>>(), ["--help", "ein  Gast", "größer Gast", "plain"]);
        assert_eq!(
            warrenctl(bus, &["vm", "list", "--state", "running,paused", "-q"]),
            (0, "".into(), "".into())
        );
        let (_, uuids, _) = warrenctl(bus, &["vm", "list", "-q"]);
        for (name, uuid) in listed.lines().zip(uuids.lines()) {
            for typed in [name, uuid] {
                let (code, shown, text) = warrenctl(bus, &["vm", "show", "--", typed]);
                assert_eq!(code, 0, "{text}");
                assert!(shown.contains(name) && shown.contains(uuid), "{typed}: {shown}");
            }
        }
    });
}

#[test]
fn a_service_that_ends_before_it_has_answered_cannot_be_reached() {
    world(async |world: World| {
        let bus = Bus::session(&world, ALICE.uid);
        assert_eq!(warrenctl(&bus, &["vm", "list", "-q"]).0, 0, "the first call starts it");
        let pid = world.sh("pgrep -x warrend");
        world.sh(&format!("kill -STOP {pid}"));
        let child = alice(&bus, "warrenctl").args(["vm", "list"]).stderr(Stdio::piped()).spawn();
        let child = child.expect("it was built");
        // It may connect and ask in the meantime.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.sh(&format!("kill -KILL {pid}"));
        let (code, _, text) = ended(child.wait_with_output().expect("it ends"));
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("look before doing it again"), "{text}");
        eventually("the next call starts the next one", Duration::from_secs(10), async || {
            (warrenctl(&bus, &["vm", "list", "-q"]).0 == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn who_may_not_is_told_so_and_who_has_no_bus_that_it_is_none() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let bob = |address: &str, args: &[&str]| {
            let mut command = command_as(BOB.uid, "/run/w/bin/warrenctl");
            command.env("DBUS_SYSTEM_BUS_ADDRESS", address).env("DBUS_SESSION_BUS_ADDRESS", address);
            ended(command.args(args).stdin(Stdio::null()).output().expect("it was built"))
        };
        let system = &service.bus.address;
        let (code, listed, text) = bob(system, &["--system", "net", "list", "--names"]);
        assert_eq!((code, listed.as_str()), (0, "default\n"), "{text}");
        let (code, _, text) = bob(system, &["--system", "net", "start", "default"]);
        assert_eq!(code, 1);
        assert!(!text.contains("org.freedesktop"), "it is for people: {text}");
        assert!(text.contains("call warrenctl at a terminal or as root"), "{text}");
        // Alice's bus lets nobody else in.
        let alice = Bus::session(&world, ALICE.uid);
        let (code, _, text) = bob(&alice.address, &["--session", "net", "list"]);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("DBUS_SESSION_BUS_ADDRESS"), "{text}");
    });
}
