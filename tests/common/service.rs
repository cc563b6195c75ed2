//! The service in either scope, ready to be called.
//!
//! Owns the combination of bus, polkitd and daemon that most tests begin with.

use super::bus::{Bus, Polkit};
use super::client::Client;
use super::daemon::Daemon;
use super::world::World;

/// A running service with its own bus.
#[derive(Debug)]
pub(crate) struct Service {
    /// First, so that its log is printed while the rest still runs.
    pub(crate) daemon: Daemon,
    /// Who owns the service: root in system scope, the user in session scope.
    pub(crate) client: Client,
    pub(crate) bus: Bus,
    pub(crate) polkit: Option<Polkit>,
}

impl Service {
    /// In system scope, with polkitd and no rules but the defaults.
    pub(crate) async fn system(world: &World) -> Self {
        let bus = Bus::system(world);
        let polkit = Polkit::start(world, &bus, "").await;
        let daemon = Daemon::system(world, &bus).await;
        Self { daemon, client: bus.connect(0).await, bus, polkit: Some(polkit) }
    }

    /// In session scope, of this user.
    pub(crate) async fn session(world: &World, uid: u32) -> Self {
        let bus = Bus::session(world, uid);
        let daemon = Daemon::session(world, &bus, uid).await;
        Self { daemon, client: bus.connect(uid).await, bus, polkit: None }
    }

    /// SIGKILL and a new daemon.
    pub(crate) async fn kill_and_restart(&mut self, world: &World) {
        self.daemon.kill_and_restart(world, &self.client).await;
    }
}
