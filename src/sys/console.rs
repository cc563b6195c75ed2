//! A guest's serial console: one reader of QEMU's socket, many clients.
//!
//! Owns the last 64 KiB of output and the clients' sockets. Must never make the guest wait for a client:
//! the guest's output is always read, and a client that does not keep up is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::unix::take_no_descriptors;

/// Output that is kept for those who come later, in bytes.
const HISTORY: usize = 64 << 10;
/// The largest piece that is read or handed on at once, in bytes.
const PIECE: usize = 4096;
/// Pieces that may wait for one client beyond what its socket holds.
const CLIENT_QUEUE: usize = 64;
/// Pieces of input that may wait for the guest.
const INPUT_QUEUE: usize = 16;
/// How long a client that is cut off has to take what was written before.
const FAREWELL: Duration = Duration::from_secs(10);
/// Clients at once.
const CLIENT_LIMIT: usize = 64;

/// A guest's console. Clones share it.
#[derive(Debug, Clone)]
pub struct Console {
    shared: Arc<Mutex<State>>,
    input: mpsc::Sender<Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    history: VecDeque<u8>,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    ended: bool,
}

/// One of those who have it open.
#[derive(Debug)]
struct Client {
    output: mpsc::Sender<Arc<[u8]>>,
    /// Dropped with this: its time to take what is left begins.
    _cut_off: oneshot::Sender<()>,
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// Starts to read QEMU's serial socket, until its other end is closed.
    pub fn attach(stream: UnixStream) -> Self {
        let (from_guest, to_guest) = stream.into_split();
        let (input, queue) = mpsc::channel(INPUT_QUEUE);
        let shared = Arc::new(Mutex::new(State::default()));
        let writing = tokio::spawn(write_input(to_guest, queue));
        let output = Arc::clone(&shared);
        tokio::spawn(async move {
            read_output(from_guest, &output).await;
            let mut state = lock(&output);
            state.ended = true;
            state.clients.clear();
            writing.abort();
        });
        Self { shared, input }
    }

    /// A new client's end of a stream socket: first the kept output, then what the guest writes; what is
    /// written to it goes to the guest. The other end closes when the guest ends, when the client closes
    /// or shuts down its writing side, or when the client does not read. `kept` is dropped when the other end is closed.
    pub fn open(&self, kept: impl Send + 'static) -> io::Result<OwnedFd> {
        self.open_with(kept, FAREWELL)
    }

    fn open_with(&self, kept: impl Send + 'static, farewell: Duration) -> io::Result<OwnedFd> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        take_no_descriptors(ours.as_fd());
        let ours = UnixStream::from_std(ours)?;
        let (sender, output) = mpsc::channel(CLIENT_QUEUE);
        let (cut_off, is_cut_off) = oneshot::channel();

        let mut state = lock(&self.shared);
        if state.clients.len() >= CLIENT_LIMIT {
            let full = format!("the console has {CLIENT_LIMIT} clients already");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, full));
        }
        let history: Vec<u8> = state.history.iter().copied().collect();
        let id = state.next_client;
        state.next_client += 1;
        if !state.ended {
            state.clients.insert(id, Client { output: sender, _cut_off: cut_off });
        }
        drop(state);

        let (shared, input) = (Arc::clone(&self.shared), self.input.clone());
        tokio::spawn(async move {
            let end = async {
                let _ = is_cut_off.await;
                tokio::time::sleep(farewell).await;
            };
            tokio::select! {
                () = serve(ours, history, output, input) => {}
                () = end => {}
            }
            drop(kept);
            lock(&shared).clients.remove(&id);
        });
        Ok(theirs.into())
    }

    /// Ends the connections of all clients.
    pub fn cut_off(&self) {
        lock(&self.shared).clients.clear();
    }

    /// The kept output: the last 64 KiB.
    pub fn history(&self) -> Vec<u8> {
        lock(&self.shared).history.iter().copied().collect()
    }
}

async fn read_output(mut from_guest: OwnedReadHalf, shared: &Mutex<State>) {
    let mut buffer = vec![0; PIECE];
    loop {
        let piece = match from_guest.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => &buffer[..n],
        };
        let mut state = lock(shared);
        let excess = (state.history.len() + piece.len()).saturating_sub(HISTORY);
        state.history.drain(..excess);
        state.history.extend(piece);
        let piece: Arc<[u8]> = piece.into();
        // Closing a slow client's queue ends its task.
        state.clients.retain(|_, client| client.output.try_send(Arc::clone(&piece)).is_ok());
    }
}

async fn write_input(mut to_guest: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = queue.recv().await {
        if to_guest.write_all(&piece).await.is_err() {
            return;
        }
    }
    // Dropping it would shut the socket for writing, which QEMU takes for a disconnect.
    to_guest.forget();
}

