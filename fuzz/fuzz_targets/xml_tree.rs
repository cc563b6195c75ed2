#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target holds one property of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::xml_tree(data));
