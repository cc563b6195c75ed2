//! How the block nodes of a disk reach QEMU: as arguments where they name descriptors alone, else unseen. Owns the
//! choice of the way and the older form of a disk, in which one drive holds all its nodes; must never know what a
//! node is for.

use serde_json::{Value, json};

use super::Plan;
use crate::model::DiskDef;

/// The way of a disk's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Arguments, which everybody sees.
    Arguments,
    /// QMP, before there is a machine. It knows no descriptors of QEMU's own but sets of files.
    Qmp,
    /// A section of options.
    Options,
}

/// Gives QEMU the nodes, each after those it refers to; answers what a device calls the last one.
pub(super) fn give(plan: &mut Plan<'_>, disk: &DiskDef, way: Way, nodes: Vec<Value>) -> Option<String> {
    let top = nodes.last()?["node-name"].as_str()?.to_owned();
    match way {
        Way::Arguments => nodes.iter().for_each(|node| plan.args.json("-blockdev", node)),
        Way::Qmp => nodes.into_iter().for_each(|node| plan.before_the_machine("blockdev-add", node)),
        Way::Options => return drives(plan, disk, nodes),
    }
    Some(top)
}

/// As drives, which have names of their own, the lowest first: one for each image of the chain. Inside another one,
/// an image would be looked for by the name that the upper image has of it.
fn drives(plan: &mut Plan<'_>, disk: &DiskDef, mut nodes: Vec<Value>) -> Option<String> {
    let mut sections = Vec::new();
    while let Some(top) = nodes.pop() {
        let id = format!("drive-{}", top["node-name"].as_str().unwrap_or_default());
        let mut options = vec![("if".to_owned(), "none".to_owned())];
        flatten("", &whole(top, &mut nodes), &mut options);
        sections.push((id, options));
    }
    for (id, options) in sections.iter().rev() {
        let options: Vec<_> = options.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        if plan.options("drive", id, &options).is_err() {
            let message = "beside a display that is a window, beside SPICE without QXL, and by a socket of this \
                           host, QEMU can be handed only short names of disks, without quotes";
            let remedy =
                "choose another name, or write <graphics type='vnc'/> or <video><model type='qxl'/></video>";
            plan.unsupported(&format!("{}/source/@name", disk.info.path), message, remedy);
        }
    }
    sections.into_iter().next().map(|(id, _)| id)
}

/// A node with the file below it in it. What a node does not say it would have from the one above.
fn whole(mut node: Value, nodes: &mut Vec<Value>) -> Value {
    let cache = json!({ "direct": false, "no-flush": false });
    let unsaid = json!({ "read-only": false, "auto-read-only": false, "discard": "ignore", "cache": cache });
    for (name, value) in unsaid.as_object().into_iter().flatten() {
        if node.get(name).is_none() {
            node[name.as_str()] = value.clone();
        }
    }
    let below = node["file"].as_str().map(str::to_owned);
    let is_below = |n: &Value| below.is_some() && n["node-name"].as_str() == below.as_deref();
    if let Some(at) = nodes.iter().position(is_below) {
        let found = nodes.remove(at);
        node["file"] = whole(found, nodes);
    }
    node
}

/// Options with dots in their names. Nothing, as of what lies below an image, is an empty text.
fn flatten(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    let text = match value {
        Value::Object(all) => {
            return all.iter().for_each(|(part, value)| flatten(&below(part), value, into));
        }
        Value::Array(all) => {
            return all
                .iter()
                .enumerate()
                .for_each(|(at, value)| flatten(&below(&at.to_string()), value, into));
        }
        Value::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
    };
    into.push((name.to_owned(), text));
}
