//! What `make install` lays down is what the packages hold, and the files of the packages are right in
//! themselves. That a package lives well in a system, `make test-boot` shows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
/// Where `make deb` puts the files, which the assets in Cargo.toml speak of.
const ROOT: &str = "target/packages/root/";

fn installed(zsh: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_warrend")).parent().unwrap();
    let mut make = Command::new("make");
    let make = make
        .arg("install")
        .current_dir(SOURCE)
        .arg(format!("BIN={}", programs.display()))
        .arg(format!("ZSH_DIR={zsh}"));
    succeeds(make.arg(format!("DESTDIR={}", dir.path().display())));
    dir
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; run scripts/setup.sh"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    output
}

/// All files below, as paths relative to it.
fn files(root: &Path) -> BTreeSet<String> {
    let (mut found, mut dirs) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// `cargo deb` takes what its assets match; a file that none matches would be missing.
#[test]
fn the_deb_holds_what_is_installed() {
    let root = installed("vendor-completions");
    let manifest = fs::read_to_string(Path::new(SOURCE).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let deb = manifest["package"]["metadata"]["deb"].as_table().unwrap();
    let assets: Vec<&str> =
        deb["assets"].as_array().unwrap().iter().map(|a| a[0].as_str().unwrap()).collect();
    let patterns: Vec<&str> = assets.iter().map(|asset| asset.strip_prefix(ROOT).unwrap()).collect();
    let matches = |file: &str, pattern: &str| match pattern.strip_suffix("**/*") {
        Some(dir) => file.starts_with(dir),
        None => file == pattern,
    };
    let files = files(root.path());
    for file in &files {
        let by = patterns.iter().filter(|pattern| matches(file, pattern)).count();
        assert_eq!(by, 1, "'{file}' is matched by {by} assets");
    }
    for pattern in patterns {
        assert!(files.iter().any(|file| matches(file, pattern)), "'{pattern}' matches nothing");
    }
    for file in deb["conf-files"].as_array().unwrap() {
        assert!(files.contains(file.as_str().unwrap().trim_start_matches('/')), "{file}");
    }
    assert!(
        files.iter().filter(|file| file.starts_with("etc/")).count()
            == deb["conf-files"].as_array().unwrap().len()
    );
}

/// rpmbuild fails over a file that %files does not speak of, and over one that is not there.
#[test]
fn the_rpm_holds_what_is_installed() {
    let root = installed("site-functions");
    let top = tempfile::tempdir().unwrap();
    let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
    let path = |dir: &tempfile::TempDir| dir.path().display().to_string();
    succeeds(
        Command::new("rpmbuild")
            .args(["-bb", "--quiet"])
            .args(define("_topdir", &path(&top)))
            .args(define("warren_root", &path(&root)))
            .args(define("_binary_payload", "w0.ufdio"))
            .args(define("__os_install_post", "%{nil}"))
            .arg("packaging/rpm/warren.spec")
            .current_dir(SOURCE),
    );
    let made: Vec<String> = files(top.path()).into_iter().filter(|file| file.ends_with(".rpm")).collect();
    let [package] = made.as_slice() else { panic!("one package: {made:?}") };
    let listed = succeeds(Command::new("rpm").args(["-qlp"]).arg(top.path().join(package)));
    let listed: BTreeSet<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    for file in files(root.path()) {
        assert!(listed.contains(&format!("/{file}")), "{file}: {listed:?}");
    }
}

#[test]
fn completions_pages_and_translations_are_where_they_are_looked_for() {
    let root = installed("vendor-completions");
    let share = root.path().join("usr/share");
    let read = |path: &str| fs::read_to_string(share.join(path)).unwrap();
    let bash = read("bash-completion/completions/warrenctl");
    assert!(bash.lines().any(|l| l.contains("complete ") && l.ends_with(" warrenctl")), "{bash}");
    assert!(read("zsh/vendor-completions/_warrenctl").starts_with("#compdef warrenctl"));
    let fish = read("fish/vendor_completions.d/warrenctl.fish");
    assert!(fish.contains("complete ") && fish.contains("--command warrenctl"), "{fish}");
    assert!(share.join("locale/de/LC_MESSAGES/warren.mo").exists());
    for page in ["man1/warrenctl.1", "man5/org.warren1.5", "man8/warrend.8"] {
        assert!(read(&format!("man/{page}")).contains(".TH"), "{page}");
    }
}

#[test]
fn maintainer_scripts_are_shell() {
    for script in ["postinst", "prerm", "postrm"] {
        succeeds(Command::new("sh").args(["-n", &format!("packaging/deb/{script}")]).current_dir(SOURCE));
    }
}

#[test]
fn the_apparmor_profiles_compile() {
    // Its package puts it where only root looks.
    let places = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];
    let Some(parser) = places.iter().find(|place| Path::new(place).exists()) else {
        assert!(!Path::new("/etc/debian_version").exists(), "apparmor is missing: run scripts/setup.sh");
        println!("NOT RUN: this distribution has no AppArmor");
        return;
    };
    succeeds(
        Command::new(parser)
            .args(["-QT", "--skip-kernel-load", "--warn=all", "packaging/apparmor/usr.sbin.warrend"])
            .current_dir(SOURCE),
    );
}
