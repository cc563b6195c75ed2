//! One verb a file. Owns what each verb asks of the service and says to the caller; must never know
//! how the bus is spoken to, which is `proxy`'s part.

pub(super) mod access;
pub(super) mod addresses;
pub(super) mod autostart;
pub(super) mod check;
pub(super) mod console;
pub(super) mod control;
pub(super) mod define;
pub(super) mod display;
pub(super) mod edit;
pub(super) mod host;
pub(super) mod jobs;
pub(super) mod leases;
pub(super) mod list;
pub(super) mod permissions;
pub(super) mod show;
pub(super) mod shutdown;
pub(super) mod start;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod undefine;
mod wait_address;
pub(super) mod watch;
pub(super) mod xml;

use std::process::ExitCode;

use serde_json::json;

use super::args::Target;
use super::error::CliError;
use super::follow;
use super::kind::Kind;
use super::output;
use super::proxy::{Bus, Object, Options};
use super::remote::Host;

/// What every verb needs.
#[derive(Debug)]
pub(super) struct Session {
    /// The service.
    pub(super) bus: Bus,
    /// JSON instead of words and tables.
    pub(super) json: bool,
    /// Where the service is, if not here.
    pub(super) host: Option<Host>,
}

impl Session {
    /// The end of a verb that has nothing to tell: silence, or for scripts that it was done to what.
    fn done(&self, verb: &str, object: &str) -> Result<ExitCode, CliError> {
        if self.json {
            output::json(&json!({ "verb": verb, "object": object, "state": "done" }))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Calls a method that may go on as a Job, and waits for its end; with `no_wait` it prints the Job.
    async fn perform(
        &self,
        (verb, method): (&str, &str),
        object: &Object,
        options: Options<'_>,
        what: &str,
        no_wait: bool,
    ) -> Result<ExitCode, CliError> {
        if !no_wait {
            follow::call(object, method, options, what).await?;
            return self.done(verb, object.path());
        }
        let job = follow::begin(object, method, options).await?;
        if job.as_str() == "/" {
            return self.done(verb, object.path());
        }
        if self.json {
            let job = job.as_str();
            output::json(&json!({ "verb": verb, "object": object.path(), "state": "running", "job": job }))?;
        } else {
            output::line(job.as_str())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The object that is meant, if one is.
    async fn target(&self, target: &Target) -> Result<Option<Object>, CliError> {
        match (&target.net, &target.vm) {
            (Some(name), _) => Ok(Some(self.bus.find(Kind::Network, name).await?)),
            (None, Some(name)) => Ok(Some(self.bus.find(Kind::Domain, name).await?)),
            (None, None) => Ok(None),
        }
    }
}
