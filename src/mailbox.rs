//! A question to an actor. Owns the pairing of a message with its answer; must never wait for anything
//! else.

use tokio::sync::{mpsc, oneshot};

/// Where an actor answers.
pub(crate) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// Sends a message and waits for its answer; `gone` makes the error where the actor has ended.
pub(crate) async fn ask<M, T, E>(
    mailbox: &mpsc::Sender<M>,
    message: impl FnOnce(Reply<T, E>) -> M,
    gone: impl Fn() -> E,
) -> Result<T, E> {
    let (reply, answer) = oneshot::channel();
    mailbox.send(message(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
