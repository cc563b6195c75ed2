//! Lists: by state, as names and as UUIDs.

use serde_json::Value;

use crate::objects::UUID;
use crate::service::Bus;
use crate::{failure, on, output};

const MACHINE: &str = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

#[test]
fn a_list_is_of_those_in_some_states() {
    let bus = Bus::with_service();
    let all = |args: &[&str]| output(&bus, args).lines().count() - 1;
    assert_eq!(all(&["vm", "list", "--state", "running"]), 1);
    assert_eq!(all(&["vm", "list", "--state", "paused,running"]), 1);
    assert_eq!(all(&["vm", "list", "--state", "paused", "--state", "running"]), 1);
    assert_eq!(all(&["vm", "list", "--state", "shutoff"]), 0);
    assert_eq!(all(&["net", "list", "--state", "inactive"]), 1);
    assert_eq!(all(&["net", "list", "--state", "active"]), 0);
    assert_eq!(output(&bus, &["--json", "net", "list", "--state", "active"]), "[]\n");
    let (code, text) = failure(&mut on(&bus, &["vm", "list", "--state", "runing"]));
    assert_eq!(code, 2);
    assert!(text.contains("a similar value exists: 'running'"), "{text}");
    assert_eq!(failure(&mut on(&bus, &["net", "list", "--state", "running"])).0, 2, "a network is active");
}

#[test]
fn a_list_is_short_for_people_and_long_if_asked() {
    let bus = Bus::with_service();
    assert_eq!(
        output(&bus, &["vm", "list"]),
        "Name  State    Addresses      Memory\necho  running  192.168.122.5  128 MiB\n"
    );
    assert_eq!(
        output(&bus, &["net", "list"]),
        "Name     State     Mode      Addresses\nprivate  inactive  isolated  192.168.152.1/24\n"
    );
    let long = output(&bus, &["vm", "list", "--long"]);
    assert!(long.contains(MACHINE) && long.contains("root"), "the owner by name: {long}");
    assert_eq!(failure(&mut on(&bus, &["vm", "list", "--long", "--names"])).0, 2);
}

#[test]
fn a_script_gets_names_or_uuids_alone_and_json_whole() {
    let bus = Bus::with_service();
    assert_eq!(output(&bus, &["vm", "list", "--names"]), "echo\n");
    assert_eq!(output(&bus, &["vm", "list", "-q"]), format!("{MACHINE}\n"));
    assert_eq!(output(&bus, &["net", "list", "--names"]), "private\n");
    assert_eq!(output(&bus, &["net", "list", "--quiet"]), format!("{UUID}\n"));
    assert_eq!(output(&bus, &["vm", "list", "-q", "--state", "paused"]), "", "not even an empty line");
    for flag in ["--names", "--quiet"] {
        let list: Value = serde_json::from_str(&output(&bus, &["--json", "vm", "list", flag])).unwrap();
        assert_eq!(
            (&list[0]["name"], &list[0]["uuid"], &list[0]["vcpus"]),
            (&"echo".into(), &MACHINE.into(), &2.into())
        );
    }
    assert_eq!(failure(&mut on(&bus, &["vm", "list", "-q", "--names"])).0, 2);
}
