//! Work that goes on after its call was answered.
//!
//! Owns the numbers of jobs (never used twice within a boot) and their end. Must never keep a call
//! waiting beyond the time that it names.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Error, Event, Manager};
use crate::domain;
use crate::sys::unix;

/// How long a job that has ended can still be looked at.
const KEPT: Duration = Duration::from_secs(60);

/// What a job works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Object {
    Network(Uuid),
    Domain(Uuid),
}

/// Why a job did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The error's name on the bus.
    pub name: String,
    /// All there is to say; for whom the call would have told it to.
    pub message: String,
    /// What everybody may know of it.
    pub in_public: &'static str,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum JobState {
    Running,
    Completed,
    Failed(Arc<Failure>),
    Cancelled,
}

impl JobState {
    /// The word on the bus.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What somebody asks for.
#[derive(Debug)]
pub struct Work {
    /// The method, as `Start`.
    pub operation: &'static str,
    /// What it works on.
    pub object: Object,
    /// How long the call waits before it is answered with a job; a time that is past: not at all.
    pub until: Instant,
    /// The domain whose stop ends it.
    pub cancel: Option<domain::Handle>,
    /// Who asks, by the unique name on the bus.
    pub by: String,
}

/// One piece of work.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// The method that began it, as `Start`.
    pub operation: &'static str,
    /// What it works on.
    pub object: Object,
    /// Who has begun it, by the unique name on the bus.
    pub by: String,
    state: RwLock<JobState>,
    cancel: Option<domain::Handle>,
    cancelled: std::sync::atomic::AtomicBool,
}

impl Job {
    /// How it stands.
    pub fn state(&self) -> JobState {
        super::read(&self.state).clone()
    }

    /// Ends it early: the start of a domain is the only one that can be.
    pub async fn cancel(&self) -> Result<(), Error> {
        if self.state() != JobState::Running {
            return Err(Error::JobEnded(self.operation));
        }
        let Some(domain) = &self.cancel else { return Err(Error::NotCancellable(self.operation)) };
        self.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(domain.stop(false).await?)
    }
}

/// The next number, kept in RUN so that a new service goes on counting.
#[derive(Debug)]
pub(super) struct Counter {
    path: PathBuf,
    next: Mutex<u64>,
}

impl Counter {
    pub(super) fn new(run: &Path) -> Self {
        let path = run.join("next-job");
        let next = fs_err::read_to_string(&path).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(1);
        Self { path, next: Mutex::new(next) }
    }

    /// In its place, and always as long: nothing is cut off first, and a full disk has room for it.
    fn keep(&self, next: u64) -> io::Result<()> {
        let mut file = unix::private_file(&self.path, false)?;
        write!(file, "{next:020}")
    }

    fn take(&self) -> u64 {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let id = *next;
        *next += 1;
        if let Err(e) = self.keep(*next) {
            tracing::warn!("the number of the next job is not kept: {e}");
        }
        id
    }
}

impl Manager {
    /// Does some work: `None` when it was done in time, else the job that goes on with it. `name_error`
    /// gives an error's name and message on the bus; `kept` is dropped when the job's object goes.
    pub async fn run_job(
        self: &Arc<Self>,
        Work { operation, object, until, cancel, by }: Work,
        name_error: fn(Error) -> (String, String),
        kept: impl Send + 'static,
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> Result<Option<u64>, Error> {
        let mut task = tokio::spawn(work);
        if until > Instant::now()
            && let Ok(result) = tokio::time::timeout_at(until.into(), &mut task).await
        {
            return result.map_err(|_| Error::JobLost)?.map(|()| None);
        }
        let job = Arc::new(Job {
            id: self.jobs.take(),
            operation,
            object,
            by,
            state: RwLock::new(JobState::Running),
            cancel,
            cancelled: std::sync::atomic::AtomicBool::new(false),
        });
        self.tell(Event::JobAdded(job.clone()));
        let (manager, id) = (self.clone(), job.id);
        tokio::spawn(async move {
            let result = task.await.unwrap_or(Err(Error::JobLost));
            let cancelled = job.cancelled.load(std::sync::atomic::Ordering::Relaxed);
            *super::write(&job.state) = match result {
                Ok(()) => JobState::Completed,
                Err(_) if cancelled => JobState::Cancelled,
                Err(e) => {
                    let in_public = e.in_public();
                    let (name, message) = name_error(e);
                    tracing::info!("the {operation} that {} began failed: {message}", job.by);
                    JobState::Failed(Failure { name, message, in_public }.into())
                }
            };
            manager.tell(Event::JobEnded(job));
            tokio::time::sleep(KEPT).await;
            manager.tell(Event::JobRemoved(id));
            drop(kept);
        });
        Ok(Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_service_goes_on_counting() {
        let dir = tempfile::tempdir().unwrap();
        let counter = Counter::new(dir.path());
        assert_eq!((counter.take(), counter.take()), (1, 2));
        assert_eq!(Counter::new(dir.path()).take(), 3);
        // As a former version wrote it.
        fs_err::write(dir.path().join("next-job"), "41").unwrap();
        assert_eq!((Counter::new(dir.path()).take(), Counter::new(dir.path()).take()), (41, 42));
    }
}
