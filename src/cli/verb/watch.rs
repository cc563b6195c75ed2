//! `watch [--topics …] [--net NAME | --vm NAME]`

use std::collections::HashMap;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use zbus::Variant;
use zbus::fdo::ManagedObjects;

use super::Session;
use crate::cli::args::Watch;
use crate::cli::colour;
use crate::cli::error::{CliError, for_people};
use crate::cli::events::{Event, Events};
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Bus, JOB, Map, ROOT};

/// Prints events, one a line, until Ctrl-C or until the bus or the reader is gone.
pub(in crate::cli) async fn run(session: &Session, watch: Watch) -> Result<ExitCode, CliError> {
    let only = session.target(&watch.target).await?.map(|object| object.path().to_owned());
    let mut events = Events::listen(&session.bus).await?;
    let mut view = View { json: session.json, only, known: HashMap::new() };
    // Asked beside the reading of signals, and again of each service that comes.
    let ask = || tokio::spawn(catch_up(session.bus.clone(), watch.topics.clone()));
    let mut asked = Some(ask());
    let mut first = true;
    let mut reader_gone = pin!(output::reader_gone());
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|e| CliError::Local { what: "cannot hear Ctrl-C".into(), source: e })?;
    loop {
        tokio::select! {
            biased;
            _ = interrupts.recv() => return Ok(ExitCode::SUCCESS),
            () = &mut reader_gone => return Ok(ExitCode::SUCCESS),
            objects = async { asked.as_mut().expect("it is some").await }, if asked.is_some() => {
                asked = None;
                match objects.unwrap_or_else(|e| Err(CliError::Unreachable(e.to_string()))) {
                    Ok(objects) => view.learn(objects),
                    Err(e) if first => return Err(e),
                    // It may have gone again; the next one is asked anew.
                    Err(e) if session.json => output::tell(e.to_json()),
                    Err(e) => output::tell(e),
                }
                first = false;
            }
            // What comes before the names are known waits for them.
            event = events.next(), if !first => {
                let event = event?;
                if matches!(event, Event::Service { runs: true }) {
                    asked = Some(ask());
                }
                if let Some(line) = view.line(&event) && !output::write_while_read(line.as_bytes())? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
}

/// Subscribes, and then reads what there is.
async fn catch_up(bus: Bus, topics: Vec<String>) -> Result<ManagedObjects, CliError> {
    if !topics.is_empty() {
        bus.subscribe(&topics).await?;
    }
    bus.managed_objects().await
}

/// An object that has been told of.
#[derive(Debug, Clone)]
struct Known {
    /// `network`, `machine` or `job`.
    kind: &'static str,
    /// Of a job, what it does.
    name: String,
    /// Of a job, to what.
    target: String,
}

/// What is shown of events, and how.
#[derive(Debug)]
struct View {
    json: bool,
    /// The only object that is shown, if not all are.
    only: Option<String>,
    known: HashMap<String, Known>,
}

impl View {
    fn learn(&mut self, objects: ManagedObjects) {
        for (path, interfaces) in objects {
            for (interface, properties) in interfaces {
                self.meet(path.as_str(), interface.as_str(), &properties);
            }
        }
    }

    fn meet(&mut self, path: &str, interface: &str, properties: &Map) {
        let part = |key| output::part(properties, key);
        let known = match Kind::of(interface) {
            Some(kind) => Known { kind: kind.noun(), name: part("Name"), target: String::new() },
            None if interface == JOB => {
                Known { kind: "job", name: part("Operation"), target: part("Object") }
            }
            None => return,
        };
        self.known.insert(path.to_owned(), known);
    }

    /// The line of an event; nothing if it is not to be shown.
    fn line(&mut self, event: &Event) -> Option<String> {
        if let Event::Added { object, interfaces } = event {
            for (interface, properties) in interfaces {
                self.meet(object, interface, properties);
            }
        }
        let (object, word) = match event {
            Event::Service { .. } => (ROOT, "service"),
            Event::Added { object, .. } => (object.as_str(), "added"),
            Event::Removed { object } => (object.as_str(), "removed"),
            Event::Changed { object, .. } => (object.as_str(), "changed"),
            Event::Signal { object, member, .. } => (object.as_str(), member.as_str()),
        };
        let known = match event {
            Event::Removed { .. } => self.known.remove(object),
            _ => self.known.get(object).cloned(),
        };
        let of_it = |only: &String| object == only || known.as_ref().is_some_and(|k| k.target == *only);
        if !matches!(event, Event::Service { .. }) && !self.only.as_ref().is_none_or(of_it) {
            return None;
        }
        Some(if self.json {
            format!("{}\n", json_line(event, &output::kebab(word), object, known.as_ref()))
        } else {
            let target = known.as_ref().and_then(|k| self.known.get(&k.target)).map(|k| k.name.as_str());
            format!("{}: {}\n", subject(object, known.as_ref(), target), words(event))
        })
    }
}

/// Who an event speaks of, for people.
fn subject(object: &str, known: Option<&Known>, target: Option<&str>) -> String {
    match known {
        Some(Known { kind: "job", name, .. }) => {
            let number = object.rsplit('/').next().unwrap_or_default();
            format!("job {number} ({name}{})", target.map_or(String::new(), |name| format!(" {name}")))
        }
        Some(Known { kind, name, .. }) => format!("{kind} {name}"),
        None if object == ROOT => "service".into(),
        None => object.to_owned(),
    }
}

/// What happened, for people.
fn words(event: &Event) -> String {
    let values = |arguments: &[Value]| -> Vec<String> { arguments.iter().map(plain).collect() };
    match event {
        Event::Service { runs: true } => "runs".into(),
        Event::Service { runs: false } => "ended".into(),
        Event::Added { .. } => "added".into(),
        Event::Removed { .. } => "removed".into(),
        Event::Changed { changed, .. } => {
            let mut parts: Vec<String> = changed
                .iter()
                .map(|(name, value)| format!("{} {}", output::kebab(name), said(name, value)))
                .collect();
            parts.sort();
            format!("changed: {}", parts.join(", "))
        }
        Event::Signal { member, arguments, .. } => match (member.as_str(), &values(arguments)[..]) {
            ("StateChanged", [new, old, reason]) => format!("{} (was {old}, {reason})", colour::word(new)),
            ("Completed", [state, error, message]) if error.is_empty() => {
                format!("{}{}{message}", colour::word(state), if message.is_empty() { "" } else { ": " })
            }
            ("Completed", [state, error, message]) => {
                format!("{}: {}", colour::word(state), for_people(error, message))
            }
            (member, values) => format!("{}: {}", output::kebab(member), values.join(", ")),
        },
    }
}

/// A property's value on a line, where nothing would say nothing.
fn said(name: &str, value: &Variant<'_>) -> String {
    match one_line(&output::property(name, value)) {
        empty if empty.is_empty() => "none".into(),
        value => value,
    }
}

/// A value on a line: maps as `key value`, the keys that say nothing left out.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => one_line(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("; "),
        Value::Object(map) => {
            let says = |value: &Value| !matches!(value.as_str(), Some("" | "/"));
            let mut parts: Vec<String> =
                map.iter().filter(|(_, v)| says(v)).map(|(k, v)| format!("{k} {}", plain(v))).collect();
            parts.sort();
            parts.join(" ")
        }
        other => other.to_string(),
    }
}

