//! The command line: what may be typed and what it is taken for. Must never act on it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::error::CliError;
use super::proxy::Scope;

/// Manage QEMU virtual machines and the virtual networks between them
///
/// warrenctl talks to the Warren service over D-Bus and starts it by that. A NAME is the name or the
/// UUID of an object; a FILE is a document in libvirt's XML, - being standard input.
#[derive(Debug, Parser)]
#[command(name = "warrenctl", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Talk to the system service (the default for root)
    #[arg(long, global = true, conflicts_with = "session")]
    system: bool,
    /// Talk to the session service (the default for others)
    #[arg(long, global = true)]
    session: bool,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

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
    /// Print a completion script for a shell
    Completions {
        /// The shell it is for
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// The directory they go into
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum NetVerb {
    /// Create a network, or replace its definition
    Define {
        /// The document, - for standard input
        file: PathBuf,
        /// Start it afterwards
        #[arg(long)]
        start: bool,
    },
    /// Start a network
    Start {
        /// Name or UUID
        name: String,
    },
    /// Stop a network
    Stop {
        /// Name or UUID
        name: String,
        /// Even with running guests on it
        #[arg(long)]
        force: bool,
    },
    /// Forget a network
    Undefine {
        /// Name or UUID
        name: String,
    },
    /// List all networks
    List,
    /// Show a network
    Show {
        /// Name or UUID
        name: String,
        /// The definition instead
        #[arg(long)]
        xml: bool,
    },
    /// List the addresses that guests have by DHCP
    Leases {
        /// Name or UUID
        name: String,
    },
    /// Say what is wrong with a document, without taking it
    ///
    /// The exit status is 1 if a network could not be defined or started from it.
    Check {
        /// The document, - for standard input
        file: PathBuf,
        /// Print what would be run as well
        #[arg(long)]
        plan: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum VmVerb {
    /// Create a machine, or replace its definition
    Define {
        /// The document, - for standard input
        file: PathBuf,
        /// Start it afterwards
        #[arg(long)]
        start: bool,
    },
    /// Start a machine, and the networks that it needs
    Start {
        /// Name or UUID
        name: String,
        /// Leave its CPUs stopped
        #[arg(long)]
        paused: bool,
    },
    /// Switch a machine off
    Stop {
        /// Name or UUID
        name: String,
        /// Give QEMU the time to write what it has in its caches
        #[arg(long)]
        graceful: bool,
    },
    /// Ask the guest to shut down
    Shutdown {
        /// Name or UUID
        name: String,
    },
    /// Forget a machine
    Undefine {
        /// Name or UUID
        name: String,
    },
    /// List all machines
    List,
    /// Show a machine
    Show {
        /// Name or UUID
        name: String,
        /// The definition instead
        #[arg(long)]
        xml: bool,
    },
    /// Connect to the serial console
    ///
    /// First comes what the machine printed of late, then what it prints now. On a terminal, Ctrl-]
    /// leaves. Where standard input is no terminal, it is sent to the machine; when it has ended, the
    /// connection ends after --idle seconds in which the machine printed nothing.
    Console {
        /// Name or UUID
        name: String,
        /// Seconds of silence that end a scripted connection
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        idle: u64,
    },
    /// Say what is wrong with a document, without taking it
    ///
    /// The exit status is 1 if a machine could not be defined or started from it.
    Check {
        /// The document, - for standard input
        file: PathBuf,
        /// Print what would be run as well
        #[arg(long)]
        plan: bool,
    },
}

impl Args {
    /// The service that is meant: the flag, else `WARREN_SCOPE`, else system for root and session for
    /// others.
    pub(super) fn scope(&self) -> Result<Scope, CliError> {
        if self.system {
            return Ok(Scope::System);
        }
        if self.session {
            return Ok(Scope::Session);
        }
        match std::env::var_os("WARREN_SCOPE") {
            Some(word) if word == "system" => Ok(Scope::System),
            Some(word) if word == "session" => Ok(Scope::Session),
            Some(word) if !word.is_empty() => Err(CliError::Usage(format!(
                "WARREN_SCOPE is '{}'; it must be 'system' or 'session'",
                word.display()
            ))),
            _ if rustix::process::geteuid().is_root() => Ok(Scope::System),
            _ => Ok(Scope::Session),
        }
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
