//! A world of plain records to drive the engine in: no storage, no clock, no network.

use crate::cost::{Cost, Counted};
use crate::memory::Memory;
use std::collections::BTreeSet;
use std::sync::Arc;
use steadfast_engine::check::check_state;
use steadfast_engine::effect::Effect;
use steadfast_engine::id::{Reservation, RunRef};
use steadfast_engine::mutation::{Mutation, ProposalId, Proposed};
use steadfast_engine::read::history;
use steadfast_engine::tables::{Key, Record, Run, Tables, keys};
use steadfast_engine::transition::Transition;
use steadfast_engine::{Refusal, Reply, Timestamp, apply};
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};

/// Records and cluster time.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) now: Timestamp,
    draws: u64,
    /// Rows of the transition tables that were taken so far.
    pub(crate) taken: BTreeSet<Transition>,
    /// What the last mutation read and wrote; only of a world without checks.
    pub(crate) cost: Cost,
    checks: bool,
}

impl World {
    /// A cluster with the namespace `default` (number 2: the server's own is 1).
    pub(crate) fn new() -> Self {
        let now = Timestamp(1_700_000_000_000_000_000);
        let mut world = Self {
            memory: Memory::default(),
            now,
            draws: 0,
            taken: BTreeSet::new(),
            cost: Cost::default(),
            checks: true,
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

    /// The same, for long histories: mutations are applied once and counted, and nothing is checked
    /// but by [`World::check`].
    pub(crate) fn without_checks() -> Self {
        let mut world = Self::new();
        world.checks = false;
        world
    }

    /// Checks the whole state.
    pub(crate) fn check(&self) {
        let violations = check_state(&self.memory).unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
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
            mutation: Box::new(mutation),
        };
        if !self.checks {
            return self.apply_counted(&proposed);
        }
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
        self.taken.extend(applied.transitions.iter().copied());
        self.memory.merge(applied.changes);
        self.check();
        (applied.reply, applied.effects)
    }

    fn apply_counted(&mut self, proposed: &Proposed) -> (Result<Reply, Refusal>, Vec<Effect>) {
        let counted = Counted::new(&self.memory);
        let applied = apply(&counted, proposed).unwrap();
        self.cost = counted.cost(&applied.changes);
        self.memory.merge(applied.changes);
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

    /// The history of a run, parts that it shares with others included, and its bytes.
    pub(crate) fn history(&self, run: &RunRef) -> (Vec<HistoryEvent>, i64) {
        let run = steadfast_engine::read::run(&self.memory, run).unwrap();
        let run = run.unwrap();
        let (mut events, mut bytes, mut next) = (Vec::new(), 0, Some(1));
        while let Some(from) = next {
            let until = run.next_event_id - 1;
            let page = history::forward(&self.memory, &run, from, until, 256).unwrap();
            bytes += i64::try_from(page.events.len()).unwrap();
            let decoded: History = prost::Message::decode(page.events).unwrap();
            events.extend(decoded.events);
            next = page.next;
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
