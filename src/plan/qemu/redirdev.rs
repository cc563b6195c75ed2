//! USB devices of whoever sits at the display.

use serde_json::json;

use super::args::escaped;
use super::{Plan, set};
use crate::model::{RedirSource, RedirdevDef, UsbRule};

pub(super) fn add(plan: &mut Plan<'_>, redirdev: &RedirdevDef, index: usize) {
    let id = redirdev.info.alias.clone().unwrap_or_else(|| format!("redir{index}"));
    let chardev = format!("char{id}");
    let source = match &redirdev.source {
        RedirSource::Spicevmc => format!("spicevmc,id={chardev},name=usbredir"),
        RedirSource::Tcp { listen, host, service } => {
            let end = if *listen { ",server=on,wait=off" } else { "" };
            format!("socket,id={chardev},host={},port={}{end}", escaped(host), escaped(service))
        }
        RedirSource::Other(kind) => {
            let message = format!("Warren does not redirect USB devices over '{kind}'");
            plan.unsupported(&format!("{}/@type", redirdev.info.path), message, "write spicevmc or tcp");
            return;
        }
    };
    plan.args.pair("-chardev", source);
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
