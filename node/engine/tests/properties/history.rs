//! A cluster of two replicas with a random history.

use crate::memory::Memory;
use std::collections::BTreeMap;
use std::sync::Arc;
use steadfast_engine::check::check_state;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{
    NamespaceNumber, PollId, QueueKey, Reservation, RunRef, TaskKind, WorkerVersion,
};
use steadfast_engine::mutation::{Mutation, ProposalId, Proposed, TaskToken};
use steadfast_engine::tables::{Key, MessageBody, Record, keys, run_prefix};
use steadfast_engine::time::Span;
use steadfast_engine::{Reply, Timestamp, apply, resume};
use steadfast_proto::temporal::enums::v1::IndexedValueType;
/// One random history of a cluster.
pub(crate) struct History {
    state: u64,
    pub(crate) step: u64,
    pub(crate) now: Timestamp,
    /// Applies what is proposed.
    pub(crate) leader: Memory,
    /// Applies what came over the wire.
    follower: Memory,
    workflow_tasks: Vec<TaskToken>,
    pub(crate) activity_tasks: Vec<TaskToken>,
    pub(crate) accepted: BTreeMap<String, u64>,
    pub(crate) refused: u64,
}

impl History {
    /// A cluster after its bootstrap.
    pub(crate) fn new(seed: u64) -> Self {
        let mut history = Self {
            state: seed,
            step: 0,
            now: Timestamp(1_700_000_000_000_000_000),
            leader: Memory::default(),
            follower: Memory::default(),
            workflow_tasks: Vec::new(),
            activity_tasks: Vec::new(),
            accepted: BTreeMap::new(),
            refused: 0,
        };
        history.propose(Mutation::Bootstrap {
            cluster_id: "cluster".into(),
            namespaces: vec!["default".into()],
            config: vec![(
                "limit.historyCount.suggestContinueAsNew".into(),
                "20".into(),
            )],
            search_attributes: vec![("Number".into(), IndexedValueType::Int.into())],
        });
        history
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

    /// Applies a mutation on both replicas.
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
        let bytes = bincode::serialize(&proposed).unwrap();
        let received: Proposed = bincode::deserialize(&bytes).unwrap();
        assert_eq!(proposed, received, "an entry survives its encoding");

        let one = apply(&self.leader, &proposed).unwrap();
        let two = apply(&self.follower, &received).unwrap();
        assert_eq!(one.reply, two.reply);
        assert_eq!(one.effects, two.effects);
        if one.reply.is_err() && one.changes.keys().any(|key| *key != keys::meta_key()) {
            // Only a failed workflow task and the like change the state and refuse the call.
            assert!(
                !one.effects.is_empty(),
                "a refusal changes nothing: {proposed:?}"
            );
        }
        self.leader.merge(one.changes);
        self.follower.merge(two.changes);
        let name = format!("{:?}", received.mutation);
        let name = name
            .split(['(', ' ', '{'])
            .next()
            .unwrap_or_default()
            .to_owned();
        match one.reply {
            Ok(reply) => {
                *self.accepted.entry(name).or_default() += 1;
                self.keep_reply(reply);
            }
            Err(_) => self.refused += 1,
        }
        for effect in one.effects {
            if let Effect::TaskAssigned { task, .. } = effect {
                self.keep(*task);
            }
        }
    }

    fn keep_reply(&mut self, reply: Reply) {
        if let Reply::WorkflowTaskCompleted {
            new_task,
            eager_activities,
            ..
        } = reply
        {
            let new_task = new_task.into_iter().map(|task| *task);
            new_task
                .chain(eager_activities)
                .for_each(|task| self.keep(task));
        }
    }

    fn keep(&mut self, task: AssignedTask) {
        match task {
            AssignedTask::Workflow(task) => self.workflow_tasks.push(task.token),
            AssignedTask::Activity(task) => self.activity_tasks.push(task.token),
        }
    }

