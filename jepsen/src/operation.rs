//! What clients and workers did, and what they were told: the input of the checkers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Why a call has no answer that was done: its answer was lost on the way.
pub const ANSWER_LOST: &str = "it was done and the answer is lost";
/// And because there was none yet, or nobody any more to take it: the caller may have died.
pub const UNDER_WAY: &str = "it is under way, or its caller died in it";

/// One call: when it was made, when its answer was known, and what that was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Operation {
    /// Virtual time at the call.
    pub invoked: Duration,
    /// Virtual time at the answer, or when the caller gave up; of a call under way that at the call.
    pub returned: Duration,
    /// What was asked.
    pub asked: Asked,
    /// What was answered.
    pub outcome: Outcome,
}

/// What was asked. An empty run id stands for the current run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Asked {
    /// StartWorkflowExecution, or SignalWithStartWorkflowExecution with its signal.
    Start {
        /// Which workflow.
        workflow_id: String,
        /// Retries have the same.
        request_id: String,
        /// The signal's name, unique in a simulation.
        signal: Option<String>,
    },
    /// SignalWorkflowExecution.
    Signal {
        /// Which workflow.
        workflow_id: String,
        /// The signal's name, unique in a simulation; also its request id.
        signal: String,
    },
    /// RequestCancelWorkflowExecution.
    Cancel {
        /// Which workflow.
        workflow_id: String,
    },
    /// TerminateWorkflowExecution.
    Terminate {
        /// Which workflow.
        workflow_id: String,
        /// Which run.
        run_id: String,
    },
    /// ResetWorkflowExecution to its first workflow task.
    Reset {
        /// Which workflow.
        workflow_id: String,
        /// Which run.
        run_id: String,
        /// Retries have the same.
        request_id: String,
    },
    /// UpdateWorkflowExecution, waiting for its completion.
    Update {
        /// Which workflow.
        workflow_id: String,
        /// The update's id, unique in a simulation.
        update_id: String,
    },
    /// QueryWorkflow: which signals the workflow has seen.
    Query {
        /// Which workflow.
        workflow_id: String,
    },
    /// DescribeWorkflowExecution.
    Describe {
        /// Which workflow.
        workflow_id: String,
    },
    /// GetWorkflowExecutionHistory, one page.
    History {
        /// Which workflow.
        workflow_id: String,
        /// Which run.
        run_id: String,
    },
    /// ListWorkflowExecutions, all pages.
    List,
    /// RespondActivityTaskCompleted.
    CompleteActivity {
        /// Which run.
        run_id: String,
        /// Which activity, unique in a run.
        activity_id: String,
        /// Which attempt.
        attempt: i32,
    },
    /// RespondActivityTaskFailed.
    FailActivity {
        /// Which run.
        run_id: String,
        /// Which activity.
        activity_id: String,
        /// Which attempt.
        attempt: i32,
    },
    /// RecordActivityTaskHeartbeat.
    HeartbeatActivity {
        /// Which run.
        run_id: String,
        /// Which activity.
        activity_id: String,
        /// Which attempt.
        attempt: i32,
    },
    /// RespondWorkflowTaskCompleted.
    CompleteWorkflowTask {
        /// Which run.
        run_id: String,
        /// Which task.
        started_event_id: i64,
        /// Hash of the task's token.
        token: u64,
        /// Whether it says something that stays in the history.
        decides: bool,
    },
}

impl Asked {
    /// The name of a signal that was sent on its own.
    #[must_use]
    pub fn signal(&self) -> Option<&str> {
        let Asked::Signal { signal, .. } = self else {
            return None;
        };
        Some(signal)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Outcome {
    /// It was done.
    Acknowledged(Answer),
    /// It was not done: code and text.
    Refused(String),
    /// It may have been done, or may be done later.
    Unknown(String),
}

/// What an acknowledgement says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Answer {
    /// Nothing more.
    Done,
    /// The run that was started, reset, or found.
    Run(String),
    /// An update got so far.
    Updated {
        /// The run that has the update.
        run_id: String,
        /// It was accepted.
        accepted: bool,
        /// It has an outcome.
        completed: bool,
    },
    /// The signals that a workflow has seen.
    Signals {
        /// The run that was asked.
        run_id: String,
        /// Their names.
        signals: BTreeSet<String>,
    },
    /// A run's status (`WorkflowExecutionStatus`).
    Status {
        /// The run that was described.
        run_id: String,
        /// Its status.
        status: i32,
    },
    /// Status by run id.
    Rows(BTreeMap<String, i32>),
    /// The beginning of a run's history.
    Events {
        /// The run.
        run_id: String,
        /// How many events were read.
        events: usize,
        /// Hash of their bytes.
        history: u64,
    },
}

/// A task that a worker got.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Delivery {
    /// Virtual time at which the worker asked for a task.
    pub polled: Duration,
    /// Virtual time at which the worker had it.
    pub at: Duration,
    /// The run.
    pub run_id: String,
    /// What kind of task.
    pub task: DeliveredTask,
    /// Counts from 1.
    pub attempt: i32,
}

/// A task as its worker sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum DeliveredTask {
    /// An activity task.
    Activity {
        /// The activity's id.
        activity_id: String,
    },
    /// A workflow task with the history before its own two events.
    Workflow {
        /// Hash of the task's token: another hand-out has another one. (Event ids are no name: those
        /// of a speculative task that left no trace are used again.)
        token: u64,
        /// How many events the history had.
        events: usize,
        /// Hash of these events' bytes.
        history: u64,
    },
}

/// A timer as its worker sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SeenTimer {
    /// When a worker first asked for it.
    pub asked: Duration,
    /// How long it should take.
    pub takes: Duration,
    /// When a worker first saw that it had fired.
    pub fired: Option<Duration>,
}

/// Everything that clients and workers noted.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// In the order of the calls.
    pub operations: Vec<Operation>,
    /// In the order of their arrival.
    pub deliveries: Vec<Delivery>,
    /// By run id and timer id.
    pub timers: BTreeMap<(String, String), SeenTimer>,
}

impl Journal {
    /// Notes a call as it is made, and gives its place. From now on it may have been done: also
    /// when its caller dies in it and never says what came of it.
    pub fn asks(&mut self, invoked: Duration, asked: Asked) -> usize {
        self.operations.push(Operation {
            invoked,
            returned: invoked,
            asked,
            outcome: Outcome::Unknown(UNDER_WAY.into()),
        });
        self.operations.len() - 1
    }
}

/// FNV-1a, to compare long things by.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl<E: Into<Outcome>> From<Result<Answer, E>> for Outcome {
    fn from(answer: Result<Answer, E>) -> Outcome {
        match answer {
            Ok(answer) => Outcome::Acknowledged(answer),
            Err(failed) => failed.into(),
        }
    }
}