/// A text that neither begins a line of its own nor plays with the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One event for scripts.
fn json_line(event: &Event, word: &str, object: &str, known: Option<&Known>) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let usec = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let mut line = serde_json::Map::new();
    let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
    put("event", word.into());
    put("time-usec", usec.into());
    put("object", object.into());
    if let Some(known) = known {
        put("kind", known.kind.into());
        put("name", known.name.as_str().into());
        if !known.target.is_empty() {
            put("target", known.target.as_str().into());
        }
    }
    match event {
        Event::Service { runs } => put("runs", (*runs).into()),
        Event::Removed { .. } => {}
        Event::Added { interfaces, .. } => {
            let all = interfaces.iter().flat_map(|(_, map)| map);
            put("properties", properties(all));
        }
        Event::Changed { changed, .. } => put("properties", properties(changed)),
        Event::Signal { member, arguments, .. } => match (member.as_str(), &arguments[..]) {
            ("StateChanged", [new, old, reason]) => {
                put("new", new.clone());
                put("old", old.clone());
                put("reason", reason.clone());
            }
            ("Completed", [state, error, message]) => {
                put("state", state.clone());
                put("error", error.clone());
                put("message", message.clone());
            }
            ("LeaseAdded" | "LeaseRemoved", [lease]) => put("lease", lease.clone()),
            ("AddressesChanged", [addresses]) => put("addresses", addresses.clone()),
            ("DeviceAdded" | "DeviceRemoved", [alias]) => put("alias", alias.clone()),
            _ => put("arguments", json!(arguments)),
        },
    }
    Value::Object(line)
}

fn properties<'a>(all: impl IntoIterator<Item = (&'a String, &'a zbus::OwnedVariant)>) -> Value {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(name, _)| *name);
    Value::Object(all.into_iter().map(|(name, v)| (output::kebab(name), output::to_json(v))).collect())
}
