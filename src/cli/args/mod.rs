//! The command line: what may be typed and what it is taken for. Must never act on it.

mod net;
mod others;
mod vm;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(super) use net::NetVerb;
pub(super) use others::{DefineOptions, JobVerb, ListOptions, Target, Watch};
pub(super) use vm::VmVerb;

use super::error::CliError;
use super::remote::Host;

/// Manage QEMU virtual machines and the virtual networks between them
///
/// warrenctl talks to the Warren service over D-Bus and starts it by that. A NAME is the name or the
/// UUID of an object; a FILE is a document in libvirt's XML, - being standard input.
#[derive(Debug, Parser)]
#[command(name = "warrenctl", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Talk to the system service (the default for root, and with --host)
    #[arg(long, global = true, help_heading = GLOBAL, conflicts_with = "session")]
    system: bool,
    /// Talk to the session service (the default for others)
    #[arg(long, global = true, help_heading = GLOBAL)]
    session: bool,
    /// Talk to the service of another host, over ssh
    #[arg(short = 'H', long, global = true, help_heading = GLOBAL, value_name = "[USER@]HOST", value_hint = clap::ValueHint::Hostname)]
    host: Option<String>,
    /// Print JSON instead of words and tables, errors too
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every verb takes stands apart from what is its own.
const GLOBAL: &str = "Global options";

const AFTER_HELP: &str = "Environment: WARREN_SCOPE is 'system' or 'session' where no flag says it.
Exit status: 0 done, 1 the service said no, 2 wrong usage, 3 the service cannot be reached.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Virtual networks
    #[command(subcommand)]
    Net(NetVerb),
    /// Virtual machines
    #[command(subcommand)]
    Vm(VmVerb),
    /// What goes on after the call that began it was answered
    #[command(subcommand)]
    Job(JobVerb),
    /// Show events as they come
    ///
    /// Objects that come and go, their properties and states, and how jobs end; with --topics also what is
    /// told only to those who may know it. Goes on until Ctrl-C or until nobody reads it any more (exit status
    /// 0), or until the bus is gone (3); a service that ends and comes back is followed.
    Watch(Watch),
    /// Show the service: its version, its scope and what is wrong with its host
    Status,
    /// Show what the host of the service has to offer
    Host,
    /// Show what the caller may do, of himself or after giving a password
    Permissions {
        #[command(flatten)]
        target: Target,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell it is for
        shell: super::complete::Shell,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// The directory they go into
        dir: PathBuf,
    },
}

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// On the system bus.
    System,
    /// On the session bus.
    Session,
}

impl Args {
    /// The host that is meant, if it is another one.
    pub(super) fn host(&self) -> Result<Option<Host>, CliError> {
        self.host.as_deref().map(Host::new).transpose()
    }

    /// The service that is meant.
    pub(super) fn scope(&self) -> Result<Scope, CliError> {
        match (self.system, self.session) {
            (true, _) => Ok(Scope::System),
            (_, true) => Ok(Scope::Session),
            _ => default_scope(self.host.is_some()),
        }
    }
}

/// The service that is meant where no flag says it: by `WARREN_SCOPE`, else system for root and session for
/// others; on another host, where nobody knows who one is, system.
pub(super) fn default_scope(elsewhere: bool) -> Result<Scope, CliError> {
    match std::env::var_os("WARREN_SCOPE") {
        Some(word) if word == "system" => Ok(Scope::System),
        Some(word) if word == "session" => Ok(Scope::Session),
        Some(word) if !word.is_empty() => Err(CliError::Usage(format!(
            "WARREN_SCOPE is '{}'; it must be 'system' or 'session'",
            word.display()
        ))),
        _ if elsewhere || rustix::process::geteuid().is_root() => Ok(Scope::System),
        _ => Ok(Scope::Session),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
