//! Documents of libvirt's and virt-manager's own tests, from the directory that `$WARREN_CONFORMANCE` names: each
//! is accepted and means the same, or is refused with a reason that is true. The score is `docs/conformance.md`.

#![expect(unreachable_pub, reason = "a test has no outside; `pub` is what a file offers the others")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod argv;
mod case;
mod dnsmasq;
mod domain;
mod guests;
mod kept;
mod network;
mod on_purpose;
mod planned;
mod score;
mod update;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use case::{Case, Verdict};
use score::Folder;

/// A judge of a folder's documents.
type Judge = fn(&Path) -> Vec<Case>;

/// Each folder with its judge.
const FOLDERS: [(&str, Judge); 6] = [
    ("libvirt/network", network::judge),
    ("libvirt/dnsmasq", dnsmasq::judge),
    ("libvirt/update", update::judge),
    ("libvirt/domain", domain::judge),
    ("virt-manager/network", network::judge),
    ("virt-manager/domain", guests::judge),
];

/// What at least must be accepted of documents for QEMU or KVM on x86, in per cent.
const ACCEPTED: usize = 95;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");

/// To the terminal, also from a test that passes.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}

fn number_of_documents(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .map(|path| match path.is_dir() {
            true => number_of_documents(&path),
            false => usize::from(path.extension().is_some_and(|e| e == "xml" || e == "json")),
        })
        .sum()
}

#[test]
fn documents_of_libvirt_and_virt_manager() {
    let Some(dir) = std::env::var_os("WARREN_CONFORMANCE").map(PathBuf::from) else {
        say("NOT RUN: no conformance data");
        return;
    };
    let mut folders: Vec<Folder> = FOLDERS
        .into_iter()
        .filter(|(name, _)| dir.join(name).is_dir())
        .map(|(name, judge)| Folder { name, cases: judge(&dir.join(name)) })
        .collect();
    assert!(!folders.is_empty(), "{}: none of the folders is there", dir.display());
    let stale = score::sort_out(&mut folders);

    let mut wrong = 0;
    for folder in &folders {
        for case in &folder.cases {
            if let Verdict::Wrong(what) = &case.verdict {
                say(&format!("wrong: {}/{}: {what}", folder.name, case.name));
                wrong += 1;
            }
        }
    }
    for folder in &folders {
        let [right, refused, wrong, different] = score::count(&folder.cases);
        say(&format!(
            "{}: {right} accepted and right, {refused} refused with reason, {wrong} wrong, {different} different on purpose",
            folder.name
        ));
    }
    let (accepted, of) = score::accepted_on_x86(&dir);
    say(&format!("for QEMU or KVM on x86: {accepted} of {of} accepted, {}", score::percent(accepted, of)));

    let documents = number_of_documents(&dir);
    let page = score::page(&folders, documents, (accepted, of));
    if std::env::var_os("WARREN_BLESS").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let same_documents = written.contains(&format!("{}{documents} documents.", score::MADE_WITH));
    assert_eq!(wrong, 0, "cases are wrong; they are told above");
    assert!(accepted * 100 >= of * ACCEPTED, "{accepted} of {of} accepted; {ACCEPTED} % are wanted");
    assert!(stale.is_empty(), "these do not differ any more: {stale:?}");
    assert!(
        !same_documents || written == page,
        "docs/conformance.md is not what was found: make conformance"
    );
}
