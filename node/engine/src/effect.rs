//! Duties of the shell. Hints: each can be derived again from the state, and an effect run twice is
//! harmless.

use crate::id::{QueueKey, Reservation, RunRef};
use crate::mutation::TaskToken;
use crate::tables::MessageRef;
use crate::time::{Span, Timestamp};
use bytes::Bytes;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::protocol::v1::Message;

/// One duty.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A task was queued: a waiting poller may claim it.
    TaskQueued {
        /// The queue.
        queue: QueueKey,
    },
    /// A task was handed to a reservation; the node with the poll's boot id delivers it.
    TaskAssigned {
        /// Whose poll.
        reservation: Reservation,
        /// What it gets.
        task: Box<AssignedTask>,
    },
    /// A run has new events or has closed: long polls of history, queries and updates look again.
    RunChanged {
        /// The run.
        run: RunRef,
        /// Whether it has closed.
        closed: bool,
    },
    /// The workflow task of this run completed or went away: waiting queries look again.
    WorkflowTaskEnded {
        /// The run.
        run: RunRef,
    },
    /// An update moved: its callers look at the state again, or take this end, of which the state
    /// keeps no trace. Callers that miss it find no record, and may ask again.
    UpdateChanged {
        /// The run.
        run: RunRef,
        /// The update's id.
        update_id: String,
        /// Its place among the run's updates: one asked again after its end has another.
        sequence: u64,
        /// How it ended, when it left no trace.
        end: Option<UpdateEnd>,
    },
    /// A due time was added that may be the earliest now.
    DueAt(Timestamp),
    /// A message was put into the outbox: propose its delivery.
    OutboxReady(MessageRef),
    /// A run is to be deleted in slices: propose `DeleteSlice`.
    DeleteRun(RunRef),
}

/// How an update ended without an event.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateEnd {
    /// The workflow, or the server in its place, rejected it.
    Rejected(Box<Failure>),
    /// The run closed before it was accepted.
    WorkflowCompleted,
    /// The run closed before it was accepted, and another run goes on: it may be asked there.
    WorkflowContinuing,
    /// The workflow task that carried it failed by a bad answer of the worker.
    WorkflowTaskFailed,
}

/// A claimed task, with what a poll's answer needs beyond the state.
#[derive(Debug, Clone, PartialEq)]
pub enum AssignedTask {
    /// A workflow task.
    Workflow(AssignedWorkflowTask),
    /// An activity task.
    Activity(AssignedActivityTask),
}

/// A claimed workflow task.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignedWorkflowTask {
    /// The token's content: run, scheduled and started event id, attempt.
    pub token: TaskToken,
    /// The workflow type's name.
    pub workflow_type: String,
    /// Started event id of the last completed workflow task; 0 when there is none.
    pub previous_started_event_id: i64,
    /// Whether the task came from the worker's sticky queue (history from after the previous
    /// started event) or not (all of it).
    pub sticky: bool,
    /// The task's normal queue.
    pub normal_queue: String,
    /// When it was scheduled and started.
    pub scheduled_at: Timestamp,
    /// When it was started.
    pub started_at: Timestamp,
    /// Number of the last event that is stored: reads stop here.
    pub stored_until: i64,
    /// Events that are not stored (transient or speculative scheduled and started), encoded as a
    /// `History`; empty when there are none.
    pub tail: Bytes,
    /// Updates for the worker to accept or reject.
    pub messages: Vec<Message>,
}

/// A claimed activity task. Input, header and type are in the activity's record.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignedActivityTask {
    /// The token's content.
    pub token: TaskToken,
    /// When the activity was first scheduled.
    pub scheduled_at: Timestamp,
    /// When this attempt was scheduled.
    pub attempt_scheduled_at: Timestamp,
    /// When this attempt started.
    pub started_at: Timestamp,
    /// Heartbeat time-out; zero when there is none.
    pub heartbeat_timeout: Span,
}
