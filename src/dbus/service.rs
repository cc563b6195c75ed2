//! What every interface works with: the registry, who may call, and the count of calls in flight.
//!
//! Owns the order of questions to polkit: first the verb, before anything is parsed or looked up; then
//! what the document needs. Must never answer a stranger whether something exists.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use zbus::OwnedObjectPath;
use zbus::message::Header;

use super::error::Error;
use super::paths;
use crate::auth::{Action, Authority, Caller};
use crate::manager::{self, Manager, Needs, Object};
use crate::{domain, network};

/// Shared by all interfaces.
#[derive(Debug)]
pub struct Service {
    /// The objects.
    pub manager: Arc<Manager>,
    /// Who decides.
    pub authority: Authority,
    /// Facts on the machine.
    pub host: super::Host,
    in_flight: AtomicUsize,
    last_call: std::sync::Mutex<Instant>,
}

/// A call that is being answered; the service does not end meanwhile.
#[derive(Debug)]
pub(super) struct Call<'s> {
    service: &'s Service,
    pub(super) caller: Caller,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.service.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.service.touch();
    }
}

impl Service {
    /// Over a registry and an authority.
    pub fn new(manager: Arc<Manager>, authority: Authority) -> Self {
        Self {
            host: super::Host::look(manager.clone()),
            manager,
            authority,
            in_flight: AtomicUsize::new(0),
            last_call: std::sync::Mutex::new(Instant::now()),
        }
    }

    fn touch(&self) {
        *self.last_call.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// How long nothing was asked; `None` while something is.
    pub fn quiet_for(&self) -> Option<std::time::Duration> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.last_call.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed())
    }

    /// Does some work, and answers after the signals that it caused: `/`, or the job that goes on with it.
    pub(super) async fn work(
        &self,
        operation: &'static str,
        object: Object,
        no_wait: bool,
        cancel: Option<domain::Handle>,
        work: impl Future<Output = Result<(), manager::Error>> + Send + 'static,
    ) -> Result<OwnedObjectPath, Error> {
        let job = self.manager.run_job(operation, object, no_wait, cancel, error_parts, work).await;
        self.manager.told().await;
        Ok(paths::job_or_done(job?))
    }

    /// Begins to answer a call.
    pub(super) async fn call(&self, header: &Header<'_>) -> Result<Call<'_>, Error> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.touch();
        match self.authority.caller(header).await {
            Ok(caller) => Ok(Call { service: self, caller }),
            Err(e) => {
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
                Err(e.into())
            }
        }
    }
}

impl Call<'_> {
    async fn check(&self, action: Action, details: &[(&str, String)]) -> Result<(), Error> {
        Ok(self.service.authority.check(&self.caller, action, details).await?)
    }

    /// For a method of a network.
    pub(super) async fn may_manage_network(&self, network: &network::Handle) -> Result<(), Error> {
        let view = network.view();
        let object = paths::network(&view.uuid).to_string();
        let details = [("name", view.name.clone()), ("owner", view.owner.to_string()), ("object", object)];
        self.check(Action::NetworkManage, &details).await
    }

    /// For defining a network, before its document is read.
    pub(super) async fn may_define_network(&self) -> Result<(), Error> {
        self.check(Action::NetworkManage, &[("object", paths::ROOT.to_owned())]).await
    }

    /// For reading what is not public of a network: whoever may use it.
    pub(super) async fn may_read_network(&self, network: &network::Handle) -> Result<(), Error> {
        let view = network.view();
        let action = if view.access == "users" { Action::NetworkUse } else { Action::NetworkManage };
        self.check(action, &[("name", view.name.clone())]).await
    }

    /// For defining a domain, before its document is read.
    pub(super) async fn may_define_domain(&self) -> Result<(), Error> {
        self.check(Action::DomainManageOwn, &[("object", paths::ROOT.to_owned())]).await
    }

    /// For a method of a domain.
    pub(super) async fn may_manage_domain(&self, domain: &domain::Handle) -> Result<(), Error> {
        self.may_with_domain(domain, Action::DomainManageOwn).await
    }

    /// For a console or a display.
    pub(super) async fn may_use_console(&self, domain: &domain::Handle) -> Result<(), Error> {
        self.may_with_domain(domain, Action::DomainConsole).await
    }

    async fn may_with_domain(&self, domain: &domain::Handle, own: Action) -> Result<(), Error> {
        let view = domain.view();
        let action = if view.owner == self.caller.uid { own } else { Action::DomainManage };
        let object = paths::domain(&view.uuid).to_string();
        let details = [("name", view.name.clone()), ("owner", view.owner.to_string()), ("object", object)];
        self.check(action, &details).await
    }

    /// For what a domain's document needs.
    pub(super) async fn may_have(&self, name: &str, needs: &Needs) -> Result<(), Error> {
        if let Some(place) = needs.host_access.first() {
            self.check(Action::HostAccess, &[("name", name.to_owned()), ("place", place.clone())]).await?;
        }
        for network in &needs.networks {
            let open =
                self.service.manager.network_by_name(network).is_ok_and(|n| n.view().access == "users");
            let action = if open { Action::NetworkUse } else { Action::NetworkUseAny };
            self.check(action, &[("name", network.clone())]).await?;
        }
        Ok(())
    }
}

/// Name and message of an error on the bus.
fn error_parts(e: manager::Error) -> (String, String) {
    Error::from(e).into_parts()
}
