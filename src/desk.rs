//! Work whose length a caller chooses, away from the thread that answers callers: documents are read, judged and
//! compared here, and files are written.
//!
//! Owns who works next. Each user has one turn at a time, so that nobody who hands in many documents is before those
//! who hand in one; and large documents, which take a multiple of their size while they are read, are read one after
//! the other. Must never be waited for by work that is on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sys::memory;

/// A document from here on is large: its memory is given back at once.
const LARGE: usize = 64 << 10;

/// Small documents that are worked on at once. The thread that answers needs a CPU, too.
const SMALL_SEATS: usize = 2;

/// How long after large work what else it took is free.
const TIDY: Duration = Duration::from_secs(1);

/// Where work is done. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    turns: Turns,
    /// What large work has left is about to be given back.
    tidying: AtomicBool,
}

/// Each user has one turn at a time. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<u32, Arc<Semaphore>>>>);

/// One user's turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    uid: u32,
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(Inner {
            small: Arc::new(Semaphore::new(SMALL_SEATS)),
            large: Arc::new(Semaphore::new(1)),
            turns: Turns::default(),
            tidying: AtomicBool::new(false),
        }))
    }
}

/// Runs what waits for the disk on a thread of its own, and to its end, also if nobody waits for it any more.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The service ends.
            Err(_) => std::future::pending().await,
        },
    }
}

async fn take(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.acquire_owned().await {
        Ok(permit) => permit,
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this user's turn. Who has it must not ask for it again.
    pub async fn take(&self, uid: u32) -> Turn {
        let mine = self.lock().entry(uid).or_insert_with(|| Arc::new(Semaphore::new(1))).clone();
        Turn { turns: self.clone(), uid, permit: Some(take(mine).await) }
    }
}

impl Desk {
    /// Waits for this user's turn, for several pieces of work in a row, each by [`Self::run_own`].
    pub async fn turn(&self, uid: u32) -> Turn {
        self.0.turns.take(uid).await
    }

    /// One piece of work of this user's, on documents of so many bytes.
    pub async fn run<T: Send + 'static>(
        &self,
        uid: u32,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let _turn = self.turn(uid).await;
        self.run_own(bytes, work).await
    }

    /// Work of the service's own, or of who has the turn: there is little of it at a time.
    pub async fn run_own<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let large = bytes >= LARGE;
        let seat = take(if large { &self.0.large } else { &self.0.small }.clone()).await;
        let work = move || {
            let done = work();
            if large {
                memory::give_back();
            }
            // Not before its end, whether or not somebody still waits for that.
            drop(seat);
            done
        };
        let done = off_thread(work).await;
        if large {
            self.clone().tidy_later();
        }
        done
    }

    /// Once more when the call is over that the work was for: its message is as large.
    fn tidy_later(self) {
        if self.0.tidying.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::spawn(async move {
            tokio::time::sleep(TIDY).await;
            self.0.tidying.store(false, Ordering::Relaxed);
            off_thread(memory::give_back).await;
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        let mut turns = self.turns.lock();
        // Whoever waits for a turn of this user has a share of it.
        if turns.get(&self.uid).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_user_has_one_turn_and_others_have_theirs() {
        let desk = Desk::default();
        let turn = desk.turn(1000).await;
        let second = desk.run(1000, 1, || ());
        assert!(tokio::time::timeout(Duration::from_millis(50), second).await.is_err(), "he has his turn");
        assert_eq!(desk.run(1001, LARGE, || 1).await, 1);
        assert_eq!(desk.run_own(LARGE, || 2).await, 2);
        drop(turn);
        assert_eq!(desk.run(1000, 1, || 3).await, 3);
        assert!(desk.0.turns.lock().is_empty(), "what is over leaves nothing");
    }

    #[tokio::test]
    async fn large_work_waits_for_large_work_alone() {
        let desk = Desk::default();
        let (begin, wait) = std::sync::mpsc::channel::<()>();
        let other = desk.clone();
        let large = tokio::spawn(async move { other.run(1, LARGE, move || wait.recv().is_ok()).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let second = desk.run(2, LARGE, || ());
        assert!(tokio::time::timeout(Duration::from_millis(50), second).await.is_err());
        desk.run(3, 1, || ()).await;
        begin.send(()).unwrap();
        assert!(large.await.unwrap());
        desk.run(2, LARGE, || ()).await;
    }
}
