//! From a mutation to a log entry: one loop stamps, adds reservations and batches, in order.

use super::admission::Admitted;
use super::item::{BatchWriter, ENTRY_BYTES, ENTRY_MUTATIONS, encode_mark, encode_mutation};
use super::pending::{Outcome, Waiting};
use super::{Class, Core, Unavailable};
use crate::telemetry;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use steadfast_engine::Mutation;
use steadfast_engine::id::{PollId, QueueKey, Reservation};
use steadfast_engine::mutation::ProposalId;
use steadfast_planted::{Bug, planted};
use steadfast_raft::ProposeError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

/// Entries on their way. More would only make batches smaller: with one in the disk, one on the
/// wire and one in apply, all are busy.
const ENTRIES_IN_FLIGHT: usize = 4;
/// Items that make an entry worth its cost while others are on their way.
const GATHERED: usize = ENTRY_MUTATIONS / 2;
/// The longest that an item waits for more of them, or for the entry before it.
const GATHERED_FOR: Duration = Duration::from_millis(5);

/// A refused entry is told so late: polls would claim the same tasks again at once, and be refused
/// again at once, for as long as this node leads without a majority that hears it.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// What the proposer loop takes.
#[derive(Debug)]
pub(super) enum Queued {
    /// A mutation.
    Mutation {
        /// Its name among the pending.
        sequence: u64,
        /// Encoded.
        bytes: Vec<u8>,
        /// Queues that it may make tasks for.
        wanted: Vec<QueueKey>,
    },
    /// Waiting polls may find something in this queue.
    Look(QueueKey),
    /// A mark.
    Mark,
}

impl Core {
    /// Lets a mutation in and queues it.
    pub(crate) fn propose(
        &self,
        class: Class,
        mutation: Mutation,
    ) -> Result<oneshot::Receiver<Outcome>, Unavailable> {
        if self.is_split() {
            return Err(Unavailable::StatesDiffer);
        }
        if self.resigning.load(Ordering::Acquire) {
            return Err(Unavailable::NotLeader);
        }
        let (bytes, wanted) = self.prepare(&mutation)?;
        let Some(admitted) = self.admission.enter(class, bytes.len()) else {
            self.telemetry.overloaded.add(1);
            return Err(Unavailable::Overloaded);
        };
        let (answer, answered) = oneshot::channel();
        self.enqueue(bytes, wanted, Some(answer), Some(admitted));
        Ok(answered)
    }

    /// Proposes without waiting and without admission: what waiting polls bound.
    pub(super) fn propose_detached(&self, mutation: Mutation) {
        if self.proposes_nothing() {
            return;
        }
        match self.prepare(&mutation) {
            Ok((bytes, wanted)) => self.enqueue(bytes, wanted, None, None),
            Err(error) => {
                tracing::error!(%error, kind = telemetry::kind(&mutation), "not proposed")
            }
        }
    }

    /// The next leader makes what this one leaves out.
    pub(super) fn proposes_nothing(&self) -> bool {
        self.is_split() || self.resigning.load(Ordering::Acquire)
    }

    /// Proposes a mark, even when writes are refused: the next one tells whether they may go on.
    pub(super) fn propose_mark(&self) {
        // The loop outlives office; without it the node stops anyway.
        drop(self.queue.send(Queued::Mark));
    }

    fn prepare(&self, mutation: &Mutation) -> Result<(Vec<u8>, Vec<QueueKey>), Unavailable> {
        let bytes = encode_mutation(mutation).map_err(|error| {
            tracing::warn!(%error, kind = telemetry::kind(mutation), "a mutation is too large");
            Unavailable::Overloaded
        })?;
        let wanted = match super::reserve::wanted(&self.view(), mutation) {
            Ok(wanted) => wanted,
            Err(fault) => {
                // Hints are optional; whoever applies meets the fault, too.
                tracing::warn!(%fault, "no reservations for a proposal");
                Vec::new()
            }
        };
        Ok((bytes, wanted))
    }

