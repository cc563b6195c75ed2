//! One verb a file. Owns what each verb asks of the service and says to the caller; must never know
//! how the bus is spoken to, which is `proxy`'s part.

pub(super) mod check;
pub(super) mod console;
pub(super) mod define;
pub(super) mod leases;
pub(super) mod list;
pub(super) mod show;
pub(super) mod shutdown;
pub(super) mod start;
pub(super) mod stop;
pub(super) mod undefine;

use super::proxy::Bus;

/// What every verb needs.
#[derive(Debug)]
pub(super) struct Session {
    /// The service.
    pub(super) bus: Bus,
    /// JSON instead of tables.
    pub(super) json: bool,
}
