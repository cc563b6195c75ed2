//! The way onto the bus.
//!
//! Owns which bus it is and by which socket it is reached. Must never take the service's name: what there is to
//! call is registered first.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;

use tokio::sync::mpsc;
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::connection::Builder;
use zbus::message::Message;
use zbus::{Address, Connection};

use super::inbox::Inbox;
use super::socket::BusSocket;
use crate::scope::ScopeKind;

/// Connects to the bus of this scope; the inbox knows which calls have come and are not answered yet.
pub async fn connect(kind: ScopeKind) -> zbus::Result<(Connection, Arc<Inbox>)> {
    let (refuse_by, refusals) = mpsc::unbounded_channel();
    let inbox = Arc::new(Inbox::new(refuse_by));
    let address = match kind {
        ScopeKind::System => Address::system()?,
        ScopeKind::Session => Address::session()?,
    };
    let Transport::Unix(unix) = address.transport() else {
        // Over TCP, say: reached as the library does it, and without turns.
        return Ok((Builder::address(address).build().await?, inbox));
    };
    let at = match unix.path() {
        UnixSocket::File(path) => SocketAddr::from_pathname(path)?,
        UnixSocket::Abstract(name) => SocketAddr::from_abstract_name(name.as_encoded_bytes())?,
        // Where a bus listens, never where one is reached.
        _ => return Ok((Builder::address(address).build().await?, inbox)),
    };
    let stream = UnixStream::connect_addr(&at)?;
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let connection = Builder::socket(BusSocket::new(stream, inbox.clone())).build().await?;
    tokio::spawn(refuse(connection.clone(), refusals));
    Ok((connection, inbox))
}

/// Sends the answers to calls that are not taken in.
async fn refuse(connection: Connection, mut refusals: mpsc::UnboundedReceiver<Message>) {
    while let Some(refusal) = refusals.recv().await {
        if let Err(e) = connection.send(&refusal).await {
            tracing::debug!("a call could not be refused: {e}");
        }
    }
}
