//! What the document says to QEMU directly.

use serde_json::Value;

use super::Plan;
use crate::model::{Deprecation, PropertyValue};

/// Sets what `<qemu:override>` says of a device.
pub(super) fn overridden(plan: &Plan<'_>, device: &mut Value) {
    let id = device["id"].as_str().unwrap_or_default().to_owned();
    let of_device = plan.def.direct.overrides.iter().filter(|o| o.alias == id);
    for (name, value) in of_device.flat_map(|o| &o.properties) {
        let value: Value = match value {
            Some(PropertyValue::String(s)) => s.as_str().into(),
            Some(PropertyValue::Signed(n)) => (*n).into(),
            Some(PropertyValue::Unsigned(n)) => (*n).into(),
            Some(PropertyValue::Bool(b)) => (*b).into(),
            None => {
                if let Some(object) = device.as_object_mut() {
                    object.remove(name);
                }
                continue;
            }
        };
        device[name.as_str()] = value;
    }
}

/// Arguments of the document's own, which come last.
pub(super) fn add(plan: &mut Plan<'_>) {
    let direct = &plan.def.direct;
    let input = match direct.deprecation {
        None | Some(Deprecation::None) => None,
        Some(Deprecation::Omit) => Some(""),
        Some(Deprecation::Reject) => Some(",deprecated-input=reject"),
        Some(Deprecation::Crash) => Some(",deprecated-input=crash"),
    };
    if let Some(input) = input {
        plan.args.pair("-compat", format!("deprecated-output=hide{input}"));
    }
    for arg in &direct.args {
        plan.args.flag(arg);
    }
}
