//! What runs tell each other is delivered (design D2): the leader's loop over the outbox.
//!
//! It walks from message to message and begins anew at the end, so that messages that have to wait
//! hold up no others. Within one walk it never overtakes: messages of one source are proposed in
//! the order in which they were sent.

use crate::shard::{Class, Core, Unavailable};
use futures::future::join_all;
use std::time::Duration;
use steadfast_engine::tables::MessageRef;
use steadfast_engine::{Mutation, resume};
use steadfast_planted::{Bug, planted};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Messages proposed at once; users' proposals come between.
const DELIVERED_MAX: usize = 256;
/// After a walk in which nothing was delivered, and after a fault.
const PAUSE: Duration = Duration::from_millis(100);

/// Wakes the loop when there is a new message.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    woken: Notify,
}

impl Outbox {
    /// A message was added.
    pub(crate) fn ready(&self) {
        self.woken.notify_one();
    }
}

/// Delivers what is in the outbox, until cancelled.
pub(crate) async fn run(core: &Core) {
    let mut after = None;
    let lost = match planted(Bug::OutboxLostWithLeader) {
        true => resume::outbox(&core.view(), None, DELIVERED_MAX).unwrap_or_default(),
        false => Vec::new(),
    };
    // Whether this walk has found a message, and whether it has delivered one.
    let (mut found, mut delivered) = (false, false);
    loop {
        let mut messages = match resume::outbox(&core.view(), after, DELIVERED_MAX) {
            Ok(messages) => messages,
            Err(fault) => {
                tracing::error!(%fault, "the outbox cannot be read");
                sleep(PAUSE).await;
                continue;
            }
        };
        if planted(Bug::OutboxLostWithLeader) {
            messages.retain(|message| !lost.contains(message));
        }
        if messages.is_empty() {
            match (found, delivered) {
                // A message that came since has left its permit.
                (false, _) => core.outbox.woken.notified().await,
                (true, false) => sleep(PAUSE).await,
                (true, true) => {}
            }
            (after, found, delivered) = (None, false, false);
            continue;
        }
        found = true;
        let (proposed, any) = propose(core, &messages).await;
        delivered |= any;
        match proposed.checked_sub(1).and_then(|last| messages.get(last)) {
            // What could not be proposed comes next: nothing overtakes it.
            Some(last) => after = Some(*last),
            None => sleep(PAUSE).await,
        }
    }
}

/// Proposes in order until one can't be: how many were proposed, and whether any was delivered.
async fn propose(core: &Core, messages: &[MessageRef]) -> (usize, bool) {
    let mut replies = Vec::new();
    for message in messages {
        match core.propose(Class::Drains, Mutation::DeliverMessage(*message)) {
            Ok(reply) => replies.push(reply),
            Err(_) => break,
        }
    }
    let proposed = replies.len();
    let outcomes = join_all(replies).await;
    let delivered = outcomes
        .into_iter()
        .any(|outcome| matches!(outcome.unwrap_or(Err(Unavailable::Unknown)), Ok(Ok(_))));
    (proposed, delivered)
}
