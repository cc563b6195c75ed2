//! The socket to the bus, read ahead of what is answered.
//!
//! Owns the bytes and the descriptors that come and go. Must never leave a message lying in the bus: all callers
//! share one queue there, in which the calls of one would stand before everybody else's. Which call is handed on
//! next, [`Inbox`] says, and which answer is written next, [`Outbox`].

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::message::Message;

use super::inbox::Inbox;
use super::outbox::Outbox;

/// As many descriptors as the kernel takes in one message.
const DESCRIPTORS: usize = 253;

/// Messages that are read before anything else has a turn: reading is cheap, and what is not read yet stands in
/// the way of all.
const AT_ONCE: u64 = 1024;

/// A connected socket to a bus.
#[derive(Debug)]
pub(super) struct BusSocket {
    stream: Arc<UnixStream>,
    inbox: Arc<Inbox>,
}

impl BusSocket {
    /// On this stream, into this inbox.
    pub(super) fn new(stream: UnixStream, inbox: Arc<Inbox>) -> Self {
        Self { stream: Arc::new(stream), inbox }
    }
}

impl Socket for BusSocket {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let plain = Plain(self.stream.clone());
        let writer = Writer {
            plain: PlainWriter(self.stream),
            writes: false,
            inbox: self.inbox.clone(),
            outbox: Arc::default(),
        };
        Split::new(Reader { plain: Some(plain), inbox: self.inbox, ahead: None }, writer)
    }
}

/// Reads bytes as they come.
#[derive(Debug)]
struct Plain(Arc<UnixStream>);

#[async_trait]
impl ReadHalf for Plain {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(buffer)];
            let got = recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let rights = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            Ok((got.bytes, rights.flatten().collect()))
        };
        self.0.async_io(Interest::READABLE, receive).await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// Hands on one message after the other; another task reads ahead.
#[derive(Debug)]
pub(super) struct Reader {
    /// Until the first message: the handshake is read byte by byte.
    plain: Option<Plain>,
    inbox: Arc<Inbox>,
    ahead: Option<JoinHandle<()>>,
}

async fn read_ahead(mut plain: Plain, inbox: Arc<Inbox>, mut bytes: Vec<u8>, mut fds: Vec<OwnedFd>) {
    for seq in 1.. {
        match plain.receive_message(seq, &mut bytes, &mut fds).await {
            Ok(message) => inbox.put(message),
            Err(e) => return inbox.close(e),
        }
        if seq % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        _seq: u64,
        already_received_bytes: &mut Vec<u8>,
        already_received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        if let Some(plain) = self.plain.take() {
            let (bytes, fds) = (std::mem::take(already_received_bytes), std::mem::take(already_received_fds));
            let ahead = read_ahead(plain, self.inbox.clone(), bytes, fds);
            self.ahead = Some(tokio::spawn(tokio::task::unconstrained(ahead)));
        }
        self.inbox.next().await
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        match &mut self.plain {
            Some(plain) => plain.recvmsg(buffer).await,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}

/// Writes bytes.
#[derive(Debug, Clone)]
struct PlainWriter(Arc<UnixStream>);

#[async_trait]
impl WriteHalf for PlainWriter {
    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            Ok(sendmsg(&self.0, &[IoSlice::new(buffer)], &mut control, SendFlags::NOSIGNAL)?)
        };
        self.0.async_io(Interest::WRITABLE, send).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both)?)
    }
}

/// Takes messages; another task writes them.
#[derive(Debug)]
pub(super) struct Writer {
    /// For the handshake, which is written byte by byte.
    plain: PlainWriter,
    /// Whether the other task is there.
    writes: bool,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
}

async fn write_out(mut plain: PlainWriter, inbox: Arc<Inbox>, outbox: Arc<Outbox>) {
    while let Some(message) = outbox.next().await {
        if let Err(e) = plain.send_message(&message).await {
            return outbox.close(e);
        }
        inbox.sent(&message);
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        if !std::mem::replace(&mut self.writes, true) {
            tokio::spawn(write_out(self.plain.clone(), self.inbox.clone(), self.outbox.clone()));
        }
        self.outbox.put(message).await
    }

    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.plain.sendmsg(buffer, fds).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.plain.close().await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.outbox.close(io::Error::from(io::ErrorKind::NotConnected).into());
    }
}
