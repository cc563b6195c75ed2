//! `warrenctl`: a client of the bus for people and scripts.
//!
//! Owns words on a terminal: verbs, tables, JSON, exit codes. Must never touch the host and never
//! import another room: all it does goes over D-Bus, so what it can do, any client can.

mod agent;
mod args;
mod colour;
mod complete;
mod error;
mod events;
mod follow;
mod kind;
mod man;
mod near;
mod output;
mod proxy;
mod remote;
mod run;
mod source;
mod terminal;
mod verb;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::Args;
use error::CliError;

/// Runs `warrenctl` with the arguments of this process.
///
/// The exit status is the contract with scripts: 0 done, 1 the service said no (its message
/// is on stderr, with `--json` the error's name too), 2 wrong usage, 3 the service cannot be reached.
pub fn main() -> ExitCode {
    if complete::answer() {
        return ExitCode::SUCCESS;
    }
    let command = man::with_examples(Args::command(), "warrenctl");
    let found = command.try_get_matches().and_then(|found| Args::from_arg_matches(&found));
    let args = match found.map_err(near::with_verb) {
        Ok(args) => args,
        // Where scripts are promised JSON, wrong usage is no exception.
        Err(e) if e.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            return fail(&CliError::Usage(e.to_string().trim_end().to_owned()), true);
        }
        // clap leaves with the 2 that is promised here, or 0 after --help.
        Err(e) => e.exit(),
    };
    let json = args.json;
    match run::run(args) {
        Ok(code) => code,
        Err(e) => fail(&e, json),
    }
}

fn fail(error: &CliError, json: bool) -> ExitCode {
    if json {
        output::tell(error.to_json());
    } else {
        output::tell(error);
    }
    error.exit_code()
}
