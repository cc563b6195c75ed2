//! `warrenctl`: a client of the bus for people and scripts.
//!
//! Owns words on a terminal: verbs, tables, JSON, exit codes. Must never touch the host and never
//! import another room: all it does goes over D-Bus, so what it can do, any client can.

mod args;
mod error;
mod follow;
mod kind;
mod output;
mod proxy;
mod source;
mod terminal;
mod verb;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command, NetVerb, VmVerb};
use error::CliError;
use kind::Kind;
use proxy::Bus;
use verb::Session;

/// Runs `warrenctl` with the arguments of this process.
///
/// The exit status is the contract with scripts: 0 done, 1 the service said no (its error's name and
/// message are on stderr), 2 wrong usage, 3 the service cannot be reached.
pub fn main() -> ExitCode {
    // clap leaves by itself on wrong usage, with the 2 that is promised here.
    let args = Args::parse();
    match run(args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("{e}");
            e.exit_code()
        }
    }
}

fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => {
            let cannot =
                |e| CliError::Usage(format!("cannot write manual pages into '{}': {e}", dir.display()));
            clap_mangen::generate_to(Args::command(), &dir).map_err(cannot)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Net(_) | Command::Vm(_) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| CliError::Local { what: "cannot start".into(), source: e })?;
            runtime.block_on(speak(args))
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "warrenctl", &mut script);
    output::write(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that needs the service.
async fn speak(args: Args) -> Result<ExitCode, CliError> {
    let scope = args.scope()?;
    let session = Session { bus: Bus::connect(scope).await?, json: args.json };
    match args.command {
        Command::Net(verb) => network(&session, verb).await,
        Command::Vm(verb) => domain(&session, verb).await,
        Command::Completions { .. } | Command::Man { .. } => Ok(ExitCode::SUCCESS),
    }
}

async fn network(session: &Session, verb: NetVerb) -> Result<ExitCode, CliError> {
    const KIND: Kind = Kind::Network;
    match verb {
        NetVerb::Define { file, start } => verb::define::run(session, KIND, &file, start).await,
        NetVerb::Start { name } => verb::start::run(session, KIND, &name, false).await,
        NetVerb::Stop { name, force } => verb::stop::network(session, &name, force).await,
        NetVerb::Undefine { name } => verb::undefine::run(session, KIND, &name).await,
        NetVerb::List => verb::list::run(session, KIND).await,
        NetVerb::Show { name, xml } => verb::show::run(session, KIND, &name, xml).await,
        NetVerb::Leases { name } => verb::leases::run(session, &name).await,
        NetVerb::Check { file, plan } => verb::check::run(session, KIND, &file, plan).await,
    }
}

async fn domain(session: &Session, verb: VmVerb) -> Result<ExitCode, CliError> {
    const KIND: Kind = Kind::Domain;
    match verb {
        VmVerb::Define { file, start } => verb::define::run(session, KIND, &file, start).await,
        VmVerb::Start { name, paused } => verb::start::run(session, KIND, &name, paused).await,
        VmVerb::Stop { name, graceful } => verb::stop::domain(session, &name, graceful).await,
        VmVerb::Shutdown { name } => verb::shutdown::run(session, &name).await,
        VmVerb::Undefine { name } => verb::undefine::run(session, KIND, &name).await,
        VmVerb::List => verb::list::run(session, KIND).await,
        VmVerb::Show { name, xml } => verb::show::run(session, KIND, &name, xml).await,
        VmVerb::Console { name, idle } => verb::console::run(session, &name, idle).await,
        VmVerb::Check { file, plan } => verb::check::run(session, KIND, &file, plan).await,
    }
}
