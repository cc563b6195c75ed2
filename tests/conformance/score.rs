//! The score: counted, and written as `docs/conformance.md`.

use std::fmt::Write as _;
use std::path::Path;

use crate::case::{Case, Verdict, given};
use crate::{guests, on_purpose, planned};

/// A folder's cases.
pub struct Folder {
    /// Its path below the directory of all.
    pub name: &'static str,
    /// What came of each.
    pub cases: Vec<Case>,
}

/// How many of the documents for QEMU or KVM on x86 are accepted, and how many there are.
pub fn accepted_on_x86(dir: &Path) -> (usize, usize) {
    let folders = ["libvirt/domain", "virt-manager/domain"].map(|f| dir.join(f));
    let documents = folders.iter().filter(|f| f.is_dir()).flat_map(|f| given(f));
    let is_ours = |text: &str| {
        let doc = warren::xml::Document::parse(text).ok();
        let os_type = doc.as_ref().and_then(|d| d.find("/domain/os/type"));
        let arch = os_type.and_then(|t| t.attr("arch")).unwrap_or("x86_64");
        matches!(guests::kind(text).as_str(), "qemu" | "kvm") && matches!(arch, "x86_64" | "i686")
    };
    let ours: Vec<String> =
        documents.filter(|d| d.refused.is_none() && is_ours(&d.text)).map(|d| d.text).collect();
    let taken = |text: &String| std::panic::catch_unwind(|| planned::define(text).is_ok()).unwrap_or(false);
    (ours.iter().filter(|text| taken(text)).count(), ours.len())
}

/// Cases of each verdict: right, refused with reason, wrong, different on purpose.
pub fn count(cases: &[Case]) -> [usize; 4] {
    let mut counts = [0; 4];
    for case in cases {
        counts[match case.verdict {
            Verdict::Right => 0,
            Verdict::RefusedWithReason(_) => 1,
            Verdict::Wrong(_) => 2,
            Verdict::DifferentOnPurpose(_) => 3,
        }] += 1;
    }
    counts
}

/// The first words of the line that tells with how many documents a score was made.
pub const MADE_WITH: &str = "Made with ";

/// The page.
pub fn page(folders: &[Folder], documents: usize, (accepted, of): (usize, usize)) -> String {
    let mut page = format!(
        "# How Warren reads what libvirt reads\n\n\
         The documents are test data of libvirt and of virt-manager, which are not kept here; see *Conformance* in\n\
         [testing.md](testing.md). `make conformance` writes this page.\n\n\
         {MADE_WITH}{documents} documents.\n\n\
         | folder | accepted and right | refused with reason | wrong | different on purpose |\n\
         |---|---:|---:|---:|---:|\n"
    );
    let mut row = |name: &str, counts: [usize; 4]| {
        let [right, refused, wrong, different] = counts;
        let _ = writeln!(page, "| {name} | {right} | {refused} | {wrong} | {different} |");
    };
    let mut all = [0; 4];
    for folder in folders {
        let counts = count(&folder.cases);
        row(&format!("`{}`", folder.name), counts);
        all.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    row("all", all);
    let _ = writeln!(
        page,
        "\nOf {of} documents for QEMU or KVM on x86, {accepted} are accepted ({}).",
        percent(accepted, of)
    );
    list(&mut page, folders, "Different on purpose", |verdict| match verdict {
        Verdict::DifferentOnPurpose(reason) => Some(reason),
        _ => None,
    });
    list(&mut page, folders, "Refused with reason", |verdict| match verdict {
        Verdict::RefusedWithReason(reason) => Some(reason),
        _ => None,
    });
    page
}

/// A share in per cent, rounded down, so that 100 means all.
pub fn percent(part: usize, of: usize) -> String {
    let tenths = (part * 1000).checked_div(of).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn list(page: &mut String, folders: &[Folder], title: &str, reason: impl Fn(&Verdict) -> Option<&String>) {
    let _ = write!(page, "\n## {title}\n\n| case | reason |\n|---|---|\n");
    for folder in folders {
        for case in &folder.cases {
            if let Some(reason) = reason(&case.verdict) {
                let reason = reason.replace(" | ", "; ").replace('|', "\\|").replace('\n', " ");
                let _ = writeln!(page, "| `{}/{}` | {reason} |", folder.name, case.name);
            }
        }
    }
}

/// Takes what is different on purpose out of what is wrong, and tells which reasons are for nothing.
pub fn sort_out(folders: &mut [Folder]) -> Vec<String> {
    let mut stale = Vec::new();
    for folder in folders {
        for case in &mut folder.cases {
            let name = format!("{}/{}", folder.name, case.name);
            match (on_purpose::reason(&name), &case.verdict) {
                (Some(reason), Verdict::Wrong(_)) => {
                    case.verdict = Verdict::DifferentOnPurpose(reason.to_owned());
                }
                (Some(_), _) => stale.push(name),
                (None, _) => {}
            }
        }
    }
    stale
}
