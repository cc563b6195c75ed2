//! `job list|cancel|wait`

use std::collections::HashMap;
use std::process::ExitCode;

use serde_json::Value;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::follow;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{JOB, Map, ROOT};

/// Lists all jobs that are there, by number.
pub(in crate::cli) async fn list(session: &Session) -> Result<ExitCode, CliError> {
    let objects = session.bus.managed_objects().await?;
    let mut jobs: Vec<(u64, String, Map)> = Vec::new();
    let mut names = HashMap::new();
    for (path, interfaces) in objects {
        let path = path.to_string();
        for (interface, properties) in interfaces {
            if interface.as_str() == JOB {
                jobs.push((number(&path), path.clone(), properties));
            } else if Kind::of(interface.as_str()).is_some() {
                names.insert(path.clone(), output::part(&properties, "Name"));
            }
        }
    }
    jobs.sort_by_key(|(number, ..)| *number);
    if session.json {
        let list = jobs.iter().map(|(_, path, properties)| {
            let mut job = serde_json::Map::from_iter([("job".into(), path.as_str().into())]);
            let mut parts: Vec<_> = properties.iter().collect();
            parts.sort_by_key(|(name, _)| *name);
            job.extend(parts.into_iter().map(|(name, v)| (output::kebab(name), output::to_json(v))));
            Value::Object(job)
        });
        output::json(&Value::Array(list.collect()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = jobs.iter().map(|(number, _, properties)| {
        let part = |name| output::part(properties, name);
        let object = part("Object");
        let progress = match part("Progress").parse::<f64>() {
            Ok(done) if done >= 0.0 => format!("{:.0}%", done * 100.0),
            _ => String::new(),
        };
        let object = names.get(&object).cloned().unwrap_or(object);
        vec![number.to_string(), part("Operation"), object, part("State"), progress]
    });
    output::line(&output::table(&["Job", "Operation", "Object", "State", "Progress"], rows.collect()))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks for the end of a job; what comes of it, `wait` tells.
pub(in crate::cli) async fn cancel(session: &Session, job: &str) -> Result<ExitCode, CliError> {
    let job = path(job)?;
    session.bus.job_cancel(&job).await?;
    session.done("cancel", &job)
}

/// Waits for the end of a job.
pub(in crate::cli) async fn wait(session: &Session, job: &str) -> Result<ExitCode, CliError> {
    let job = path(job)?;
    follow::join(&session.bus, &job).await?;
    session.done("wait", &job)
}

fn number(path: &str) -> u64 {
    path.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
}

/// A job's path, from that or from its number.
fn path(typed: &str) -> Result<String, CliError> {
    let number = typed.strip_prefix(&format!("{ROOT}/job/")).unwrap_or(typed);
    match number.parse::<u64>() {
        Ok(number) => Ok(format!("{ROOT}/job/{number}")),
        Err(_) => Err(CliError::Usage(format!("'{typed}' is no job; it must be as '3' or '{ROOT}/job/3'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_job_is_a_number_or_a_path() {
        assert_eq!(path("3").unwrap(), "/org/warren1/job/3");
        assert_eq!(path("/org/warren1/job/3").unwrap(), "/org/warren1/job/3");
        assert!(path("/org/warren1/network/3").is_err());
        assert!(path("x").is_err());
    }
}
