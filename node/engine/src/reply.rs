//! What `apply` answers: a reply, or a refusal. And faults, which are neither.

use crate::effect::AssignedTask;
use crate::id::RunRef;
use steadfast_proto::temporal::common::v1 as common;

/// A business "yes".
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nothing to say but that it is done.
    Done,
    /// A namespace was made; its id.
    NamespaceRegistered {
        /// A UUID.
        id: String,
    },
    /// StartWorkflowExecution and SignalWithStart.
    Started {
        /// The run's id.
        run_id: String,
        /// The run's first execution id.
        first_execution_run_id: String,
        /// False when an existing run was used.
        started: bool,
        /// `WorkflowExecutionStatus` of the run.
        status: i32,
        /// The first workflow task, when the start was eager.
        eager_task: Option<Box<AssignedTask>>,
        /// Link to the event that the request made.
        link: Option<common::Link>,
    },
    /// SignalWorkflowExecution: the link to the signal's event, when known.
    Signaled {
        /// The link.
        link: Option<common::Link>,
    },
    /// UpdateWorkflowExecution: the update is known to this run; the state says how far it is.
    Updating {
        /// The run.
        run: RunRef,
        /// The run's id.
        run_id: String,
        /// The update's place among the run's updates.
        sequence: u64,
    },
    /// ExecuteMultiOperation: what each of the two operations answers.
    MultiOperation {
        /// `Started`.
        start: Box<Reply>,
        /// `Updating`.
        update: Box<Reply>,
    },
    /// ClaimTask found a task (it is also in the effects), or none.
    Claimed(Option<Box<AssignedTask>>),
    /// RespondWorkflowTaskCompleted.
    WorkflowTaskCompleted {
        /// The next workflow task, when asked for and there is one.
        new_task: Option<Box<AssignedTask>>,
        /// Activity tasks started eagerly.
        eager_activities: Vec<AssignedTask>,
        /// For a discarded speculative task; 0 otherwise.
        reset_history_event_id: i64,
    },
    /// RecordActivityTaskHeartbeat.
    Heartbeat {
        /// The activity shall stop.
        cancel_requested: bool,
    },
    /// ResetWorkflowExecution.
    Reset {
        /// The new run's id.
        run_id: String,
    },
    /// DeleteWorkflowExecution, a slice: whether more slices are needed.
    Deleting {
        /// More slices are needed.
        more: bool,
    },
}

/// A deterministic business "no". `node/src/api/status.rs` maps each to code and detail.
#[derive(Debug, Clone, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// INVALID_ARGUMENT.
    #[error("{0}")]
    InvalidArgument(String),
    /// NOT_FOUND with NotFoundFailure.
    #[error("{0}")]
    NotFound(String),
    /// NOT_FOUND with NamespaceNotFoundFailure.
    #[error("Namespace {0} is not found.")]
    NamespaceNotFound(String),
    /// ALREADY_EXISTS with NamespaceAlreadyExistsFailure.
    #[error("Namespace already exists.")]
    NamespaceAlreadyExists,
    /// FAILED_PRECONDITION with NamespaceInvalidStateFailure.
    #[error("Namespace has invalid state: {state}.")]
    NamespaceInvalidState {
        /// The name.
        namespace: String,
        /// `NamespaceState` it has.
        state: i32,
    },
    /// ALREADY_EXISTS with WorkflowExecutionAlreadyStartedFailure.
    #[error("{message}")]
    WorkflowExecutionAlreadyStarted {
        /// Text that clients match.
        message: String,
        /// Request id of that run's start.
        start_request_id: String,
        /// That run.
        run_id: String,
        /// Its first execution run id.
        first_execution_run_id: String,
    },
    /// FAILED_PRECONDITION.
    #[error("{0}")]
    FailedPrecondition(String),
    /// FAILED_PRECONDITION with WorkflowNotReadyFailure.
    #[error("{0}")]
    WorkflowNotReady(String),
    /// RESOURCE_EXHAUSTED with ResourceExhaustedFailure.
    #[error("{message}")]
    ResourceExhausted {
        /// `ResourceExhaustedCause`.
        cause: i32,
        /// `ResourceExhaustedScope`.
        scope: i32,
        /// Text.
        message: String,
    },
    /// PERMISSION_DENIED with PermissionDeniedFailure.
    #[error("{0}")]
    PermissionDenied(String),
    /// MultiOperationExecutionFailure: what became of each of the two operations.
    #[error("Update-with-Start could not be executed.")]
    MultiOperation {
        /// The start; `None` when it was aborted because of the update.
        start: Option<Box<Refusal>>,
        /// The update; `None` when it was aborted because of the start.
        update: Option<Box<Refusal>>,
    },
    /// UNIMPLEMENTED: a command or field whose feature is not built yet.
    #[error("{0}")]
    Unimplemented(String),
    /// INTERNAL: the run is quarantined because a mutation of it panicked.
    #[error("{0}")]
    Quarantined(String),
}

/// Not an answer: storage is broken, an entry can't be decoded, the mutation is unknown. The node
/// stops.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The tables could not be read.
    #[error("storage: {0}")]
    Storage(String),
    /// Stored or replicated bytes have no meaning.
    #[error("decode: {0}")]
    Decode(String),
    /// The mutation belongs to a newer engine version.
    #[error("mutation needs a newer engine: {0}")]
    UnknownMutation(String),
}

/// Why a mutation stops before its end; lets `?` carry both kinds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stop {
    /// A business "no". Everything that the mutation wrote is rolled back.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A business "no" where Temporal changes state all the same: what was written stays.
    #[error("{0}")]
    RefusedWithChanges(Refusal),
    /// The node stops.
    #[error(transparent)]
    Faulted(#[from] Fault),
}
