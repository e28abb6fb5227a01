//! Every way the state can change. A mutation is the payload of a replicated log entry.
//!
//! Requests ride as Temporal's own messages. The shell has checked their form (fields, lengths,
//! enums) before it proposes; what depends on the state is decided in `apply`.

pub(crate) mod abandon_sticky_queue;
pub(crate) mod add_search_attributes;
pub(crate) mod bootstrap;
pub(crate) mod claim_task;
pub(crate) mod delete_workflow_execution;
pub(crate) mod deliver_message;
pub(crate) mod execute_multi_operation;
pub(crate) mod fire_due;
mod id_policy;
mod new_run;
pub(crate) mod purge_namespace;
pub(crate) mod quarantine_run;
pub(crate) mod raise_engine_version;
pub(crate) mod record_activity_task_heartbeat;
pub(crate) mod register_namespace;
pub(crate) mod request_cancel_workflow_execution;
pub(crate) mod reset_sticky_task_queue;
pub(crate) mod reset_workflow_execution;
pub(crate) mod respond_activity_task_canceled;
pub(crate) mod respond_activity_task_completed;
pub(crate) mod respond_activity_task_failed;
pub(crate) mod respond_workflow_task_completed;
pub(crate) mod respond_workflow_task_failed;
pub(crate) mod return_task;
pub(crate) mod set_config;
pub(crate) mod shutdown_worker;
pub(crate) mod signal_with_start_workflow_execution;
pub(crate) mod signal_workflow_execution;
pub(crate) mod start_workflow_execution;
pub(crate) mod terminate_workflow_execution;
pub(crate) mod update_namespace;
pub(crate) mod update_workflow_execution;
mod workflow_task_of;

use crate::id::{NamespaceNumber, QueueKey, Reservation, RunRef, TaskKind};
use crate::proto::Proto;
use crate::tables::{Key, MessageRef};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// Sixteen random bytes, drawn by the proposer; the source of run ids and jitter inside `apply`.
pub type Entropy = [u8; 16];

/// A mutation with what its proposer adds: the stamp is cluster time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// Which waiting call gets the reply; means something only to the node with this boot id.
    pub proposal: ProposalId,
    /// Cluster time at the proposal; `apply` uses the maximum of this and what it last used.
    pub now: Timestamp,
    /// Random bytes.
    pub entropy: Entropy,
    /// Waiting pollers that tasks made by this mutation may go to; at most 16.
    pub reservations: Vec<Reservation>,
    /// What to do. Boxed: a batch is a list of these, and the largest mutation is large.
    pub mutation: Box<Mutation>,
}

/// Names a proposal: the proposing node process and a number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProposalId {
    /// Boot id of the node process.
    pub boot: u64,
    /// Counts the proposals of that process.
    pub sequence: u64,
}

/// How a call names an activity: by the token of its task, or by ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ActivityTarget {
    /// By token.
    Token(TaskToken),
    /// By namespace name, workflow id, run id (empty: current run) and activity id.
    Id {
        /// The namespace's name.
        namespace: String,
        /// The workflow id.
        workflow_id: String,
        /// The run id; empty for the current run.
        run_id: String,
        /// The activity id.
        activity_id: String,
    },
}

/// The content of a task token; fences late answers (design D5). Opaque to workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskToken {
    /// Workflow or activity task.
    pub kind: TaskKind,
    /// The run.
    pub run: RunRef,
    /// The run's id, as a check of the number.
    pub run_id: String,
    /// The task's scheduled event id.
    pub scheduled_event_id: i64,
    /// The workflow task's started event id; 0 for activities.
    pub started_event_id: i64,
    /// The attempt that was claimed.
    pub attempt: i32,
    /// Number of the claim within the run; two claims of one attempt differ.
    pub claim: u64,
}

/// How a run is named by a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionTarget {
    /// The namespace's name.
    pub namespace: String,
    /// The workflow id.
    pub workflow_id: String,
    /// The run id; empty for the current run.
    pub run_id: String,
}

