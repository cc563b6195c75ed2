//! Typed definitions of networks and domains, as read from libvirt XML.
//!
//! Owns the meaning of a document: [`NetworkDef`], [`DomainDef`] and the newtypes they are made of. A
//! definition is always a view of a tree ([`NetworkDoc`], [`DomainDoc`] hold both), so what the model
//! does not know stays in the document. Must never do I/O, ask a clock or draw random numbers.

mod doc;
mod domain;
mod finding;
mod ids;
mod network;
mod shaping;

pub use doc::*;
pub use domain::*;
pub use finding::*;
pub use ids::*;
pub use network::*;
pub use shaping::{Bandwidth, NativeVlan, Rate, VirtualPort, VirtualPortKind, Vlan};
