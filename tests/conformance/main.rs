//! Documents of libvirt's and virt-manager's own test data, from the directory in `$WARREN_CONFORMANCE`.
//! Each is judged as the README there says; none may be wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod case;
mod dnsmasq;
mod network;
mod update;

use std::path::PathBuf;

use case::{Case, Verdict};

#[test]
fn networks() {
    let Some(dir) = std::env::var_os("WARREN_CONFORMANCE").map(PathBuf::from) else {
        println!("NOT RUN: no conformance data");
        return;
    };
    let mut cases = network::judge(&dir.join("libvirt/network"));
    cases.extend(network::judge(&dir.join("virt-manager/network")));
    cases.extend(dnsmasq::judge(&dir.join("libvirt/dnsmasq")));
    cases.extend(update::judge(&dir.join("libvirt/update")));
    for case in &cases {
        println!("{case}");
    }
    let wrong: Vec<&Case> = cases.iter().filter(|c| matches!(c.verdict, Verdict::Wrong(_))).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong", wrong.len(), cases.len());
}
