//! One cluster from its bootstrap: every mutation is applied, checked, counted, and kept as bytes.

use crate::counts::Counts;
use crate::memory::Memory;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use steadfast_engine::check::{check_run, check_state};
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{
    NamespaceNumber, PollId, QueueKey, Reservation, RunRef, TaskKind, WorkerVersion,
};
use steadfast_engine::mutation::{Mutation, ProposalId, Proposed, TaskToken};
use steadfast_engine::tables::{Changes, Record, keys};
use steadfast_engine::time::Span;
use steadfast_engine::{Applied, Reply, Timestamp, apply, resume};
use steadfast_proto::temporal::enums::v1::{EventType, IndexedValueType};
use steadfast_proto::temporal::history::v1::History;

/// Mutations between two checks of the whole state with all histories; the runs that a mutation
/// touched are checked after each.
const WHOLE_STATE_EVERY: u64 = 500;
/// Mutations between two digests.
const DIGEST_EVERY: u64 = 250;

/// A random walk.
pub(crate) struct Walk {
    state: u64,
    pub(crate) step: u64,
    pub(crate) now: Timestamp,
    pub(crate) memory: Memory,
    pub(crate) workflow_tasks: Vec<TaskToken>,
    pub(crate) activity_tasks: Vec<TaskToken>,
    /// Runs that a mutation touched lately.
    pub(crate) runs: Vec<RunRef>,
    pub(crate) counts: Counts,
    log: Vec<Vec<u8>>,
    digests: Vec<u64>,
}

impl Walk {
    /// A cluster after its bootstrap.
    pub(crate) fn new(seed: u64) -> Self {
        let mut walk = Self {
            state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d),
            step: 0,
            now: Timestamp(1_700_000_000_000_000_000),
            memory: Memory::default(),
            workflow_tasks: Vec::new(),
            activity_tasks: Vec::new(),
            runs: Vec::new(),
            counts: Counts::default(),
            log: Vec::new(),
            digests: Vec::new(),
        };
        walk.propose(Mutation::Bootstrap {
            cluster_id: "cluster".into(),
            namespaces: vec!["default".into(), "gone".into()],
            config: vec![(
                "limit.historyCount.suggestContinueAsNew".into(),
                "20".into(),
            )],
            search_attributes: vec![("Number".into(), IndexedValueType::Int.into())],
        });
        walk
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    pub(crate) fn number(&mut self, below: i64) -> i64 {
        i64::try_from(self.draw(below.unsigned_abs())).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    /// Walks on for so many mutations.
    pub(crate) fn walk(&mut self, mutations: u64) {
        while self.step < mutations {
            let mutation = self.mutation();
            self.propose(mutation);
        }
        self.check_all();
    }

    /// Applies a mutation.
    pub(crate) fn propose(&mut self, mutation: Mutation) {
        self.step += 1;
        self.now = self.now.after(Span::millis(self.number(40)));
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&self.draw(u64::MAX).to_be_bytes());
        entropy[8..].copy_from_slice(&self.draw(u64::MAX).to_be_bytes());
        let reservations = (0..self.draw(4)).map(|_| self.poller()).collect();
        let proposal = ProposalId {
            boot: 1,
            sequence: self.step,
        };
        let proposed = Proposed {
            proposal,
            now: self.now,
            entropy,
            reservations,
            mutation: Box::new(mutation),
        };
        self.log.push(bincode::serialize(&proposed).unwrap());
        let applied = apply(&self.memory, &proposed).unwrap();
        self.take(applied, &proposed.mutation);
        if self.step.is_multiple_of(WHOLE_STATE_EVERY) {
            self.check_all();
        }
        if self.step.is_multiple_of(DIGEST_EVERY) {
            self.digests.push(digest(&self.memory));
        }
    }

    fn take(&mut self, applied: Applied, mutation: &Mutation) {
        let Applied {
            reply,
            changes,
            effects,
            transitions: _,
        } = applied;
        if self.count_events(&changes) && reply.is_ok() {
            self.counts.commands(mutation);
        }
        let touched: Vec<_> = changes.keys().cloned().collect();
        self.memory.merge(changes);
        for key in touched {
            let record = self.memory.0.get(&key).cloned();
            if let Some(Record::Run(run)) = record.as_deref() {
                let violations = check_run(&self.memory, run).unwrap();
                assert!(violations.is_empty(), "{mutation:?}: {violations:#?}");
                self.runs.push(run.run.clone());
                if self.runs.len() > 20 {
                    self.runs.remove(0);
                }
            }
        }
        match reply {
            Ok(reply) => {
                self.counts.accept(mutation);
                self.keep_reply(reply);
            }
            Err(refusal) => self.counts.refuse(&refusal),
        }
        for effect in effects {
            if let Effect::TaskAssigned { task, .. } = effect {
                self.keep(*task);
            }
        }
    }