    fn poller(&mut self) -> Reservation {
        let kind = if self.chance(50) {
            TaskKind::Workflow
        } else {
            TaskKind::Activity
        };
        let name = if self.chance(80) { "q" } else { "other" };
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
        if let Some(queue) = resume::next_queue(&self.leader, None).unwrap() {
            poller.queue = queue;
        }
        poller
    }

    pub(crate) fn workflow_id(&mut self) -> String {
        format!("workflow-{}", self.draw(12))
    }

    /// A task that was claimed: mostly the last one, which is taken, sometimes an old one.
    pub(crate) fn take(&mut self, kind: TaskKind) -> Option<TaskToken> {
        let stays = self.chance(5);
        let position = self.draw(3);
        let tasks = match kind {
            TaskKind::Workflow => &mut self.workflow_tasks,
            TaskKind::Activity => &mut self.activity_tasks,
        };
        let back = usize::try_from(position)
            .unwrap()
            .min(tasks.len().checked_sub(1)?);
        let index = tasks.len() - 1 - back;
        Some(if stays {
            tasks[index].clone()
        } else {
            tasks.remove(index)
        })
    }

    /// The follower reads its state back from bytes, and both are compared.
    pub(crate) fn restart_and_compare(&mut self, seed: u64) {
        for record in self.follower.0.values_mut() {
            let bytes = bincode::serialize(&**record).unwrap();
            *record = Arc::new(bincode::deserialize(&bytes).unwrap());
        }
        let step = self.step;
        assert!(
            self.leader.0 == self.follower.0,
            "seed {seed}, step {step}: the replicas differ"
        );
        let violations = check_state(&self.leader).unwrap();
        assert!(
            violations.is_empty(),
            "seed {seed}, step {step}: {violations:#?}"
        );
    }

    /// Takes each record away in turn: whether the checks see each loss, by family.
    pub(crate) fn loss_is_seen(&mut self) -> BTreeMap<&'static str, bool> {
        let mut seen: BTreeMap<&'static str, bool> = BTreeMap::new();
        let keys: Vec<_> = self.leader.0.keys().cloned().collect();
        for key in keys {
            let Some(record) = self.leader.0.remove(&key) else {
                continue;
            };
            if let Some(family) = self.family_of_open_run(&key, &record) {
                let found = !check_state(&self.leader).unwrap().is_empty();
                *seen.entry(family).or_insert(true) &= found;
            }
            self.leader.0.insert(key, record);
        }
        seen
    }

    /// What closed runs leave in queues and due times may go at any time.
    fn family_of_open_run(&self, key: &Key, record: &Record) -> Option<&'static str> {
        let is_open = |run: &RunRef| {
            let key = keys::run_key(run);
            let found = self.leader.0.get(&key).map(|record| &**record);
            matches!(found, Some(Record::Run(run)) if run.close.is_none())
        };
        let of_open = self.leader.0.values().any(|record| match &**record {
            Record::Run(run) => run.close.is_none() && key.starts_with(&run_prefix(&run.run)),
            _ => false,
        });
        match record {
            Record::Child(_) => of_open.then_some("Child"),
            Record::External(_) => of_open.then_some("External"),
            Record::Message(message) => match message.body {
                MessageBody::StartChild(_)
                | MessageBody::SignalExternal(_)
                | MessageBody::RequestCancelExternal(_) => {
                    is_open(&message.source).then_some("Message")
                }
                _ => None,
            },
            Record::Activity(_) => of_open.then_some("Activity"),
            Record::ActivityById(_) => of_open.then_some("ActivityById"),
            Record::Due(due) => is_open(&due.run).then_some("Due"),
            Record::HistoryBatch(_) => Some("HistoryBatch"),
            Record::QueueTask(task) => is_open(&task.run).then_some("QueueTask"),
            Record::Run(_) => Some("Run"),
            Record::Visibility(_) => Some("Visibility"),
            _ => None,
        }
    }
}
