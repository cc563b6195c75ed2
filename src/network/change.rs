//! Changes of what is stored of a network.
//!
//! Owns that a change is on the disk before anybody hears of it, and what the definition counts for. Must never write
//! on the thread that answers callers.

use super::actor::Actor;
use super::state::Event;
use super::{Definition, Error, bring_up};
use crate::desk::off_thread;
use crate::store::{Envelope, Kind, file_bytes};

impl Actor {
    /// Tries again to remove what a teardown has left; an error says what is still there.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        self.step(Event::Undefine)?;
        if !bring_up::remains(&self.context, &self.uuid, self.definition.forwarding()).await {
            return Ok(());
        }
        let definition = self.definition.clone();
        let def = self.context.desk.run_own(definition.bytes(), move || definition.def()).await?;
        let left = bring_up::clear(&self.context, &self.uuid, &def).await?;
        if left.is_empty() { Ok(()) } else { Err(Error::Remains { name: self.name(), left }) }
    }

    pub(super) async fn undefine(&mut self) -> Result<(), Error> {
        self.step(Event::Undefine)?;
        if bring_up::remains(&self.context, &self.uuid, self.definition.forwarding()).await {
            // It was started meanwhile, in vain.
            return Err(Error::Remains { name: self.name(), left: vec!["its runtime files".to_owned()] });
        }
        let (store, uuid) = (self.context.store.clone(), self.uuid);
        off_thread(move || store.remove(Kind::Network, &uuid)).await?;
        self.shares.settle(0, 0);
        Ok(())
    }

    pub(super) async fn redefine(&mut self, definition: Definition, envelope: Envelope) -> Result<(), Error> {
        self.shares.grow(self.held(&definition), file_bytes(definition.bytes()))?;
        let result = self.keep(definition, envelope).await;
        self.count();
        self.publish();
        result
    }

    async fn keep(&mut self, definition: Definition, envelope: Envelope) -> Result<(), Error> {
        let differs = match self.up.as_ref().map(|up| up.definition.clone()) {
            None => false,
            // What was set beside the definition alone changes nothing here.
            Some(_) if definition.is(&self.definition) => self.differs,
            Some(running) => {
                let (bytes, new) = (running.bytes().max(definition.bytes()), definition.clone());
                self.context.desk.run_own(bytes, move || !running.says_the_same(&new)).await
            }
        };
        let (store, uuid) = (self.context.store.clone(), self.uuid);
        let (text, beside) = (definition.clone(), envelope.clone());
        off_thread(move || store.save(Kind::Network, &uuid, &beside, text.xml())).await?;
        (self.definition, self.envelope, self.differs) = (definition, envelope, differs);
        Ok(())
    }

    /// Counts the documents that there are.
    pub(super) fn count(&mut self) {
        self.shares.settle(self.held(&self.definition), file_bytes(self.definition.bytes()));
    }

    /// The bytes of this definition, and of the one that runs where that is another.
    fn held(&self, definition: &Definition) -> u64 {
        let beside = self.up.as_ref().map(|up| &up.definition).filter(|running| !running.is(definition));
        (definition.bytes() + beside.map_or(0, Definition::bytes)) as u64
    }

    pub(super) async fn change(&mut self, edit: impl FnOnce(&mut Envelope)) -> Result<(), Error> {
        let mut envelope = self.envelope.clone();
        edit(&mut envelope);
        if envelope == self.envelope {
            return Ok(());
        }
        self.redefine(self.definition.clone(), envelope).await
    }
}
