//! USB devices of whoever sits at the display.

use serde_json::json;

use super::chardev::{self, Use};
use super::{Handed, Plan, set};
use crate::model::{RedirdevDef, UsbRule};

pub(super) fn add(plan: &mut Plan<'_>, handed: &Handed, redirdev: &RedirdevDef, index: usize) {
    let id = plan.name(&redirdev.info, "redir", index);
    let chardev = format!("char{id}");
    chardev::add(plan, handed, &redirdev.source, &chardev, Use::Channel("usbredir"));
    let mut device = json!({ "driver": "usb-redir", "chardev": chardev, "id": id });
    let rules: Vec<String> = plan.def.redirfilter.iter().map(rule).collect();
    set(&mut device, "filter", (!rules.is_empty()).then(|| rules.join("|")));
    set(&mut device, "bootindex", redirdev.info.boot_order);
    plan.usb_place(&redirdev.info, &mut device);
    plan.device(&redirdev.info.path, &device);
}

/// `CLASS:VENDOR:PRODUCT:VERSION:ALLOW`, -1 being any.
fn rule(rule: &UsbRule) -> String {
    let class = rule.class.map_or("-1".to_owned(), |c| format!("0x{c:02X}"));
    let id = |id: Option<u16>| id.map_or("-1".to_owned(), |n| format!("0x{n:04X}"));
    let (vendor, product, version) = (id(rule.vendor), id(rule.product), id(rule.version));
    format!("{class}:{vendor}:{product}:{version}:{}", u8::from(rule.allow))
}