    /// Whether a workflow task was completed.
    fn count_events(&mut self, changes: &Changes) -> bool {
        let mut completed = false;
        for record in changes.values().flatten() {
            if let Record::HistoryBatch(batch) = &**record {
                let history: History = prost::Message::decode(Bytes::clone(&batch.events)).unwrap();
                for event in &history.events {
                    self.counts.event(event);
                    completed |= event.event_type() == EventType::WorkflowTaskCompleted;
                }
            }
        }
        completed
    }

    fn check_all(&self) {
        let violations = check_state(&self.memory).unwrap();
        assert!(violations.is_empty(), "step {}: {violations:#?}", self.step);
    }

    fn keep_reply(&mut self, reply: Reply) {
        match reply {
            Reply::WorkflowTaskCompleted {
                new_task,
                eager_activities,
                ..
            } => {
                let new_task = new_task.into_iter().map(|task| *task);
                new_task
                    .chain(eager_activities)
                    .for_each(|task| self.keep(task));
            }
            Reply::Started {
                eager_task: Some(task),
                ..
            } => self.keep(*task),
            _ => {}
        }
    }

    fn keep(&mut self, task: AssignedTask) {
        let (tasks, token) = match task {
            AssignedTask::Workflow(task) => (&mut self.workflow_tasks, task.token),
            AssignedTask::Activity(task) => (&mut self.activity_tasks, task.token),
        };
        tasks.push(token);
        if tasks.len() > 50 {
            tasks.remove(0);
        }
    }

    pub(crate) fn poller(&mut self) -> Reservation {
        let kind = if self.chance(50) {
            TaskKind::Workflow
        } else {
            TaskKind::Activity
        };
        let name = if self.chance(80) { "q" } else { "sticky" };
        Reservation {
            queue: QueueKey {
                namespace: NamespaceNumber(2),
                kind,
                name: name.into(),
            },
            poll: PollId {
                boot: 1,
                sequence: self.draw(1_000),
            },
            identity: "worker".into(),
            worker: WorkerVersion::default(),
        }
    }

    /// A poller of a queue that has tasks, when there is one.
    pub(crate) fn useful_poller(&mut self) -> Reservation {
        let mut poller = self.poller();
        let first = resume::next_queue(&self.memory, None).unwrap();
        let second = resume::next_queue(&self.memory, first.as_ref()).unwrap();
        let queue = if self.chance(50) {
            first.clone()
        } else {
            second
        };
        if let Some(queue) = queue.or(first) {
            poller.queue = queue;
        }
        poller
    }

    /// Replays the log from bytes on an empty cluster that reads its whole state back from bytes
    /// every so many mutations, as after a restart from a mark: the digests are the same.
    pub(crate) fn replay(&self, mark_every: u64) {
        let mut memory = Memory::default();
        let mut digests = Vec::new();
        for (step, entry) in (1_u64..).zip(&self.log) {
            let proposed: Proposed = bincode::deserialize(entry).unwrap();
            let applied = apply(&memory, &proposed).unwrap();
            memory.merge(applied.changes);
            if step.is_multiple_of(mark_every) {
                for record in memory.0.values_mut() {
                    let bytes = bincode::serialize(&**record).unwrap();
                    *record = Arc::new(bincode::deserialize(&bytes).unwrap());
                }
            }
            if step.is_multiple_of(DIGEST_EVERY) {
                digests.push(digest(&memory));
            }
        }
        assert_eq!(self.digests, digests, "a mark every {mark_every}");
    }

    /// Key of a run's record, when the run still stands.
    pub(crate) fn stands(&self, run: &RunRef) -> bool {
        self.memory.0.contains_key(&keys::run_key(run))
    }
}

/// One number for the whole state.
fn digest(memory: &Memory) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, record) in &memory.0 {
        key.hash(&mut hasher);
        bincode::serialize(&**record).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}
