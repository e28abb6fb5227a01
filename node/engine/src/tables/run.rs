//! The mutable state of one run. Nothing in here grows with history.

use super::key::{Key, run_family, run_writer};
use super::update::UpdateCounts;
use crate::id::{PollId, RunRef, WorkerVersion};
use crate::proto::Proto;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::sdk::v1::UserMetadata;

/// One run's mutable state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Who it is.
    pub run: RunRef,
    /// Its id, a UUID.
    pub run_id: String,
    /// The first run of its chain (continue-as-new, retry, cron).
    pub first_execution_run_id: String,
    /// As in the started event; a reset keeps the base run's.
    pub original_execution_run_id: String,
    /// The run it continues; empty when none.
    pub continued_execution_run_id: String,
    /// Request id of its start.
    pub start_request_id: String,
    /// Workflow type.
    pub workflow_type: String,
    /// Normal task queue.
    pub task_queue: String,
    /// `WorkflowExecutionStatus`.
    pub status: i32,
    /// Close facts; `None` while it runs.
    pub close: Option<CloseState>,
    /// Times and time-outs.
    pub times: RunTimes,
    /// Workflow retry.
    pub retry: Option<RetryState>,
    /// Cron schedule; empty when none.
    pub cron_schedule: String,
    /// Parent; `None` for a root.
    pub parent: Option<ParentRef>,
    /// Memo.
    pub memo: BTreeMap<String, Proto<common::Payload>>,
    /// Search attributes, each with its type in the payload's metadata.
    pub search_attributes: BTreeMap<String, Proto<common::Payload>>,
    /// Static summary and details.
    pub user_metadata: Option<Proto<UserMetadata>>,
    /// Priority.
    pub priority: Option<Proto<common::Priority>>,

    /// The next event's id.
    pub next_event_id: i64,
    /// Encoded bytes of all events.
    pub history_bytes: i64,
    /// Parts of history, oldest first: a reset shares its base's prefix. Always one at least; the
    /// last is the run's own.
    pub branches: Vec<BranchPart>,
    /// Mutations that changed this run.
    pub state_transitions: i64,
    /// Events that wait for the end of the started workflow task.
    pub buffered_count: u64,
    /// Encoded bytes of these events.
    pub buffered_bytes: u64,
    /// Next buffered event's sequence number.
    pub next_buffered: u64,
    /// Signals so far.
    pub signal_count: i64,
    /// Pending activities.
    pub pending_activities: u64,
    /// Pending user timers.
    pub pending_timers: u64,
    /// Pending children.
    pub pending_children: u64,
    /// Pending signals to other executions.
    pub pending_signals: u64,
    /// Pending requests to cancel other executions.
    pub pending_cancel_requests: u64,
    /// It is closed, and a message in the outbox tells its children one after another.
    pub closes_children: bool,

    /// The pending workflow task; `None` when nothing is scheduled.
    pub workflow_task: Option<WorkflowTask>,
    /// The workflow task that waited when the run was closed from outside; describe goes on showing
    /// it.
    pub dropped_task: Option<WorkflowTask>,
    /// Number for the next workflow task of this run; starts at 1.
    pub next_workflow_task: u64,
    /// Number for the next claim of a task of this run; starts at 1.
    pub next_claim: u64,
    /// Started event id of the last completed workflow task; 0 before the first.
    pub last_completed_started_event_id: i64,
    /// Attempt of the next workflow task: above 1 after failures or time-outs in a row.
    pub workflow_task_attempt: i32,
    /// The worker's own queue, while it holds.
    pub sticky: Option<StickyQueue>,
    /// What the last accepted completion answered, so that a repeated token gets the same answer.
    pub last_completion: Option<LastCompletion>,
    /// Version of the worker that last completed a workflow task.
    pub worker_version: Option<WorkerVersion>,
    /// Where each build in the chain first completed a workflow task; 20 at most.
    pub reset_points: Vec<ResetPoint>,
    /// Whether cancellation was requested, and by which request id.
    pub cancel_requested: bool,
    /// Request id of the cancel request.
    pub cancel_request_id: String,
    /// A close was refused because events were buffered: signals are refused until the next try.
    pub close_attempted: bool,
    /// The first workflow task waits for its back-off.
    pub first_task_pending: bool,
    /// Result of the previous run in a chain (cron), for the next.
    pub last_completion_result: Option<Proto<common::Payloads>>,
    /// Failure of the previous run in a chain, for the next.
    pub continued_failure: Option<Proto<Failure>>,
    /// Set when a mutation of this run panicked: nothing is done with it any more.
    pub quarantined: String,
    /// Workflow updates.
    pub updates: UpdateCounts,
    /// The run that a reset of this one made last; empty when there is none.
    pub reset_run_id: String,
    /// Request id of the reset that made this run; empty when none did.
    pub reset_request_id: String,
    /// Start of the run whose history this one began with: its own, or a reset's first base.
    pub original_started_at: Timestamp,
}

