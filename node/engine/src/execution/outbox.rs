//! Putting messages into the outbox.

use super::Execution;
use crate::effect::Effect;
use crate::id::RunRef;
use crate::tables::{Message, MessageBody, Record, WriteSet, keys};

impl Execution<'_, '_> {
    /// Sends a message of this run; 0 for what no event initiates.
    pub(crate) fn send(&mut self, initiated_event_id: i64, body: MessageBody) {
        let source = self.run.run.clone();
        send(self.set, source, initiated_event_id, body);
    }
}

/// Puts a message into the outbox.
pub(crate) fn send(
    set: &mut WriteSet<'_>,
    source: RunRef,
    initiated_event_id: i64,
    body: MessageBody,
) {
    let sequence = set.meta.next_message;
    set.meta.next_message += 1;
    let message = keys::message_ref(&source, sequence);
    let record = Message {
        source,
        initiated_event_id,
        body,
    };
    set.put(
        keys::message_key(message),
        Record::Message(Box::new(record)),
    );
    set.effects.push(Effect::OutboxReady(message));
}
