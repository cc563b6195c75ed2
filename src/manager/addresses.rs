//! Which addresses the guests have.
//!
//! Owns the way from a domain's NICs to the leases and neighbours of the networks that they are on. Must never
//! ask the guest: what is told here is what its networks saw.

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::{Error, Manager};
use crate::domain;
use crate::model::{DomainDoc, InterfaceKind, Mac};
use crate::network;
use crate::plan::qemu::nic_alias;

/// How an address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSource {
    /// The network's DHCP server gave it.
    Lease,
    /// The NIC has answered for it on the bridge.
    Arp,
}

impl AddressSource {
    /// The word on the bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Arp => "arp",
        }
    }
}

/// One address of a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestAddress {
    /// The address.
    pub address: IpAddr,
    /// Of its subnet, where that is known.
    pub prefix: Option<u8>,
    /// The NIC's address.
    pub mac: Mac,
    /// The NIC's alias, as `net0`.
    pub interface: String,
    /// How it is known.
    pub source: AddressSource,
    /// Whether it is only known from an earlier run: the NIC has not shown itself with it in this one.
    pub stale: bool,
}

/// A NIC of a domain that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningNic {
    /// The domain's UUID.
    pub domain: Uuid,
    /// The domain's name.
    pub name: String,
    /// The NIC's alias, as `net0`.
    pub alias: String,
}

struct Nic {
    mac: Mac,
    alias: String,
    network: network::Handle,
}

impl Manager {
    /// The addresses of a running domain's NICs on networks, for `by`, NIC by NIC; of a domain that is off none.
    pub async fn addresses(&self, domain: &domain::Handle, by: u32) -> Result<Vec<GuestAddress>, Error> {
        let mut found = Vec::new();
        for nic in self.nics(domain, by).await? {
            let mut of_nic = by_lease(&nic);
            for neighbour in nic.network.neighbours().await? {
                if neighbour.mac != nic.mac.0 {
                    continue;
                }
                match of_nic.iter_mut().find(|a: &&mut GuestAddress| a.address == neighbour.address) {
                    Some(leased) => leased.stale = false,
                    None => of_nic.push(GuestAddress {
                        address: neighbour.address,
                        prefix: None,
                        mac: nic.mac,
                        interface: nic.alias.clone(),
                        source: AddressSource::Arp,
                        stale: false,
                    }),
                }
            }
            found.extend(of_nic);
        }
        Ok(found)
    }

    /// The addresses that a running domain has by its leases, for who must not wait for a network.
    pub async fn leased_addresses(&self, domain: &domain::Handle) -> Result<Vec<GuestAddress>, Error> {
        Ok(self.nics(domain, domain.view().owner).await?.iter().flat_map(by_lease).collect())
    }

    async fn nics(&self, domain: &domain::Handle, by: u32) -> Result<Vec<Nic>, Error> {
        if !domain.view().state.is_live() {
            return Ok(Vec::new());
        }
        let directory = self.directory.clone();
        let nics = move |doc: &DomainDoc| {
            let nic = |(index, nic): (usize, &crate::model::InterfaceDef)| match &nic.kind {
                InterfaceKind::Network { network, .. } => Some(Nic {
                    mac: nic.mac?,
                    alias: nic_alias(doc.def(), index),
                    network: directory.get(network)?,
                }),
                _ => None,
            };
            doc.def().interfaces().enumerate().filter_map(nic).collect()
        };
        Ok(domain.read(true, by, nics).await?)
    }

    /// The running domains whose addresses this change of leases is about.
    pub fn domains_of(&self, change: &network::LeaseChange) -> Vec<domain::Handle> {
        let macs = change.added.iter().chain(&change.removed).map(|l| &l.lease.mac).chain(&change.shown);
        let mut uuids: Vec<Uuid> = macs.filter_map(|mac| Some(self.nic_of(mac)?.domain)).collect();
        uuids.sort();
        uuids.dedup();
        uuids.iter().filter_map(|uuid| self.domain(uuid).ok()).collect()
    }
}

fn by_lease(nic: &Nic) -> Vec<GuestAddress> {
    let leases: Arc<Vec<network::NetworkLease>> = nic.network.known_leases();
    let mine = leases.iter().filter(|l| l.lease.mac.parse() == Ok(nic.mac));
    let address = |l: &network::NetworkLease| GuestAddress {
        address: l.lease.address,
        prefix: Some(l.prefix).filter(|prefix| *prefix > 0),
        mac: nic.mac,
        interface: nic.alias.clone(),
        source: AddressSource::Lease,
        stale: l.stale,
    };
    mine.map(address).collect()
}