/// Answer of the last accepted workflow-task completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCompletion {
    /// Claim number of the completed task's token.
    pub claim: u64,
    /// Claim number of the workflow task that the answer carried; 0 when none.
    pub new_task_claim: u64,
    /// Scheduled event ids of the activities that the answer carried as started.
    pub eager_activities: Vec<i64>,
    /// The event that the worker goes back to after a discarded speculative task; 0 otherwise.
    pub reset_history_event_id: i64,
}

/// Where a build of the chain's workers first completed a workflow task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetPoint {
    /// The build, as older workers name it.
    pub binary_checksum: String,
    /// The build, as newer workers name it.
    pub build_id: String,
    /// The run it happened in; empty for the run that holds the point, which knows its id.
    pub run_id: String,
    /// The completed event.
    pub completed_event_id: i64,
    /// When.
    pub created_at: Timestamp,
    /// When that run's retention ends; zero for the run that holds the point.
    pub expires_at: Timestamp,
}

/// How a run closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseState {
    /// When.
    pub at: Timestamp,
    /// The next run of the chain; empty when none.
    pub new_execution_run_id: String,
    /// The closing event.
    pub event_id: i64,
}

/// Times and time-outs of a run; zero spans are infinite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTimes {
    /// Start of the run.
    pub started_at: Timestamp,
    /// When the first workflow task is to be scheduled.
    pub execution_at: Timestamp,
    /// Run time-out.
    pub run_timeout: Span,
    /// Execution time-out, over the whole chain.
    pub execution_timeout: Span,
    /// When the execution time-out strikes; zero when it does not.
    pub execution_expires_at: Timestamp,
    /// When this run's time-out strikes; zero when it does not.
    pub run_expires_at: Timestamp,
    /// Workflow task time-out.
    pub task_timeout: Span,
}

/// Workflow retry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryState {
    /// The policy, unset fields filled in.
    pub policy: Proto<common::RetryPolicy>,
    /// From 1.
    pub attempt: i32,
}

impl Run {
    /// Whether an event was taken over from the run that a reset forked this one off.
    #[must_use]
    pub fn shares(&self, event_id: i64) -> bool {
        let shared = self.branches.iter().rev().nth(1);
        shared.is_some_and(|part| event_id <= part.until)
    }
}

/// A parent's view, for children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRef {
    /// The parent.
    pub run: RunRef,
    /// Its run id.
    pub run_id: String,
    /// Its initiated event.
    pub initiated_event_id: i64,
    /// The root's workflow id and run id.
    pub root: (String, String),
}

/// A part of history: events of a branch up to an id (inclusive; the run's own part is open).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchPart {
    /// Number of the run that wrote the branch (same workflow id).
    pub branch: u64,
    /// Last event of the part that belongs to this run; `i64::MAX` for the run's own.
    pub until: i64,
}

/// Whether a workflow task's events are in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkflowTaskKind {
    /// Scheduled and started events are written.
    Normal,
    /// After a failure in a row: the two events appear only in answers, until it succeeds.
    Transient,
    /// For an update: nothing is written until it is accepted.
    Speculative,
}

/// Where a workflow task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkflowTaskPhase {
    /// Queued under this sequence number.
    Scheduled {
        /// Sequence number of its queue entry.
        task: u64,
    },
    /// A worker has it since.
    Started {
        /// When.
        at: Timestamp,
        /// The claim's number; the token carries it.
        claim: u64,
    },
}

/// A pending workflow task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowTask {
    /// Number within the run, for due items and queue entries.
    pub number: u64,
    /// Whether its events are in the history.
    pub kind: WorkflowTaskKind,
    /// Where it stands.
    pub phase: WorkflowTaskPhase,
    /// Scheduled event's id (given, or the one it would get).
    pub scheduled_event_id: i64,
    /// Started event's id; 0 until started.
    pub started_event_id: i64,
    /// From 1.
    pub attempt: i32,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// Start of a chain of workflow-task heartbeats; equals `scheduled_at` otherwise.
    pub original_scheduled_at: Timestamp,
    /// Start-to-close time-out.
    pub timeout: Span,
    /// Schedule-to-start time-out of a sticky task; zero when there is none.
    pub schedule_to_start: Span,
    /// The queue it was put on; the sticky one or the normal one.
    pub queue: String,
    /// Whether that is the sticky queue.
    pub sticky: bool,
    /// Who runs it; empty until started.
    pub identity: String,
    /// The poll that claimed it.
    pub poll: Option<PollId>,
    /// A started task whose poller left waits under this sequence number for the next; 0 otherwise.
    pub returned: u64,
    /// Suggest-continue-as-new as told in the started event.
    pub suggest_continue_as_new: bool,
    /// History size as told in the started event, bytes.
    pub history_bytes: i64,
}

/// The worker's own queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StickyQueue {
    /// Its name.
    pub name: String,
    /// How long a task may wait there.
    pub schedule_to_start: Span,
}

/// Key of a run.
#[must_use]
pub fn run_key(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::RUN).done()
}
