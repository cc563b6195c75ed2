//! `warrenctl vm …`

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueHint};

use crate::cli::complete::machines;
use crate::cli::kind::Kind;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VmVerb {
    /// Create a machine, or replace its definition
    Define {
        /// The document, - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        how: super::others::DefineOptions,
    },
    /// Change the definition of a machine in an editor
    ///
    /// The editor is $VISUAL, else $EDITOR, else vi. What the service refuses may be edited again; it is
    /// kept in a file, which is named. The passwords of the document are shown to those who may read them: the
    /// owner, root, and whom a rule lets. Those that others cannot see stay.
    Edit {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// Do without the passwords; those that you may read and do not write again are lost
        #[arg(long)]
        no_secrets: bool,
    },
    /// Start a machine, and the networks that it needs
    ///
    /// At a terminal, Ctrl-C undoes what was begun; a second Ctrl-C no longer waits for that (exit status 3).
    Start {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// Leave its CPUs stopped
        #[arg(long)]
        paused: bool,
        /// Not the networks, which must be active then
        #[arg(long)]
        no_start_networks: bool,
        /// Do not wait for the end; print the job that goes on
        #[arg(long)]
        no_wait: bool,
        /// Wait until the machine has an address, and list its addresses
        #[arg(long, conflicts_with_all = ["no_wait", "paused"])]
        wait_address: bool,
        /// Wait for an address for at most this long
        #[arg(long, value_name = "SECONDS", requires = "wait_address", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
    },
    /// Switch a machine off
    Stop {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// Give QEMU the time to write what it has in its caches
        #[arg(long)]
        graceful: bool,
        /// Do not wait for the end; print the job that goes on
        #[arg(long)]
        no_wait: bool,
    },
    /// Ask the guest to shut down
    ///
    /// A guest may take its time, or not heed it at all: without --wait this ends as soon as it was asked. The
    /// exit status is 1 if the --timeout is over; the guest is left as it is then, and may still shut down.
    /// Ctrl-C ends the waiting and leaves the guest alone too.
    Shutdown {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// Wait until the machine is off
        #[arg(long)]
        wait: bool,
        /// Not longer than this
        #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = clap::value_parser!(u64).range(1..))]
        timeout: Option<u64>,
    },
    /// Ask the guest to reboot
    ///
    /// This ends as soon as it was asked. When it is up again, only the guest itself knows.
    Reboot {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
    },
    /// Press the reset button of a machine
    Reset {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
    },
    /// Stop the CPUs of a machine
    Suspend {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
    },
    /// Let the CPUs of a suspended machine go on
    Resume {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
    },
    /// Forget a machine
    Undefine {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
    },
    /// List all machines
    List {
        /// Only those in one of these states; by commas
        #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = PossibleValuesParser::new(Kind::Domain.states()))]
        state: Vec<String>,
        #[command(flatten)]
        how: super::others::ListOptions,
    },
    /// Show a machine
    Show {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// The definition instead
        #[arg(long)]
        xml: bool,
        /// The definition as it runs
        #[arg(long, requires = "xml")]
        live: bool,
        /// The definition with the passwords in it
        #[arg(long, requires = "xml")]
        secrets: bool,
    },
    /// List the addresses of a machine, and who knows of each
    ///
    /// A stale one is of an earlier run: the guest has not asked for it again, nor answered for it. The exit status is 1
    /// if --wait finds none before the --timeout is over.
    Addresses {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// Wait until there is one of this run
        #[arg(long)]
        wait: bool,
        /// Wait for at most this long
        #[arg(long, value_name = "SECONDS", requires = "wait", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
    },
    /// Print where the displays of a machine are, one URI a line
    Display {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
    },
    /// Start a machine once in each boot of the host, or no more
    Autostart {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// No more
        #[arg(long)]
        disable: bool,
    },
    /// Connect to the serial console
    ///
    /// First comes what the machine printed of late, then what it prints now. On a terminal, Ctrl-]
    /// leaves. Where standard input is no terminal, it is sent to the machine; when it has ended, the
    /// connection ends after --idle seconds in which the machine printed nothing.
    Console {
        /// Name or UUID
        #[arg(add = machines())]
        name: String,
        /// The alias of the console, as 'serial0' (default: the first)
        #[arg(long, value_name = "ALIAS")]
        device: Option<String>,
        /// Take it from whoever has it
        #[arg(long)]
        force: bool,
        /// Seconds of silence that end a scripted connection
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        idle: u64,
    },
    /// Say what is wrong with a document, without taking it
    ///
    /// The exit status is 1 if a machine could not be defined or started from it.
    Check {
        /// The document, - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print what would be run as well
        #[arg(long)]
        plan: bool,
    },
}