    fn enqueue(
        &self,
        bytes: Vec<u8>,
        wanted: Vec<QueueKey>,
        answer: Option<oneshot::Sender<Outcome>>,
        admitted: Option<Admitted>,
    ) {
        let sequence = self.next_sequence();
        self.pending.insert(
            sequence,
            Waiting {
                answer,
                _admitted: admitted,
                polls: Vec::new(),
                claim: None,
            },
        );
        self.telemetry.proposals.add(1);
        if self
            .queue
            .send(Queued::Mutation {
                sequence,
                bytes,
                wanted,
            })
            .is_err()
        {
            self.settle(sequence, Err(Unavailable::Stopping), &BTreeSet::new());
        }
    }

    /// A proposal's outcome is known: whoever waits hears it, unused reservations go back.
    pub(super) fn settle(&self, sequence: u64, outcome: Outcome, used: &BTreeSet<PollId>) {
        if let Some(waiting) = self.pending.take(sequence) {
            self.finish(waiting, outcome, used);
        }
    }

    pub(super) fn finish(&self, waiting: Waiting, outcome: Outcome, used: &BTreeSet<PollId>) {
        if outcome == Err(Unavailable::Unknown) {
            self.telemetry.unknown.add(1);
        }
        let claimed = waiting.claim.clone();
        let again = claimed.filter(|queue| self.matching.claim_ends(queue));
        for poll in waiting.finish(outcome) {
            if !used.contains(&poll)
                && let Some(queue) = self.matching.give_back(poll)
            {
                self.look(&queue);
            }
        }
        if let Some(queue) = again {
            self.look(&queue);
        }
    }
}

/// The proposer loop. An entry costs each replica much, a mutation in it little: while one is on
/// its way, the next gathers, for [`GATHERED_FOR`] or until [`GATHERED`] items.
pub(super) async fn run(core: &Core, mut queue: mpsc::UnboundedReceiver<Queued>) {
    let mut entries = FuturesUnordered::new();
    let mut queued = Vec::with_capacity(ENTRY_MUTATIONS);
    let mut gathers_until = Instant::now();
    loop {
        let free = ENTRY_MUTATIONS - queued.len();
        tokio::select! {
            biased;
            Some((sequences, result)) = entries.next(), if !entries.is_empty() => {
                settle_entry(core, sequences, result);
            }
            count = queue.recv_many(&mut queued, free), if free > 0 => {
                if count == 0 {
                    return;
                }
                if queued.len() == count {
                    gathers_until = Instant::now() + GATHERED_FOR;
                }
            }
            () = sleep_until(gathers_until), if waits(&entries, &queued) => {}
        }
        let goes = entries.is_empty()
            || queued.len() >= GATHERED
            || waits(&entries, &queued) && gathers_until <= Instant::now();
        if queued.is_empty() || !goes || entries.len() >= ENTRIES_IN_FLIGHT {
            continue;
        }
        for (sequences, content) in batches(core, queued.drain(..)) {
            let Some(raft) = core.raft() else { continue };
            core.telemetry.entries.add(1);
            if planted(Bug::EffectsBeforeCommit) {
                core.release_before_commit(&content);
            }
            let proposed = raft.propose(&content);
            entries.push(async move {
                let result = proposed.await;
                if was_refused(&result) {
                    sleep(REFUSED_PAUSE).await;
                }
                (sequences, result)
            });
        }
    }
}

/// Whether only time keeps what is queued from going.
fn waits<F>(entries: &FuturesUnordered<F>, queued: &[Queued]) -> bool {
    !queued.is_empty() && entries.len() < ENTRIES_IN_FLIGHT
}

/// Nothing was appended, and the next try may fare the same.
fn was_refused(result: &Result<u64, ProposeError>) -> bool {
    match result {
        Err(ProposeError::NotLeader { .. } | ProposeError::Full | ProposeError::Stopped) => true,
        Ok(_) | Err(ProposeError::TooLarge(_) | ProposeError::Unknown) => false,
    }
}

