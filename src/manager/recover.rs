//! The beginning of a service: definitions from the disk, what still runs, the `default` network, and
//! what is to be started once in a boot.
//!
//! Owns the order: networks before domains, then leftovers that belong to nobody. Must never let one
//! broken object keep the others from coming back.

use uuid::Uuid;

use super::{Error, Manager};
use crate::domain;
use crate::model::{DomainDoc, NetworkDoc};
use crate::network::{self, Leftover};
use crate::store::{self, Kind, Stored};

/// The network that is there from the start.
const DEFAULT_NETWORK: &str = include_str!("../../examples/default.xml");

impl Manager {
    /// Fills the registry from the disk and takes over what a former service left running.
    pub async fn recover(&self) -> Result<(), Error> {
        self.recover_networks().await?;
        self.recover_domains().await?;
        self.ground.clear_leftovers().await;
        if self.store.first_time("default-network")? && self.directory.get("default").is_none() {
            let doc = NetworkDoc::parse(DEFAULT_NETWORK)?;
            self.define_network(doc, self.scope.uid, super::DefineOptions::default()).await?;
        }
        Ok(())
    }

    fn load(&self, kind: Kind) -> Result<Vec<Stored>, Error> {
        let (found, broken) = self.store.load(kind)?;
        for problem in broken {
            tracing::error!("a definition is kept aside: {}", crate::chain(&problem));
        }
        Ok(found)
    }

    async fn recover_networks(&self) -> Result<(), Error> {
        let context = self.network_context();
        for Stored { uuid, envelope, xml } in self.load(Kind::Network)? {
            let doc = match NetworkDoc::parse(&xml) {
                Ok(doc) => doc,
                Err(e) => {
                    self.set_aside(Kind::Network, &uuid, &e.to_string());
                    continue;
                }
            };
            let adopted = match network::recover(&context, &uuid, true).await {
                Ok(Leftover::Adopted(adopted)) => Some(*adopted),
                Ok(Leftover::Clean) => None,
                Err(e) => {
                    tracing::error!(network = %doc.def().name, "could not be taken over: {}", crate::chain(&e));
                    None
                }
            };
            self.enter_network(network::Seed { doc, uuid, envelope, adopted });
        }
        let known: Vec<Uuid> = self.networks().iter().map(network::Handle::uuid).collect();
        for uuid in self.unknown(Kind::Network, &known) {
            if let Err(e) = network::recover(&context, &uuid, false).await {
                tracing::error!("what the network {uuid} left is not removed: {}", crate::chain(&e));
            }
        }
        Ok(())
    }

    async fn recover_domains(&self) -> Result<(), Error> {
        let context = self.domain_context();
        for Stored { uuid, envelope, xml } in self.load(Kind::Domain)? {
            let doc = match DomainDoc::parse(&xml) {
                Ok(doc) => doc,
                Err(e) => {
                    self.set_aside(Kind::Domain, &uuid, &e.to_string());
                    continue;
                }
            };
            let recovered = domain::recover(&context, &uuid, true).await.unwrap_or_else(|e| {
                tracing::error!(domain = %doc.def().name, "could not be taken over: {}", crate::chain(&e));
                domain::Recovered::Off
            });
            self.enter_domain(domain::Seed { doc, uuid, envelope, recovered });
        }
        let known: Vec<Uuid> = self.domains().iter().map(domain::Handle::uuid).collect();
        for uuid in self.unknown(Kind::Domain, &known) {
            if let Err(e) = domain::recover(&context, &uuid, false).await {
                tracing::error!("what the domain {uuid} left is not removed: {}", crate::chain(&e));
            }
        }
        Ok(())
    }

    /// The UUIDs that RUN speaks of and the registry does not know.
    fn unknown(&self, kind: Kind, known: &[Uuid]) -> Vec<Uuid> {
        let mut live = store::live_uuids(&self.scope.dirs.run, kind);
        live.retain(|uuid| !known.contains(uuid));
        live
    }

    /// Starts what is marked for it, unless that was done in this boot already.
    pub async fn autostart(&self) {
        let marker = self.scope.dirs.run.join("autostarted");
        if fs_err::read_to_string(&marker).is_ok_and(|boot| *boot == *self.boot_id) {
            return;
        }
        if let Err(e) = fs_err::write(&marker, self.boot_id.as_bytes()) {
            tracing::error!("nothing is started automatically, since that cannot be noted: {e}");
            return;
        }
        for network in self.networks().into_iter().filter(|h| h.view().autostart) {
            if let Err(e) = network.start("autostart").await {
                tracing::error!(network = %network.view().name, "not started: {}", crate::chain(&e));
            }
        }
        for domain in self.domains().into_iter().filter(|h| h.view().autostart) {
            let options = domain::StartOptions { paused: false, start_networks: true, reason: "autostart" };
            if let Err(e) = domain.start(options).await {
                tracing::error!(domain = %domain.view().name, "not started: {}", crate::chain(&e));
            }
        }
    }
}
