//! The bus face: thin interfaces over handles.
//!
//! Owns names, paths, signatures and the translation of errors. Must never hold logic: an interface asks
//! who calls, hands the call on, and answers. Getters read the cached view and never wait, since zbus
//! holds the lock of the whole object tree while one runs; every method takes `&self`.

mod admit;
mod callers;
mod connect;
mod descriptor;
mod dict;
mod domain;
mod error;
mod host;
mod inbox;
mod job;
mod lists;
mod log_control;
mod manager;
mod network;
mod options;
mod outbox;
mod paths;
mod publish;
mod service;
mod socket;
mod subscribe;
mod tree;

use std::sync::Arc;

use zbus::fdo::{RequestNameFlags, RequestNameReply};

pub use admit::questions;
pub use connect::connect;
pub use error::Error;
pub use host::Host;
pub use inbox::Inbox;
pub use service::Service;

use crate::logging::Logging;
use crate::manager::Feed;

/// The service's name on the bus.
pub const NAME: &str = "org.warren1";

/// Why the service is not on the bus.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error("the objects could not be put on the bus")]
    Bus(#[from] zbus::Error),
    #[error("the name '{NAME}' belongs to another process already")]
    NameTaken,
}

/// Registers everything, then takes the name: whoever is waiting for it finds all objects there.
/// From now on `events` are told on the bus.
pub async fn serve(
    connection: &zbus::Connection,
    service: &Arc<Service>,
    events: Feed,
    logging: Logging,
) -> Result<(), ServeError> {
    let server = connection.object_server();
    server.at(paths::ROOT, manager::ManagerInterface::new(service.clone())).await?;
    tree::serve(server, &service.tree).await?;
    server.at(log_control::PATH, log_control::LogControl(logging)).await?;
    tokio::spawn(publish::run(connection.clone(), service.clone(), events));
    service.manager.told().await;
    let flags = RequestNameFlags::DO_NOT_QUEUE;
    match connection.request_name_with_flags(NAME, flags).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(()),
        Ok(_) | Err(zbus::Error::NameTaken) => Err(ServeError::NameTaken),
        Err(e) => Err(e.into()),
    }
}
