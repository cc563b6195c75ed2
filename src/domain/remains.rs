//! What is left of a guest whose teardown failed.
//!
//! Owns that it is removed before the domain is started again or forgotten. Must never pass over a QEMU that is still
//! there: its record, its uid and its ports stay as long as it does.

use uuid::Uuid;

use super::actor::{Actor, Reply};
use super::report::Report;
use super::state::Event;
use super::{Context, Error, lost};

/// Whether RUN knows of something.
pub(super) fn is_there(context: &Context, uuid: &Uuid) -> bool {
    context.scope.domain_run_dir(uuid).exists()
}

/// Tries again to remove it; answers what is still there.
pub(super) async fn clear(context: &Context, uuid: &Uuid) -> Vec<String> {
    if !is_there(context, uuid) {
        return Vec::new();
    }
    match lost::recorded(context, uuid, None).await {
        Ok(guest) => guest.give_back(context, uuid).await,
        Err(e) => vec![format!("QEMU: {}", crate::chain(&e))],
    }
}

impl Actor {
    /// For an undefinition. It is done beside the actor, since QEMU may take its time.
    pub(super) fn clear(&mut self, reply: Reply<()>) {
        if let Err(e) = self.step(Event::Undefine) {
            return drop(reply.send(Err(e)));
        }
        self.changing = true;
        let (context, uuid, reports) = (self.context.clone(), self.uuid, self.reports.clone());
        tokio::spawn(async move {
            let left = clear(&context, &uuid).await;
            let _ = reports.send(Report::Cleared { left, reply }).await;
        });
    }

    pub(super) fn cleared(&mut self, left: Vec<String>, reply: Reply<()>) {
        self.changing = false;
        let _ = reply.send(if left.is_empty() {
            Ok(())
        } else {
            Err(Error::Remains { name: self.name(), left })
        });
    }
}
