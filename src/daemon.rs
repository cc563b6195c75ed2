//! The life of the service as a process: arguments, logging, start, idle exit, end.
//!
//! Owns the order in which the rooms are put together and taken apart. Must never end a guest or a
//! network: those outlive the daemon and are taken over by the next one.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::Authority;
use crate::dbus::{self, Service};
use crate::logging::Logging;
use crate::manager::{Feed, Manager};
use crate::scope::{Scope, ScopeKind};
use crate::store;
use crate::sys::unix::DirLock;
use crate::sys::{memory, process, qemu_probe};

/// How often an idle service looks whether it may end.
const IDLE_CHECK: Duration = Duration::from_millis(500);

/// How long a service that ends has for what it has been asked.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a service waits for the one before it to end: longer than that one's farewell.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long the last reply has to leave.
const LAST_REPLY: Duration = Duration::from_millis(200);

/// Manages QEMU virtual machines and the virtual networks between them, on D-Bus.
#[derive(Debug, Parser)]
#[command(name = "warrend", version, about, group = ArgGroup::new("scope").required(true))]
#[command(after_help = "Directories: STATE_DIRECTORY, RUNTIME_DIRECTORY, CONFIGURATION_DIRECTORY, else \
    the scope's own.\nLog level: RUST_LOG, as 'info' or 'warren=debug'.")]
pub struct Args {
    /// Serve the system bus, as root; polkit decides who but root may do what
    #[arg(long, group = "scope")]
    system: bool,
    /// Serve the session bus of one user, who may do everything
    #[arg(long, group = "scope")]
    session: bool,
}

/// Why the service could not run.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    #[error(transparent)]
    Scope(#[from] crate::scope::ScopeError),
    #[error("the runtime directory cannot be locked")]
    Lock(#[source] std::io::Error),
    #[error("another warrend, with the pid {0}, serves the same runtime directory")]
    Locked(String),
    #[error("the records of child processes cannot be kept in the runtime directory")]
    Records(#[source] std::io::Error),
    #[error("the id of this boot cannot be read")]
    Boot(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the {0} bus cannot be reached")]
    Bus(&'static str, #[source] zbus::Error),
    #[error(transparent)]
    Manager(#[from] crate::manager::Error),
    #[error(transparent)]
    Serve(#[from] dbus::ServeError),
    #[error("signals cannot be waited for")]
    Signals(#[source] std::io::Error),
}

/// Runs the service until it is asked to stop, or has nothing to do.
pub fn main() -> ExitCode {
    let args = Args::parse();
    // Each file gets its mode where it is made. This is for the moment before, and for what helpers make.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    memory::set_up();
    let logging = Logging::start();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!("the runtime cannot be started: {e}");
            return ExitCode::FAILURE;
        }
    };
    let kind = if args.system { ScopeKind::System } else { ScopeKind::Session };
    match runtime.block_on(run(kind, logging)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{}", crate::chain(&e));
            ExitCode::FAILURE
        }
    }
}

async fn run(kind: ScopeKind, logging: Logging) -> Result<(), DaemonError> {
    let scope = Arc::new(Scope::prepare(kind)?);
    let _lock = lock(&scope).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    let events = Feed::default();
    let boot_id = process::boot_id().map_err(DaemonError::Boot)?;
    store::forget_former_boot(&scope.dirs.run, &boot_id)?;
    process::keep_records(&scope.dirs.run).await.map_err(DaemonError::Records)?;
    qemu_probe::begin(&scope.dirs.run, scope.probe_user()).await;
    let manager = Arc::new(Manager::new(scope.clone(), boot_id, events.clone())?);
    // First, since the bus then starts polkit while what runs is taken over.
    let (connection, inbox) = dbus::connect(kind).await.map_err(|e| DaemonError::Bus(kind.as_str(), e))?;
    let authority = Authority::new(&connection, kind == ScopeKind::System)
        .await
        .map_err(|e| DaemonError::Bus(kind.as_str(), e))?;
    manager.recover().await?;
    let service = Arc::new(Service::new(manager.clone(), authority, inbox));
    dbus::serve(&connection, &service, events, logging).await?;
    notify(sd_notify::NotifyState::Ready);
    tracing::info!("serving the {} bus", kind.as_str());
    let starting = manager.clone();
    tokio::spawn(async move { starting.autostart().await });
    tokio::select! {
        _ = terminate.recv() => tracing::info!("asked to stop"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
        () = connection.closed() => tracing::info!("the bus is gone"),
        () = idle(&service) => tracing::info!("nothing runs and nobody asks; ending"),
    }
    leave(&connection, &service).await;
    Ok(())
}

/// Takes the lock of RUN. A service that ends gives up its name before the lock, so that one activated in
/// that moment waits a little.
async fn lock(scope: &Scope) -> Result<DirLock, DaemonError> {
    let begun = std::time::Instant::now();
    loop {
        match DirLock::take(&scope.dirs.run).map_err(DaemonError::Lock)? {
            Ok(lock) => return Ok(lock),
            Err(holder) if begun.elapsed() > LOCK_PATIENCE => return Err(DaemonError::Locked(holder)),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd could not be told: {e}");
    }
}

/// Returns when nothing runs and nobody has asked for anything for a while.
async fn idle(service: &Service) {
    let seconds = service.manager.scope().config.idle_seconds;
    if seconds == 0 {
        return std::future::pending().await;
    }
    let limit = Duration::from_secs(seconds);
    let mut busy_until = std::time::Instant::now();
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        if service.manager.is_busy() || service.has_subscribers() {
            busy_until = std::time::Instant::now();
        }
        if service.quiet_for().is_some_and(|quiet| quiet > limit) && busy_until.elapsed() > limit {
            return;
        }
    }
}

/// Gives up the name first, so that the bus keeps new calls for the next service, and answers what has come
/// before that.
async fn leave(connection: &zbus::Connection, service: &Service) {
    notify(sd_notify::NotifyState::Stopping);
    let farewell = async {
        if let Err(e) = connection.release_name(dbus::NAME).await {
            tracing::debug!("the name was not given up: {e}");
        }
        while service.quiet_for().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("ending, though the bus or a call takes longer");
    }
    // Where the bus is reached without turns, a call counts as answered when its handler is through; this lets the
    // reply out. The publisher never gives its share of the connection up, so it would wait for ever.
    let _ = tokio::time::timeout(LAST_REPLY, connection.clone().graceful_shutdown()).await;
}
