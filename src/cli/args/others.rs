//! `warrenctl job …` and `watch`, and what several verbs take.

use clap::{Args, Subcommand};

use crate::cli::complete::{jobs, machines, networks};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JobVerb {
    /// List the jobs that go on, and those that ended in the last minute
    List,
    /// Ask that a job be undone
    Cancel {
        /// Its number or its path
        #[arg(add = jobs())]
        job: String,
    },
    /// Wait for the end of a job
    ///
    /// The exit status is 1 if it failed or was cancelled.
    Wait {
        /// Its number or its path
        #[arg(add = jobs())]
        job: String,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Watch {
    /// Tell also of what is not public; by commas
    #[arg(long, value_delimiter = ',', value_parser = ["leases", "addresses", "devices", "console"])]
    pub(in crate::cli) topics: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) target: Target,
}

/// One object of either kind, or none.
#[derive(Debug, Args)]
pub(in crate::cli) struct Target {
    /// Of this network only, by name or UUID
    #[arg(long, value_name = "NAME", conflicts_with = "vm", add = networks())]
    pub(in crate::cli) net: Option<String>,
    /// Of this machine only, by name or UUID
    #[arg(long, value_name = "NAME", add = machines())]
    pub(in crate::cli) vm: Option<String>,
}

/// How a list is printed; as JSON it is always complete.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListOptions {
    /// Also the owner, the UUID and more
    #[arg(short, long, conflicts_with_all = ["names", "quiet"])]
    pub(in crate::cli) long: bool,
    /// Print only the names, one a line
    #[arg(long)]
    pub(in crate::cli) names: bool,
    /// Print only the UUIDs, one a line
    #[arg(short, long, conflicts_with = "names")]
    pub(in crate::cli) quiet: bool,
}

/// How a document is taken.
#[derive(Debug, Args)]
pub(in crate::cli) struct DefineOptions {
    /// Start it afterwards
    #[arg(long)]
    pub(in crate::cli) start: bool,
    /// Only if the definition that is replaced has been changed so many times (see 'show')
    #[arg(long, value_name = "N")]
    pub(in crate::cli) if_generation: Option<u64>,
    /// Do all but take it
    #[arg(long, conflicts_with = "start")]
    pub(in crate::cli) dry_run: bool,
}