/// Serves one client until either side ends.
async fn serve(
    client: UnixStream,
    history: Vec<u8>,
    mut output: mpsc::Receiver<Arc<[u8]>>,
    input: mpsc::Sender<Vec<u8>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let hand_out = async {
        to_client.write_all(&history).await?;
        while let Some(piece) = output.recv().await {
            to_client.write_all(&piece).await?;
        }
        io::Result::Ok(())
    };
    let take_in = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                // A guest that takes no input makes only those wait who write to it.
                Ok(n) => match input.send(buffer[..n].to_vec()).await {
                    Ok(()) => {}
                    Err(_) => std::future::pending().await,
                },
            }
        }
    };
    let mut take_in = std::pin::pin!(take_in);
    let handed_out = tokio::select! {
        result = hand_out => result,
        () = &mut take_in => return,
    };
    // One that reads no more may have written before; it has not been cut off.
    if handed_out.is_err() {
        tokio::select! {
            () = take_in => {}
            () = cut_off(&mut output) => {}
        }
    }
}

/// Returns when a client that takes no output is cut off.
async fn cut_off(output: &mut mpsc::Receiver<Arc<[u8]>>) {
    while output.recv().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(console: &Console) -> UnixStream {
        let stream = std::os::unix::net::UnixStream::from(console.open(()).unwrap());
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    }

    async fn expect(stream: &mut UnixStream, text: &str) {
        let mut got = vec![0; text.len()];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), text);
    }

    async fn history_is(console: &Console, text: &str) {
        while console.history() != text.as_bytes() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_a_client_wrote_before_it_left_reaches_the_guest() {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let console = Console::attach(ours);
        let mut one = client(&console);
        // More than waits in queues and sockets, so that some of it is read when the client has gone; the guest's
        // output finds nobody meanwhile.
        let text = vec![b'x'; 150_000];
        one.write_all(&text).await.unwrap();
        drop(one);
        let mut got = 0;
        let mut buffer = vec![0; 2000];
        while got < text.len() {
            guest.write_all(b"echo").await.unwrap();
            let read = tokio::time::timeout(Duration::from_secs(10), guest.read(&mut buffer)).await;
            got += read.expect("all of it comes").unwrap();
        }
        // Still, it is cut off with the others.
        console.cut_off();
    }

    #[tokio::test]
    async fn clients_get_history_then_output_and_write_to_the_guest() {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let console = Console::attach(ours);
        guest.write_all(b"boot ").await.unwrap();
        history_is(&console, "boot ").await;
        let (mut one, mut two) = (client(&console), client(&console));
        guest.write_all(b"login: ").await.unwrap();
        expect(&mut one, "boot login: ").await;
        expect(&mut two, "boot login: ").await;
        one.write_all(b"root\n").await.unwrap();
        expect(&mut guest, "root\n").await;

        drop(one);
        guest.write_all(b"ok").await.unwrap();
        expect(&mut two, "ok").await;
        drop(guest);
        assert_eq!(two.read(&mut [0; 8]).await.unwrap(), 0);
        // What is left of a guest that has ended can still be read.
        let mut late = client(&console);
        expect(&mut late, "boot login: ok").await;
        assert_eq!(late.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_slow_client_is_dropped_and_holds_up_nobody() {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let console = Console::attach(ours);
        let mut slow = client(&console);
        let data = vec![b'x'; 4 << 20];
        tokio::time::timeout(Duration::from_secs(10), guest.write_all(&data)).await.unwrap().unwrap();
        guest.write_all(b"end").await.unwrap();
        while !console.history().ends_with(b"end") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(console.history().len(), HISTORY);
        let mut rest = Vec::new();
        let read = slow.read_to_end(&mut rest);
        tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        assert!(rest.len() < data.len());
    }

    #[tokio::test]
    async fn one_that_never_reads_is_not_kept() {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let console = Console::attach(ours);
        let kept = Arc::new(());
        let stuck = console.open_with(Arc::clone(&kept), Duration::from_millis(50)).unwrap();
        guest.write_all(&vec![b'x'; 4 << 20]).await.unwrap();
        let gone = async {
            while Arc::strong_count(&kept) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
        drop(stuck);
    }

    #[tokio::test]
    async fn clients_that_leave_make_room() {
        let (_guest, ours) = UnixStream::pair().unwrap();
        let console = Console::attach(ours);
        let clients: Vec<OwnedFd> = (0..CLIENT_LIMIT).map(|_| console.open(()).unwrap()).collect();
        assert_eq!(console.open(()).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        drop(clients);
        while console.open(()).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
