//! Judges sectioned updates: done or refused as by libvirt, and with the same result.

use std::path::Path;

use serde_json::Value;
use warren::model::{NetworkDef, NetworkDoc};
use warren::plan::update::{UpdateError, apply};

use crate::case::{Case, Verdict, documents};
use crate::network::{defined, planned, same_identity};

/// All cases of the folder.
pub fn judge(dir: &Path) -> Vec<Case> {
    let case = |(name, path): (String, std::path::PathBuf)| {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        match judged(&case) {
            Err(problem) => Case::new(&name, &[problem]),
            Ok(verdict) => Case { name, verdict },
        }
    };
    documents(dir, "json").into_iter().map(case).collect()
}

fn judged(case: &Value) -> Result<Verdict, String> {
    let text = |key: &str| case[key].as_str().unwrap_or("");
    let base = defined(text("base")).map_err(|e| e.join("\n"))?;
    let index = i32::try_from(case["index"].as_i64().unwrap()).unwrap();
    let (command, section) = (text("command").parse().unwrap(), text("section").parse().unwrap());
    let new = apply(&base, command, section, index, text("fragment"));
    match (new, text("expect")) {
        (Ok(_), "refused") => Err("done, where libvirt refuses".into()),
        (Err(e), "refused") => Ok(Verdict::RefusedWithReason(warren::chain(&e))),
        // libvirt's test of the update alone takes what its daemon, which reads the result again, does not.
        (Err(UpdateError::Invalid(e)), _) if case["result"].as_str().is_some_and(|r| defined(r).is_err()) => {
            Ok(Verdict::DifferentOnPurpose(format!("the result is no valid network: {e}")))
        }
        (Err(e), _) => Err(format!("refused: {}", warren::chain(&e))),
        (Ok(new), _) => {
            let problems = planned(&new);
            if !problems.is_empty() {
                return Err(problems.join("\n"));
            }
            match case["result"].as_str() {
                Some(result) => same(&new, result),
                None => Ok(Verdict::Right),
            }
        }
    }
}

fn same(new: &NetworkDoc, result: &str) -> Result<Verdict, String> {
    let wanted = defined(result).map_err(|e| format!("the result is not accepted: {}", e.join("\n")))?;
    let (mut ours, mut theirs) = (new.def().clone(), wanted.def().clone());
    same_identity(&mut ours, &mut theirs);
    for def in [&mut ours, &mut theirs] {
        without_empty_dhcp(def);
    }
    if ours == theirs {
        return Ok(Verdict::Right);
    }
    Err(format!("another result:\n{ours:#?}\nlibvirt's:\n{theirs:#?}"))
}

/// A `<dhcp>` with nothing in it is as good as none.
fn without_empty_dhcp(def: &mut NetworkDef) {
    for ip in &mut def.ips {
        if ip.dhcp.as_ref().is_some_and(|d| d.ranges.is_empty() && d.hosts.is_empty() && d.bootp.is_none()) {
            ip.dhcp = None;
        }
    }
}
