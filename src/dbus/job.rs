//! `org.warren1.Job`: work that goes on after its call was answered.

use std::sync::Arc;

use zbus::OwnedObjectPath;
use zbus::interface;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use super::error::Error;
use super::options::{Given, Options};
use super::paths;
use super::service::Service;
use crate::manager::{Job, JobState};

/// One job on the bus.
#[derive(Debug)]
pub(super) struct JobInterface {
    service: Arc<Service>,
    job: Arc<Job>,
}

impl JobInterface {
    pub(super) fn new(service: Arc<Service>, job: Arc<Job>) -> Self {
        Self { service, job }
    }
}

#[interface(name = "org.warren1.Job", introspection_docs = false)]
impl JobInterface {
    #[zbus(property(emits_changed_signal = "const"))]
    fn operation(&self) -> String {
        self.job.operation.to_owned()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn object(&self) -> OwnedObjectPath {
        paths::object(self.job.object)
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.job.state().as_str().to_owned()
    }

    #[zbus(property)]
    fn progress(&self) -> f64 {
        if self.job.state() == JobState::Completed { 1.0 } else { -1.0 }
    }

    async fn cancel(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let call = self.service.call(&header).await?;
        call.may_manage(self.job.object).await?;
        Options::none(options)?;
        self.job.cancel().await?;
        self.service.manager.told().await;
        Ok(())
    }

    #[zbus(signal)]
    pub(super) async fn completed(
        emitter: &SignalEmitter<'_>,
        state: &str,
        error_name: &str,
        message: &str,
    ) -> zbus::Result<()>;
}
