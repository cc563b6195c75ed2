//! From what was typed to the verb that does it. Must never do anything itself.

use std::process::ExitCode;
use std::time::Duration;

use super::args::{Args, Command, JobVerb, NetVerb, VmVerb};
use super::complete;
use super::error::CliError;
use super::kind::Kind;
use super::man;
use super::proxy::Bus;
use super::verb::{self, Session};

/// Does what the arguments say.
pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        Command::Completions { shell } => complete::script(shell)?,
        Command::Man { dir } => man::write(&dir)?,
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| CliError::Local { what: "cannot start".into(), source: e })?;
            return runtime.block_on(speak(args));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that needs the service.
async fn speak(args: Args) -> Result<ExitCode, CliError> {
    let (scope, host) = (args.scope()?, args.host()?);
    if let (Command::Vm(VmVerb::Console { name, .. }), Some(host)) = (&args.command, &host) {
        return Err(verb::console::not_over_ssh(host, scope, name));
    }
    let bus = Bus::connect(scope, host.as_ref()).await?;
    let session = Session { bus, json: args.json, host };
    match args.command {
        Command::Net(verb) => network(&session, verb).await,
        Command::Vm(verb) => domain(&session, verb).await,
        Command::Job(JobVerb::List) => verb::jobs::list(&session).await,
        Command::Job(JobVerb::Cancel { job }) => verb::jobs::cancel(&session, &job).await,
        Command::Job(JobVerb::Wait { job }) => verb::jobs::wait(&session, &job).await,
        Command::Watch(watch) => verb::watch::run(&session, watch).await,
        Command::Status => verb::status::run(&session).await,
        Command::Host => verb::host::run(&session).await,
        Command::Permissions { target } => verb::permissions::run(&session, &target).await,
        Command::Completions { .. } | Command::Man { .. } => Ok(ExitCode::SUCCESS),
    }
}

async fn network(session: &Session, verb: NetVerb) -> Result<ExitCode, CliError> {
    const KIND: Kind = Kind::Network;
    match verb {
        NetVerb::Define { file, how } => verb::define::run(session, KIND, &file, &how).await,
        NetVerb::Edit { name } => verb::edit::run(session, KIND, &name, false).await,
        NetVerb::Start { name, no_wait } => verb::start::run(session, KIND, &name, &[], no_wait).await,
        NetVerb::Stop { name, force, no_wait } => {
            verb::stop::run(session, KIND, &name, force.then_some("force"), no_wait).await
        }
        NetVerb::Undefine { name } => verb::undefine::run(session, KIND, &name).await,
        NetVerb::List { state, how } => verb::list::run(session, KIND, &state, &how).await,
        NetVerb::Show { name, xml: true, live } => verb::xml::run(session, KIND, &name, live, false).await,
        NetVerb::Show { name, .. } => verb::show::run(session, KIND, &name).await,
        NetVerb::Leases { name } => verb::leases::run(session, &name).await,
        NetVerb::Autostart { name, disable } => verb::autostart::run(session, KIND, &name, !disable).await,
        NetVerb::Access { name, access } => verb::access::run(session, &name, &access).await,
        NetVerb::Check { file, plan } => verb::check::run(session, KIND, &file, plan).await,
    }
}

async fn domain(session: &Session, verb: VmVerb) -> Result<ExitCode, CliError> {
    const KIND: Kind = Kind::Domain;
    match verb {
        VmVerb::Define { file, how } => verb::define::run(session, KIND, &file, &how).await,
        VmVerb::Edit { name, no_secrets } => verb::edit::run(session, KIND, &name, !no_secrets).await,
        VmVerb::Start { name, paused, no_start_networks, no_wait, wait_address, timeout } => {
            let paused = paused.then_some(("paused", true));
            let networks = no_start_networks.then_some(("start-networks", false));
            let options: Vec<_> = paused.into_iter().chain(networks).collect();
            if wait_address {
                let timeout = Duration::from_secs(timeout);
                return verb::start::until_address(session, &name, &options, timeout).await;
            }
            verb::start::run(session, KIND, &name, &options, no_wait).await
        }
        VmVerb::Stop { name, graceful, no_wait } => {
            verb::stop::run(session, KIND, &name, graceful.then_some("graceful"), no_wait).await
        }
        VmVerb::Shutdown { name, wait: true, timeout } => {
            verb::shutdown::run(session, &name, timeout.map(Duration::from_secs)).await
        }
        VmVerb::Shutdown { name, .. } => verb::control::run(session, &name, "Shutdown").await,
        VmVerb::Reboot { name } => verb::control::run(session, &name, "Reboot").await,
        VmVerb::Reset { name } => verb::control::run(session, &name, "Reset").await,
        VmVerb::Suspend { name } => verb::control::run(session, &name, "Suspend").await,
        VmVerb::Resume { name } => verb::control::run(session, &name, "Resume").await,
        VmVerb::Undefine { name } => verb::undefine::run(session, KIND, &name).await,
        VmVerb::List { state, how } => verb::list::run(session, KIND, &state, &how).await,
        VmVerb::Show { name, xml: true, live, secrets } => {
            verb::xml::run(session, KIND, &name, live, secrets).await
        }
        VmVerb::Show { name, .. } => verb::show::run(session, KIND, &name).await,
        VmVerb::Addresses { name, wait, timeout } => {
            let wait = wait.then_some(Duration::from_secs(timeout));
            verb::addresses::run(session, &name, wait).await
        }
        VmVerb::Display { name } => verb::display::run(session, &name).await,
        VmVerb::Autostart { name, disable } => verb::autostart::run(session, KIND, &name, !disable).await,
        VmVerb::Console { name, device, force, idle } => {
            verb::console::run(session, &name, device.as_deref(), force, idle).await
        }
        VmVerb::Check { file, plan } => verb::check::run(session, KIND, &file, plan).await,
    }
}