/// Cuts what is queued into entries.
fn batches(core: &Core, queued: impl Iterator<Item = Queued>) -> Vec<(Vec<u64>, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut batch = Batch::default();
    let mut looks = BTreeSet::new();
    for item in queued {
        match item {
            Queued::Look(queue) => {
                looks.insert(queue);
            }
            Queued::Mark => {
                batch.finish(core, &mut entries);
                match encode_mark() {
                    Ok(content) => entries.push((Vec::new(), content)),
                    Err(error) => tracing::error!(%error, "a mark was not proposed"),
                }
            }
            Queued::Mutation {
                sequence,
                bytes,
                wanted,
            } => {
                batch.make_room(core, bytes.len(), &mut entries);
                batch.push(core, sequence, &bytes, &wanted);
            }
        }
    }
    for queue in looks {
        for claim in core.claims_of(&queue) {
            if let Some((sequence, bytes)) = core.claim(claim) {
                batch.make_room(core, bytes.len(), &mut entries);
                batch.push(core, sequence, &bytes, &[]);
            }
        }
    }
    batch.finish(core, &mut entries);
    entries
}

#[derive(Debug, Default)]
struct Batch {
    sequences: Vec<u64>,
    bytes: usize,
    writer: BatchWriter,
}

impl Batch {
    /// Ends this entry when a mutation of so many bytes is for the next one.
    fn make_room(&mut self, core: &Core, bytes: usize, entries: &mut Vec<(Vec<u64>, Vec<u8>)>) {
        if self.bytes + bytes > ENTRY_BYTES || self.sequences.len() >= ENTRY_MUTATIONS {
            self.finish(core, entries);
        }
    }

    fn push(&mut self, core: &Core, sequence: u64, bytes: &[u8], wanted: &[QueueKey]) {
        let reservations: Vec<Reservation> = wanted
            .iter()
            .filter_map(|queue| core.matching.reserve(queue))
            .collect();
        if !reservations.is_empty() {
            core.telemetry.reservations.add(reservations.len() as u64);
            core.pending.reserve(
                sequence,
                reservations.iter().map(|held| held.poll).collect(),
            );
        }
        let proposal = ProposalId {
            boot: core.boot,
            sequence,
        };
        let (now, entropy) = (core.time.now(), core.entropy.draw());
        match self
            .writer
            .push(proposal, now, entropy, &reservations, bytes)
        {
            Ok(()) => {
                self.sequences.push(sequence);
                self.bytes += bytes.len();
            }
            Err(error) => {
                tracing::error!(%error, "a mutation was not proposed");
                core.settle(sequence, Err(Unavailable::Overloaded), &BTreeSet::new());
            }
        }
    }

    fn finish(&mut self, core: &Core, entries: &mut Vec<(Vec<u64>, Vec<u8>)>) {
        let batch = std::mem::take(self);
        if batch.sequences.is_empty() {
            return;
        }
        match batch.writer.done() {
            Ok(content) => entries.push((batch.sequences, content)),
            Err(error) => {
                tracing::error!(%error, "an entry was not proposed");
                for sequence in batch.sequences {
                    core.settle(sequence, Err(Unavailable::Overloaded), &BTreeSet::new());
                }
            }
        }
    }
}

/// An entry's outcome. Applied ones were settled by apply, before this.
fn settle_entry(core: &Core, sequences: Vec<u64>, result: Result<u64, ProposeError>) {
    let outcome = match result {
        Err(ProposeError::NotLeader { .. }) => Unavailable::NotLeader,
        Err(ProposeError::Full | ProposeError::TooLarge(_)) => Unavailable::Overloaded,
        Err(ProposeError::Stopped) => Unavailable::Stopping,
        Ok(_) | Err(ProposeError::Unknown) => Unavailable::Unknown,
    };
    for sequence in sequences {
        core.settle(sequence, Err(outcome.clone()), &BTreeSet::new());
    }
}
