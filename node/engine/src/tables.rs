//! The state as records under ordered keys, and the one seam `apply` reads it through.
//!
//! Keys are bytes that sort. The first byte is the space: 0 the system's tables, 1 executions
//! (then the 16-bit slot, so that a shard is a range), 2 indexes that are local to a shard. One
//! file per key family holds its key and its record.

mod activity;
mod child;
mod due;
mod external;
mod history;
mod key;
mod meta;
mod namespace;
mod outbox;
mod queue;
mod request;
mod run;
mod timer;
mod update;
mod visibility;
mod write_set;

pub use activity::{Activity, ActivityState};
pub use child::Child;
pub use due::{Due, DueKind};
pub use external::{External, ExternalKind};
pub use history::{BranchUse, BufferedEvent, HistoryBatch};
pub use key::{Key, grouping, run_prefix};
pub use meta::{Config, Limits, Meta};
pub use namespace::Namespace;
pub use outbox::{
    ExternalTarget, Message, MessageBody, MessageRef, RequestCancelExternal, SignalExternal,
    StartChild,
};
pub use queue::QueueTask;
pub use request::RequestRecord;
pub use run::{
    BranchPart, CloseState, LastCompletion, ParentRef, ResetPoint, RetryState, Run, RunTimes,
    StickyQueue, WorkflowTask, WorkflowTaskKind, WorkflowTaskPhase,
};
pub use timer::UserTimer;
pub use update::{Update, UpdateCounts, UpdateState};
pub use visibility::VisibilityRow;
pub(crate) use write_set::OverLimit;
pub(crate) use write_set::wrong as wrong_record;
pub use write_set::{Changes, WriteSet};

/// Key constructors, by family.
pub mod keys {
    pub use super::activity::{activity_by_id_key, activity_key, activity_prefix};
    pub use super::child::{child_key, child_prefix};
    pub use super::due::{due_key, due_prefix, due_time};
    pub use super::external::{external_key, external_prefix};
    pub use super::history::{
        branch_use_key, branch_use_prefix, buffered_key, buffered_prefix, history_key,
        history_prefix,
    };
    pub use super::key::{execution_prefix, prefix_end, run_number_of_key};
    pub use super::meta::{config_key, meta_key};
    pub use super::namespace::{namespace_key, namespace_name_key, namespace_prefix};
    pub use super::outbox::{message_key, message_of_key, message_ref, outbox_prefix};
    pub use super::queue::{queue_of_key, queue_prefix, queue_task_key, queues_prefix};
    pub use super::request::request_key;
    pub use super::run::run_key;
    pub use super::timer::{timer_key, timer_prefix};
    pub use super::update::{open_update_key, open_update_prefix, update_key, update_prefix};
    pub use super::visibility::{visibility_key, visibility_prefix};
}

use crate::reply::Fault;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What `apply` and the shell's reads see of the state: a consistent view.
pub trait Tables {
    /// The record under a key.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault>;

    /// Up to `limit` records with `from <= key < to`, ascending, or descending when `reverse`.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault>;
}

/// Every record of the state. The variants' order is part of the stored format: append only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Counters and versions of the whole state.
    Meta(Meta),
    /// Dynamic configuration.
    Config(Config),
    /// A namespace, by number.
    Namespace(Namespace),
    /// A namespace's number, by name.
    NamespaceName(u32),
    /// The mutable state of one run.
    Run(Box<Run>),
    /// A batch of history events.
    HistoryBatch(HistoryBatch),
    /// An event that waits for the end of the started workflow task.
    BufferedEvent(BufferedEvent),
    /// A pending activity, by scheduled event id.
    Activity(Box<Activity>),
    /// Scheduled event id of a pending activity, by activity id.
    ActivityById(i64),
    /// A pending user timer, by timer id.
    UserTimer(UserTimer),
    /// A request id that was seen, and what it did.
    Request(RequestRecord),
    /// Something due at a time.
    Due(Due),
    /// A queued task.
    QueueTask(QueueTask),
    /// A row of the list of executions.
    Visibility(VisibilityRow),
    /// A workflow update, by its id.
    Update(Box<Update>),
    /// Id of an open workflow update, by its sequence number.
    OpenUpdate(String),
    /// A pending child, by initiated event id.
    Child(Box<Child>),
    /// A pending signal or request to cancel to another execution, by initiated event id.
    External(Box<External>),
    /// A message that is not delivered yet.
    Message(Box<Message>),
    /// A run that begins with a part of this branch.
    BranchUse(BranchUse),
}
