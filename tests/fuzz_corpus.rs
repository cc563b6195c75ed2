//! What fuzzing found worth keeping, tried again: `fuzz/corpus/TARGET/`. New bytes are tried by `cargo fuzz`.

#[path = "../fuzz/properties.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz targets")]
mod properties;

fn replay(target: &str, property: fn(&[u8])) {
    let dir = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{dir}: {e}"));
    let mut tried = 0;
    for file in files {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("a file that can be read");
        // The harness shows it where the property does not hold.
        println!("{}", path.display());
        property(&bytes);
        tried += 1;
    }
    assert!(tried >= 10, "{dir} has {tried} files");
}

#[test]
fn xml_tree() {
    replay("xml_tree", properties::xml_tree);
}

#[test]
fn network() {
    replay("network", properties::network);
}

#[test]
fn domain() {
    replay("domain", properties::domain);
}

#[test]
fn qmp() {
    replay("qmp", properties::qmp);
}

#[test]
fn leases() {
    replay("leases", properties::leases);
}
