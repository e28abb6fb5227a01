//! What a simulation leaves for the checkers.

use crate::log_story::{Logs, Shortened};
use crate::operation::{Answer, Asked, Journal, Operation, Outcome};
use crate::simulation::Met;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use steadfast::shard::View;
use steadfast_engine::Tables;
use steadfast_engine::read::history::{PAGE_BATCHES_MAX, forward};
use steadfast_engine::read::{namespace, resolve};
use steadfast_engine::tables::{Key, Record};
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The checker's name.
    pub checker: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    /// One.
    #[must_use]
    pub fn new(checker: &'static str, what: impl Into<String>) -> Violation {
        Violation {
            checker,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.checker, self.what)
    }
}

/// One run at the end.
#[derive(Debug, Clone, Default)]
pub struct FinalRun {
    /// Its workflow.
    pub workflow_id: String,
    /// Its id.
    pub run_id: String,
    /// As the list shows it (`WorkflowExecutionStatus`).
    pub status: i32,
    /// Its whole history.
    pub events: Vec<HistoryEvent>,
}

/// The whole state of one replica.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Which node's.
    pub node: u64,
    /// Index of the last entry in it.
    pub applied: u64,
    /// All records, in the order of their keys.
    pub records: Vec<(Key, Arc<Record>)>,
}

/// How far a node was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observation {
    /// Virtual time.
    pub at: Duration,
    /// Which node.
    pub node: u64,
    /// How often it was started before.
    pub life: u32,
    /// Its term.
    pub term: u64,
    /// Index of the last entry in its log.
    pub last: u64,
    /// Up to here it knows of commitment.
    pub committed: u64,
    /// Up to here it has applied.
    pub applied: u64,
    /// Up to here its snapshot goes.
    pub snapshot: u64,
    /// Up to here its log is purged.
    pub purged: u64,
}

impl Observation {
    /// Whether nothing has changed but time.
    #[must_use]
    pub fn is_as_far(&self, now: &Observation) -> bool {
        Observation {
            at: now.at,
            ..*self
        } == *now
    }
}

/// Everything there is to check.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What clients and workers noted.
    pub journal: Journal,
    /// All runs, as the first replica has them.
    pub runs: Vec<FinalRun>,
    /// All replicas, at rest.
    pub replicas: Vec<Replica>,
    /// When a new leader was first seen.
    pub led_since: Vec<Duration>,
    /// The rate of the fastest steady clock of a node, by which it measures how long things take.
    /// (A wall clock may be as wrong as it likes: no timer is early for that.)
    pub fastest_clock: f64,
    /// Some node's steady clock ran slower than true time.
    pub a_clock_ran_slow: bool,
    /// How often each fault happened, by its name.
    pub faults: BTreeMap<String, u32>,
    /// Rare situations.
    pub situations: Met,
    /// How far nodes were, whenever that changed, in the order of time.
    pub observations: Vec<Observation>,
    /// The committed entries of all nodes' logs, as their files have them.
    pub logs: Logs,
    /// Logs that a start made shorter than they had been.
    pub shortened: Vec<Shortened>,
    /// What the engine itself finds wrong in a replica's state, by node.
    pub unsound: Vec<(u64, String)>,
    /// Where each run is in `runs`; made when first asked for.
    pub index: OnceLock<BTreeMap<String, usize>>,
    /// Work did not end, and this is what there was then.
    pub unended: bool,
    /// How long clients called, in virtual time.
    pub lasted: Duration,
}

/// Workers and nodes look at moments that lie apart by less than this.
pub(crate) const APART: Duration = Duration::from_millis(50);
/// Cluster time stands still while nobody leads and catches up later, by a tenth or by a step: for
/// so long after a change of leader it is not compared with true time.
const CATCHES_UP: Duration = Duration::from_secs(20);

/// More than a simulation makes.
const RECORDS_MAX: usize = 10_000_000;

impl Replica {
    /// Reads everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(node: u64, view: &View) -> Result<Replica, Violation> {
        let records = view
            .scan(&[], &[0xff; 64], RECORDS_MAX, false)
            .map_err(|fault| Violation::new("state_is_readable", fault.to_string()))?;
        Ok(Replica {
            node,
            applied: view.applied(),
            records,
        })
    }
}

impl FinalRun {
    /// Reads a run's history.
    ///
    /// # Errors
    /// When there is no such run, or its history cannot be read.
    pub fn read(
        view: &View,
        workflow_id: &str,
        run_id: &str,
        status: i32,
    ) -> Result<FinalRun, Violation> {
        let found = |what: &dyn fmt::Display| {
            Violation::new(
                "listed_runs_are_readable",
                format!("{workflow_id} {run_id}: {what}"),
            )
        };
        let number = namespace::by_name(view, crate::workload::NAMESPACE)
            .map_err(|fault| found(&fault))?
            .ok_or_else(|| found(&"no namespace"))?
            .number;
        let run = resolve(view, number, workflow_id, run_id)
            .map_err(|fault| found(&fault))?
            .map_err(|refusal| found(&refusal))?;
        let mut events = Vec::new();
        let mut from = Some(1);
        while let Some(first) = from {
            let page = forward(view, &run, first, run.next_event_id - 1, PAGE_BATCHES_MAX)
                .map_err(|fault| found(&fault))?;
            let history = History::decode(page.events).map_err(|error| found(&error))?;
            events.extend(history.events);
            from = page.next;
        }
        Ok(FinalRun {
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
            status,
            events,
        })
    }
}

impl Evidence {
    /// What was acknowledged, with its answer.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Operation, &Asked, &Answer)> {
        self.journal
            .operations
            .iter()
            .filter_map(|operation| match &operation.outcome {
                Outcome::Acknowledged(answer) => Some((operation, &operation.asked, answer)),
                Outcome::Refused(_) | Outcome::Unknown(_) => None,
            })
    }

    /// Whether cluster time went on as true time did between two moments, but for the tenth of
    /// steering (design D6). A leader whose clocks run too slow falls behind the others' by more than
    /// steering can mend, and steps forward by a second now and then.
    #[must_use]
    pub fn is_comparable(&self, from: Duration, to: Duration) -> bool {
        let from = from.saturating_sub(CATCHES_UP);
        !self.a_clock_ran_slow && !self.led_since.iter().any(|at| (from..to).contains(at))
    }

    /// The run of an id.
    #[must_use]
    pub fn run(&self, run_id: &str) -> Option<&FinalRun> {
        let index = self.index.get_or_init(|| {
            let runs = self.runs.iter().enumerate();
            runs.map(|(at, run)| (run.run_id.clone(), at)).collect()
        });
        self.runs.get(*index.get(run_id)?)
    }

    /// All runs of a workflow.
    pub fn runs_of(&self, workflow_id: &str) -> impl Iterator<Item = &FinalRun> {
        self.runs
            .iter()
            .filter(move |run| run.workflow_id == workflow_id)
    }
}
