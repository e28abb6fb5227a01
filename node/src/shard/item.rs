//! What a log entry says: mutations with their stamps, or a mark.

use serde::{Deserialize, Serialize};
use steadfast_engine::Mutation;
use steadfast_engine::Timestamp;
use steadfast_engine::id::Reservation;
use steadfast_engine::mutation::{Entropy, ProposalId, Proposed};
use steadfast_raft::MAX_PROPOSAL_BYTES;
use steadfast_storage::codec::{self, DecodeError, EncodeError};

/// An entry has at most so many mutations.
pub(super) const ENTRY_MUTATIONS: usize = 64;
/// And about so many bytes; a single larger mutation has an entry of its own.
pub(super) const ENTRY_BYTES: usize = 1 << 20;
/// The longest encoded mutation: an entry must hold it with its stamp and reservations.
const MUTATION_BYTES: u64 = 8 << 20;
const ITEM_BYTES: u64 = MAX_PROPOSAL_BYTES as u64 - 1;

/// An entry's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum LogItem {
    /// Mutations, applied one after another.
    Batch(Vec<Proposed>),
    /// All replicas freeze their overlay here.
    Mark,
}

/// Encodes a mutation as it will lie in an entry. Done by the caller, so that the one proposer
/// only puts pieces together.
pub(super) fn encode_mutation(mutation: &Mutation) -> Result<Vec<u8>, EncodeError> {
    codec::encode(mutation, MUTATION_BYTES)
}

/// Puts an entry together of stamps and encoded mutations.
#[derive(Debug, Default)]
pub(super) struct BatchWriter {
    count: u64,
    items: Vec<u8>,
}

impl BatchWriter {
    pub(super) fn push(
        &mut self,
        proposal: ProposalId,
        now: Timestamp,
        entropy: Entropy,
        reservations: &[Reservation],
        mutation: &[u8],
    ) -> Result<(), EncodeError> {
        // The fields of `Proposed` in their order; each encoding begins with a version byte.
        let head = codec::encode(&(proposal, now, entropy, reservations), ITEM_BYTES)?;
        self.items.extend_from_slice(&head[1..]);
        self.items.extend_from_slice(&mutation[1..]);
        self.count += 1;
        Ok(())
    }

    /// The entry's content.
    pub(super) fn done(self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = codec::encode(&LogItem::Batch(Vec::new()), ITEM_BYTES)?;
        let count_at = bytes.len() - 8;
        bytes[count_at..].copy_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.items);
        Ok(bytes)
    }
}

/// The content of a mark.
pub(super) fn encode_mark() -> Result<Vec<u8>, EncodeError> {
    codec::encode(&LogItem::Mark, ITEM_BYTES)
}

/// Decodes an entry's content.
pub(crate) fn decode(bytes: &[u8]) -> Result<LogItem, DecodeError> {
    codec::decode(bytes, ITEM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_engine::id::{NamespaceNumber, PollId, QueueKey, TaskKind, WorkerVersion};

    #[test]
    fn an_entry_put_together_is_the_encoded_batch() {
        let queue = QueueKey {
            namespace: NamespaceNumber(1),
            kind: TaskKind::Activity,
            name: "q".into(),
        };
        let reservation = Reservation {
            queue: queue.clone(),
            poll: PollId {
                boot: 1,
                sequence: 2,
            },
            identity: "me".into(),
            worker: WorkerVersion::default(),
        };
        let proposed = |sequence, reservations: Vec<_>, mutation| Proposed {
            proposal: ProposalId { boot: 9, sequence },
            now: Timestamp(77),
            entropy: [3; 16],
            reservations,
            mutation: Box::new(mutation),
        };
        let batch = vec![
            proposed(1, vec![reservation], Mutation::AbandonStickyQueue(queue)),
            proposed(2, vec![], Mutation::RaiseEngineVersion(2)),
        ];
        let mut writer = BatchWriter::default();
        for one in &batch {
            let mutation = encode_mutation(&one.mutation).unwrap();
            writer
                .push(
                    one.proposal,
                    one.now,
                    one.entropy,
                    &one.reservations,
                    &mutation,
                )
                .unwrap();
        }
        assert_eq!(
            decode(&writer.done().unwrap()).unwrap(),
            LogItem::Batch(batch)
        );
        assert_eq!(decode(&encode_mark().unwrap()).unwrap(), LogItem::Mark);
        assert!(decode(b"").is_err());
    }
}
