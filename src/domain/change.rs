//! Changes of what is stored of a domain.
//!
//! Owns that a change is on the disk before anybody hears of it, and that one follows the other: while one is being
//! written, beside the actor, what would change or use the definition waits, and all else is answered. Must never keep
//! `Stop` of a guest that is there waiting.

use super::actor::{Actor, Message, Reply};
use super::definition::Definition;
use super::report::Report;
use super::state::Event;
use super::{Compared, Error, remains};
use crate::desk::off_thread;
use crate::store::{Envelope, Kind, StoreError, file_bytes};

/// A change that has been written, or has failed.
pub(super) struct Change {
    result: Result<(), StoreError>,
    what: What,
    reply: Reply<()>,
}

enum What {
    Redefined {
        definition: Definition,
        envelope: Envelope,
        /// The guest that runs has another one.
        differs: bool,
    },
    Undefined,
}

impl Actor {
    /// Whether a message has to wait for the change that is being written. How many wait is limited: each is of a
    /// call in flight.
    pub(super) fn must_wait(&self, message: &Message) -> bool {
        let follows = match message {
            Message::Start { .. }
            | Message::Clear { .. }
            | Message::Undefine { .. }
            | Message::Redefine { .. }
            | Message::SetAutostart { .. } => true,
            // It is for the start that waits.
            Message::Stop { .. } => !self.is_live(),
            _ => false,
        };
        self.changing && follows
    }

    pub(super) fn undefine(&mut self, reply: Reply<()>) {
        if let Err(e) = self.step(Event::Undefine) {
            return drop(reply.send(Err(e)));
        }
        if remains::is_there(&self.context, &self.uuid) {
            // It was started meanwhile.
            let left = vec!["the runtime files".to_owned()];
            return drop(reply.send(Err(Error::Remains { name: self.name(), left })));
        }
        let (store, uuid) = (self.context.store.clone(), self.uuid);
        self.write(reply, async move {
            (off_thread(move || store.remove(Kind::Domain, &uuid)).await, What::Undefined)
        });
    }

    /// Takes a definition and what is stored beside it. `compared`: with what runs, unless that is another by now.
    pub(super) fn redefine(
        &mut self,
        definition: Definition,
        envelope: Envelope,
        compared: Option<Compared>,
        reply: Reply<()>,
    ) {
        if let Err(e) = self.shares.grow(self.held(&definition), file_bytes(definition.bytes())) {
            return drop(reply.send(Err(e.into())));
        }
        let (context, uuid) = (self.context.clone(), self.uuid);
        let differs = self.live.clone().map(|running| {
            // What was set beside the definition alone changes nothing here.
            let beside = definition.is(&self.definition).then_some(self.differs);
            let compared = compared.filter(|compared| compared.with == running.edition());
            let known = beside.or(compared.map(|compared| compared.differs));
            (running, known)
        });
        self.write(reply, async move {
            let differs = match differs {
                None => false,
                Some((_, Some(known))) => known,
                Some((running, None)) => {
                    let (bytes, new) = (running.bytes().max(definition.bytes()), definition.clone());
                    context.desk.run_own(bytes, move || !running.says_the_same(&new)).await
                }
            };
            let (kept, beside) = (definition.clone(), envelope.clone());
            let save = move || context.store.save(Kind::Domain, &uuid, &beside, kept.xml());
            (off_thread(save).await, What::Redefined { definition, envelope, differs })
        });
    }

    fn write(
        &mut self,
        reply: Reply<()>,
        work: impl Future<Output = (Result<(), StoreError>, What)> + Send + 'static,
    ) {
        self.changing = true;
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let (result, what) = work.await;
            let _ = reports.send(Report::Changed(Box::new(Change { result, what, reply }))).await;
        });
    }

    /// Takes over what has been written; true when the domain is no more.
    pub(super) fn changed(&mut self, change: Change) -> bool {
        self.changing = false;
        let Change { result, what, reply } = change;
        let undefined = result.is_ok() && matches!(what, What::Undefined);
        if let (Ok(()), What::Redefined { definition, envelope, differs }) = (&result, what) {
            (self.definition, self.envelope) = (definition, envelope);
            // It may have ended meanwhile.
            self.differs = differs && self.live.is_some();
            self.publish();
        }
        if undefined {
            self.context.kept.forget(&self.uuid);
            self.shares.settle(0, 0);
        } else {
            self.count();
        }
        let _ = reply.send(result.map_err(Error::from));
        undefined
    }

    /// Counts the documents that there are.
    pub(super) fn count(&mut self) {
        self.shares.settle(self.held(&self.definition), file_bytes(self.definition.bytes()));
    }

    /// The bytes of this definition, and of the one that runs where that is another.
    fn held(&self, definition: &Definition) -> u64 {
        let beside = self.live.as_ref().filter(|running| !running.is(definition));
        (definition.bytes() + beside.map_or(0, Definition::bytes)) as u64
    }
}
