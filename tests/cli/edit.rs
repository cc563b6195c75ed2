//! `edit`: with an editor that is a script, at a terminal and without one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::on;
use crate::service::Bus;
use crate::terminal::Terminal;

/// An editor that does what the script says, with the file as `$1`.
fn editor(dir: &TempDir, script: &str) -> PathBuf {
    let file = dir.path().join("editor");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
    file
}

/// Files that are kept.
fn kept(dir: &TempDir) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|e| e == "xml")).collect()
}

fn edit(bus: &Bus, dir: &TempDir, editor: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = on(bus, args)
        .env("TMPDIR", dir.path())
        .env("VISUAL", editor)
        .env("EDITOR", "false")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_was_changed_is_defined_if_nobody_else_changed_it() {
    let (bus, dir) = (Bus::with_service(), tempfile::tempdir().unwrap());
    let changing = editor(&dir, r#"stat -c %a "$1" > "$0.mode"; echo '<network>new</network>' > "$1""#);
    let (code, out, err) = edit(&bus, &dir, &changing, &["net", "edit", "private"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "network private changed\n", ""));
    assert_eq!(bus.calls(), ["GetXml", "DefineNetwork <network>new</network>\n if-generation=7"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("editor.mode")).unwrap(), "600\n");
    assert_eq!(kept(&dir), Vec::<PathBuf>::new());

    let (code, ..) = edit(&bus, &dir, &editor(&dir, "echo x >> $1"), &["vm", "edit", "echo"]);
    assert_eq!(code, Some(0));
    assert_eq!(bus.calls()[0], "GetXml secrets=true", "passwords are not lost by an edit");
    edit(&bus, &dir, &editor(&dir, "echo x >> $1"), &["vm", "edit", "echo", "--no-secrets"]);
    assert_eq!(bus.calls()[0], "GetXml");
}

#[test]
fn what_was_not_changed_is_not_defined() {
    let (bus, dir) = (Bus::with_service(), tempfile::tempdir().unwrap());
    let (code, out, _) = edit(&bus, &dir, Path::new("true"), &["net", "edit", "private"]);
    assert_eq!((code, out.as_str()), (Some(0), "network private not changed\n"));
    let (_, out, _) = edit(&bus, &dir, Path::new("true"), &["--json", "net", "edit", "private"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&json["name"], &json["generation"]),
        (&"private".into(), &7.into()),
        "as one that was changed"
    );
    let (code, _, err) = edit(&bus, &dir, Path::new("false"), &["net", "edit", "private"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("the editor 'false': "), "{err}");
    assert_eq!(bus.calls(), ["GetXml"; 3]);
    assert_eq!(kept(&dir), Vec::<PathBuf>::new());
}

#[test]
fn what_was_refused_is_kept() {
    let (bus, dir) = (Bus::with_service(), tempfile::tempdir().unwrap());
    let wrong = editor(&dir, r#"printf '<network>\n  <nonsense/>\n</network>\n' > "$1""#);
    let (code, _, err) = edit(&bus, &dir, &wrong, &["net", "edit", "private"]);
    assert_eq!(code, Some(1));
    let [file] = &kept(&dir)[..] else { panic!("it is gone") };
    assert!(err.contains("2 |   <nonsense/>"), "{err}");
    assert!(err.ends_with(&format!("what you wrote is kept in {}\n", file.display())), "{err}");
    assert!(std::fs::read_to_string(file).unwrap().contains("<nonsense/>"));
}

#[test]
fn at_a_terminal_it_may_be_edited_again() {
    let (bus, dir) = (Bus::with_service(), tempfile::tempdir().unwrap());
    // Wrong at first, right at the second time.
    let learning = editor(
        &dir,
        r#"if grep -q nonsense "$1"; then echo '<network>right</network>' > "$1"; else echo '<nonsense/>' > "$1"; fi"#,
    );
    let set = [("TMPDIR", dir.path().to_str().unwrap()), ("VISUAL", learning.to_str().unwrap())];
    let mut terminal = Terminal::run(&bus, "warrenctl net edit private", &set);
    terminal.wait_for("Edit again? [Y/n]");
    terminal.type_in("y\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("network private changed"), "{shown}");
    assert_eq!(bus.calls().last().unwrap(), "DefineNetwork <network>right</network>\n if-generation=7");
    assert_eq!(kept(&dir), Vec::<PathBuf>::new());

    let mut terminal = Terminal::run(&bus, "warrenctl net edit private", &set);
    terminal.wait_for("Edit again? [Y/n]");
    terminal.type_in("n\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(1), "{shown}");
    assert_eq!(kept(&dir).len(), 1);
}
