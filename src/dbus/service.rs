//! What every interface works with: the registry, who may call, and the count of calls in flight.
//!
//! Owns the life of a call: who it is from, what it takes of its user's share, the work that it begins. Must
//! never let the service end while one is answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use zbus::OwnedObjectPath;
use zbus::message::Header;

use super::callers::{Callers, Claim, Resource};
use super::error::Error;
use super::inbox::Inbox;
use super::paths;
use super::publish::Addresses;
use super::subscribe::{Sight, Subscriptions, Topic};
use super::tree::Tree;
use crate::auth::{Authority, Caller};
use crate::domain;
use crate::manager::{self, Manager, Object, Work};

/// Shared by all interfaces.
#[derive(Debug)]
pub struct Service {
    /// The objects.
    pub manager: Arc<Manager>,
    /// Who decides.
    pub authority: Authority,
    /// Facts on the machine.
    pub host: super::Host,
    /// Who is told what is not public.
    pub(super) subscriptions: Subscriptions,
    pub(super) addresses: Addresses,
    pub(super) tree: Arc<Tree>,
    callers: Callers,
    /// What has come and is not answered, begun or not.
    inbox: Arc<Inbox>,
    in_flight: AtomicUsize,
    last_call: std::sync::Mutex<Instant>,
}

/// A call that is being answered; the service does not end meanwhile.
#[derive(Debug)]
pub(super) struct Call<'s> {
    pub(super) service: &'s Service,
    pub(super) caller: Caller,
    _shares: [Claim; 2],
    _busy: Busy<'s>,
}

/// Something is being answered.
#[derive(Debug)]
struct Busy<'s>(&'s Service);

impl<'s> Busy<'s> {
    fn new(service: &'s Service) -> Self {
        service.in_flight.fetch_add(1, Ordering::Relaxed);
        service.touch();
        Self(service)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

impl Service {
    /// Over a registry, an authority, and what comes from the bus.
    pub fn new(manager: Arc<Manager>, authority: Authority, inbox: Arc<Inbox>) -> Self {
        Self {
            host: super::Host::look(manager.clone()),
            callers: Callers::new(manager.scope().config.limits),
            subscriptions: Subscriptions::default(),
            addresses: Addresses::default(),
            tree: Arc::default(),
            manager,
            authority,
            inbox,
            in_flight: AtomicUsize::new(0),
            last_call: std::sync::Mutex::new(Instant::now()),
        }
    }

    fn touch(&self) {
        *self.last_call.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// Whether somebody waits to be told of something.
    pub fn has_subscribers(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// How long nothing was asked; `None` while something is.
    pub fn quiet_for(&self) -> Option<std::time::Duration> {
        if self.in_flight.load(Ordering::Relaxed) > 0 || !self.inbox.is_quiet() {
            return None;
        }
        Some(self.last_call.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed())
    }

    /// Begins to answer a call.
    pub(super) async fn call(&self, header: &Header<'_>) -> Result<Call<'_>, Error> {
        let busy = Busy::new(self);
        let (caller, shares) =
            self.callers.enter(&self.authority, header, self.inbox.arrival(header)).await?;
        Ok(Call { service: self, caller, _shares: shares, _busy: busy })
    }
}

impl Call<'_> {
    /// Does some work, and answers after the signals that it caused: `/`, or the job that goes on with it.
    pub(super) async fn work(
        &self,
        operation: &'static str,
        object: Object,
        no_wait: bool,
        cancel: Option<domain::Handle>,
        work: impl Future<Output = Result<(), manager::Error>> + Send + 'static,
    ) -> Result<OwnedObjectPath, Error> {
        let claim = |resource| self.service.callers.claim(self.caller.uid, resource);
        let share = claim(Resource::Work)?;
        // One that somebody waits for has an object only if it takes long, so there are few of those.
        let kept = no_wait.then(|| claim(Resource::Job)).transpose()?;
        let task = async move {
            let _share = share;
            work.await
        };
        let manager = &self.service.manager;
        let until = if no_wait { Instant::now() } else { self.caller.deadline().into_std() };
        let work = Work { operation, object, until, cancel, by: self.caller.sender.clone() };
        let job = manager.run_job(work, error_parts, kept, task).await;
        manager.told().await;
        Ok(paths::job_or_done(job?))
    }

    /// Counts a large answer for the caller, from now on until it is out.
    pub(super) fn answers_with(&self, header: &Header<'_>, bytes: usize) -> Result<(), Error> {
        let share = self.service.callers.claim_much(self.caller.uid, Resource::Byte, bytes)?;
        self.service.inbox.keep_until_answered(header, share);
        Ok(())
    }

    /// Admits the caller to unicast signals until it leaves the bus.
    pub(super) fn subscribe(
        &self,
        topics: BTreeSet<Topic>,
        sight: Sight,
        service: &Arc<Service>,
    ) -> Result<(), Error> {
        let (sender, uid) = (self.caller.sender.clone(), self.caller.uid);
        let share = || service.callers.claim(uid, Resource::Subscription);
        if service.subscriptions.add(&sender, topics, sight, share)? {
            let service = service.clone();
            tokio::spawn(async move {
                service.authority.gone(&sender).await;
                service.subscriptions.forget(&sender);
            });
        }
        Ok(())
    }
}

/// Name and message of an error on the bus.
fn error_parts(e: manager::Error) -> (String, String) {
    Error::from(e).into_parts()
}
