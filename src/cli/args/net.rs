//! `warrenctl net …`

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueHint};

use crate::cli::complete::networks;
use crate::cli::kind::Kind;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NetVerb {
    /// Create a network, or replace its definition
    Define {
        /// The document, - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        how: super::others::DefineOptions,
    },
    /// Change the definition of a network in an editor
    ///
    /// The editor is $VISUAL, else $EDITOR, else vi. What the service refuses may be edited again; it is
    /// kept in a file, which is named.
    Edit {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
    },
    /// Start a network
    ///
    /// At a terminal, Ctrl-C undoes what was begun; a second Ctrl-C no longer waits for that (exit status 3).
    Start {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
        /// Do not wait for the end; print the job that goes on
        #[arg(long)]
        no_wait: bool,
    },
    /// Stop a network
    Stop {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
        /// Even with running guests on it
        #[arg(long)]
        force: bool,
        /// Do not wait for the end; print the job that goes on
        #[arg(long)]
        no_wait: bool,
    },
    /// Forget a network
    Undefine {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
    },
    /// List all networks
    List {
        /// Only those in one of these states; by commas
        #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = PossibleValuesParser::new(Kind::Network.states()))]
        state: Vec<String>,
        #[command(flatten)]
        how: super::others::ListOptions,
    },
    /// Show a network
    Show {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
        /// The definition instead
        #[arg(long)]
        xml: bool,
        /// The definition as it runs
        #[arg(long, requires = "xml")]
        live: bool,
    },
    /// List the addresses that guests have by DHCP
    Leases {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
    },
    /// Start a network once in each boot of the host, or no more
    Autostart {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
        /// No more
        #[arg(long)]
        disable: bool,
    },
    /// Say who may put machines on a network
    Access {
        /// Name or UUID
        #[arg(add = networks())]
        name: String,
        /// Administrators only, or every user who may use networks
        #[arg(value_parser = ["admin", "users"])]
        access: String,
    },
    /// Say what is wrong with a document, without taking it
    ///
    /// The exit status is 1 if a network could not be defined or started from it.
    Check {
        /// The document, - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print what would be run as well
        #[arg(long)]
        plan: bool,
    },
}
