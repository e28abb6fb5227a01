//! Claims of what waits in queues, for polls that wait (design D5).
//!
//! A look at a queue can be asked for at any time. It is made when the proposer puts its next
//! entries together, after the mutations there have taken their reservations: a poll that rides
//! with a transition costs no mutation of its own.

use super::Core;
use super::item::encode_mutation;
use super::pending::Waiting;
use super::propose::Queued;
use steadfast_engine::Mutation;
use steadfast_engine::id::{QueueKey, Reservation};
use steadfast_engine::read::queue;

/// Tasks that one look claims at most. The end of each claim asks for the next look.
const CLAIMS_MAX: usize = 64;

impl Core {
    /// Asks for a look at a queue's backlog, if polls wait that may find something there.
    pub(super) fn look(&self, queue: &QueueKey) {
        if self.matching.asks_look(queue) {
            // The loop outlives office; without it the node stops anyway.
            drop(self.queue.send(Queued::Look(queue.clone())));
        }
    }

    /// Holds waiting polls for the tasks of a queue that no claim on its way will take.
    pub(super) fn claims_of(&self, queue: &QueueKey) -> Vec<Reservation> {
        let Some(before) = self.matching.before_look(queue) else {
            return Vec::new();
        };
        if self.proposes_nothing() {
            return Vec::new();
        }
        let limit = before.claims + before.waiting.min(CLAIMS_MAX);
        match queue::backlog(&self.view(), queue, limit) {
            Ok(backlog) => self.matching.looked(queue, before, backlog.count),
            Err(fault) => {
                tracing::error!(%fault, "a look at a queue failed");
                Vec::new()
            }
        }
    }

    /// Encodes the claim of a queue's head for a held poll and notes it as pending: its name among
    /// those and its bytes.
    pub(super) fn claim(&self, reservation: Reservation) -> Option<(u64, Vec<u8>)> {
        let (queue, poll) = (reservation.queue.clone(), reservation.poll);
        match encode_mutation(&Mutation::ClaimTask(reservation)) {
            Ok(bytes) => {
                self.telemetry.claims.add(1);
                self.telemetry.proposals.add(1);
                let sequence = self.next_sequence();
                self.pending.insert(
                    sequence,
                    Waiting {
                        answer: None,
                        _admitted: None,
                        polls: vec![poll],
                        claim: Some(queue),
                    },
                );
                Some((sequence, bytes))
            }
            Err(error) => {
                tracing::error!(%error, "a claim was not proposed");
                self.matching.claim_ends(&queue);
                // Not looked at again: it would fail again.
                self.matching.give_back(poll);
                None
            }
        }
    }
}