/// All mutations. One file each under `mutation/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a log entry holds one; boxing would cost more"
)]
pub enum Mutation {
    /// First entry of a cluster: cluster id, the namespace `default` and others, configuration.
    Bootstrap {
        /// A UUID.
        cluster_id: String,
        /// Names of namespaces to make, each with a retention of 24 h.
        namespaces: Vec<String>,
        /// Dynamic configuration: key and JSON value.
        config: Vec<(String, String)>,
        /// Search attributes to add to each namespace: name and indexed value type.
        search_attributes: Vec<(String, i32)>,
    },
    /// Sets one dynamic configuration key (JSON), or removes it (`None`).
    SetConfig {
        /// Temporal's name of the key.
        key: String,
        /// JSON.
        value: Option<String>,
    },
    /// RegisterNamespace; the id is a UUID drawn by the proposer.
    RegisterNamespace {
        /// The request.
        request: Proto<wire::RegisterNamespaceRequest>,
        /// The new namespace's id.
        id: String,
    },
    /// UpdateNamespace.
    UpdateNamespace(Proto<wire::UpdateNamespaceRequest>),
    /// AddSearchAttributes of the operator service: names and indexed value types.
    AddSearchAttributes {
        /// The namespace's name.
        namespace: String,
        /// Name and `IndexedValueType`.
        attributes: Vec<(String, i32)>,
    },
    /// StartWorkflowExecution.
    StartWorkflowExecution(Proto<wire::StartWorkflowExecutionRequest>),
    /// SignalWorkflowExecution.
    SignalWorkflowExecution(Proto<wire::SignalWorkflowExecutionRequest>),
    /// SignalWithStartWorkflowExecution.
    SignalWithStartWorkflowExecution(Proto<wire::SignalWithStartWorkflowExecutionRequest>),
    /// RequestCancelWorkflowExecution.
    RequestCancelWorkflowExecution(Proto<wire::RequestCancelWorkflowExecutionRequest>),
    /// TerminateWorkflowExecution.
    TerminateWorkflowExecution(Proto<wire::TerminateWorkflowExecutionRequest>),
    /// DeleteWorkflowExecution; terminates a running one first, then deletes in slices.
    DeleteWorkflowExecution(ExecutionTarget),
    /// The next slice of a deletion.
    DeleteSlice(RunRef),
    /// A poll takes the head of a queue: the claim QUEUED -> RUNNING, decided here (design D5).
    ClaimTask(Reservation),
    /// A claimed task whose poller left before the answer was written goes back (activity) or to
    /// the next poller (workflow task).
    ReturnTask(TaskToken),
    /// RespondWorkflowTaskCompleted.
    RespondWorkflowTaskCompleted {
        /// The decoded token.
        token: TaskToken,
        /// The request, its token field emptied.
        request: Proto<wire::RespondWorkflowTaskCompletedRequest>,
    },
    /// RespondWorkflowTaskFailed.
    RespondWorkflowTaskFailed {
        /// The decoded token.
        token: TaskToken,
        /// The request, its token field emptied.
        request: Proto<wire::RespondWorkflowTaskFailedRequest>,
    },
    /// RespondActivityTaskCompleted and …ById.
    RespondActivityTaskCompleted {
        /// Which activity.
        target: ActivityTarget,
        /// Result and identity.
        request: Proto<wire::RespondActivityTaskCompletedRequest>,
    },
    /// RespondActivityTaskFailed and …ById.
    RespondActivityTaskFailed {
        /// Which activity.
        target: ActivityTarget,
        /// Failure, last heartbeat details and identity.
        request: Proto<wire::RespondActivityTaskFailedRequest>,
    },
    /// RespondActivityTaskCanceled and …ById.
    RespondActivityTaskCanceled {
        /// Which activity.
        target: ActivityTarget,
        /// Details and identity.
        request: Proto<wire::RespondActivityTaskCanceledRequest>,
    },
    /// RecordActivityTaskHeartbeat and …ById.
    RecordActivityTaskHeartbeat {
        /// Which activity.
        target: ActivityTarget,
        /// Details and identity.
        request: Proto<wire::RecordActivityTaskHeartbeatRequest>,
    },
    /// One due item of the index of due times fires; a stale one is refused without harm.
    FireDue(Key),
    /// A message of the outbox is applied at its target; one that is gone was delivered before.
    DeliverMessage(MessageRef),
    /// ResetStickyTaskQueue.
    ResetStickyTaskQueue(ExecutionTarget),
    /// ShutdownWorker: tasks on this sticky queue go to their normal queues.
    ShutdownWorker {
        /// The namespace's name.
        namespace: String,
        /// The sticky queue's name.
        sticky_task_queue: String,
    },
    /// The leader saw that a sticky queue has had no poller for 10 s: its head task goes to the
    /// normal queue, as the same task and without an event.
    AbandonStickyQueue(QueueKey),
    /// A workflow task must be there because a query waits and none can be answered otherwise.
    /// Reserved; queries are volatile and usually need no mutation.
    QuarantineRun {
        /// The run whose mutation panicked.
        run: RunRef,
        /// The panic's text, at most 1,000 bytes.
        reason: String,
    },
    /// Raises the engine version, once each replica can.
    RaiseEngineVersion(u32),
    /// Makes a namespace's executions past their retention go; proposed by the timer loop.
    PurgeNamespace(NamespaceNumber),
    /// UpdateWorkflowExecution; the update id is filled in.
    UpdateWorkflowExecution(Proto<wire::UpdateWorkflowExecutionRequest>),
    /// ExecuteMultiOperation: a start and an update of the same workflow, both or none.
    ExecuteMultiOperation {
        /// The start; its request id is filled in.
        start: Proto<wire::StartWorkflowExecutionRequest>,
        /// The update; its id is filled in.
        update: Proto<wire::UpdateWorkflowExecutionRequest>,
    },
    /// ResetWorkflowExecution.
    ResetWorkflowExecution(Proto<wire::ResetWorkflowExecutionRequest>),
}
