//! A world of plain records to drive the engine in: no storage, no clock, no network.

use crate::memory::Memory;
use bytes::Bytes;
use std::sync::Arc;
use steadfast_engine::check::check_state;
use steadfast_engine::effect::Effect;
use steadfast_engine::id::{Reservation, RunRef};
use steadfast_engine::mutation::{Mutation, ProposalId, Proposed};
use steadfast_engine::tables::{Key, Record, Run, Tables, keys};
use steadfast_engine::{Refusal, Reply, Timestamp, apply};
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};

/// Records and cluster time.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) now: Timestamp,
    draws: u64,
}

impl World {
    /// A cluster with the namespace `default` (number 2: the server's own is 1).
    pub(crate) fn new() -> Self {
        let now = Timestamp(1_700_000_000_000_000_000);
        let mut world = Self {
            memory: Memory::default(),
            now,
            draws: 0,
        };
        let bootstrap = Mutation::Bootstrap {
            cluster_id: "c".into(),
            namespaces: vec!["default".into()],
            config: Vec::new(),
            search_attributes: Vec::new(),
        };
        world.apply(bootstrap, Vec::new()).0.unwrap();
        world
    }

    /// Applies a mutation a millisecond later. Twice, since each replica does.
    pub(crate) fn apply(
        &mut self,
        mutation: Mutation,
        reservations: Vec<Reservation>,
    ) -> (Result<Reply, Refusal>, Vec<Effect>) {
        self.now = Timestamp(self.now.0 + 1_000_000);
        self.draws += 1;
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&self.draws.to_be_bytes());
        let delivers = matches!(mutation, Mutation::DeliverMessage(_));
        let proposed = Proposed {
            proposal: ProposalId {
                boot: 1,
                sequence: self.draws,
            },
            now: self.now,
            entropy,
            reservations,
            mutation,
        };
        let applied = apply(&self.memory, &proposed).unwrap();
        let again = apply(&self.memory, &proposed).unwrap();
        assert_eq!(
            applied.changes, again.changes,
            "each replica changes the same"
        );
        assert_eq!(applied.effects, again.effects);
        assert!(
            !delivers || applied.changes.len() <= 1_000,
            "a delivery is bounded (design D2)"
        );
        self.memory.merge(applied.changes);
        let violations = check_state(&self.memory).unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
        (applied.reply, applied.effects)
    }

    /// The runs, by key.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let run = |record: &Arc<Record>| match &**record {
            Record::Run(run) => Some((**run).clone()),
            _ => None,
        };
        self.memory.0.values().filter_map(run).collect()
    }

    /// The stored history of a run.
    pub(crate) fn history(&self, run: &RunRef) -> (Vec<HistoryEvent>, i64) {
        let prefix = keys::history_prefix(run);
        let end = keys::prefix_end(&prefix);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for (_, record) in self.memory.scan(&prefix, &end, usize::MAX, false).unwrap() {
            let Record::HistoryBatch(batch) = &*record else {
                panic!("{record:?}")
            };
            let history: History = prost::Message::decode(Bytes::clone(&batch.events)).unwrap();
            assert_eq!(history.events.len(), usize::try_from(batch.count).unwrap());
            bytes += i64::try_from(batch.events.len()).unwrap();
            events.extend(history.events);
        }
        (events, bytes)
    }

    /// The earliest due key.
    pub(crate) fn next_due(&self) -> Option<(Key, Timestamp)> {
        let prefix = keys::due_prefix();
        let end = keys::prefix_end(&prefix);
        let (key, _) = self.memory.scan(&prefix, &end, 1, false).unwrap().pop()?;
        let at = keys::due_time(&key).unwrap();
        Some((key, at))
    }
}
