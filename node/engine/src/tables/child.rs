//! Pending children of a run.
//!
//! | state | is left by | to |
//! |---|---|---|
//! | initiated (no run id) | `ChildStarted` | started; the event may wait in the buffer |
//! | initiated | `StartChildFailed` | gone |
//! | started | `ChildClosed`, of its last run | gone |
//! | any | the parent closes | stays, for describe; nothing changes it any more |
//!
//! A child that closes before its parent hears of its start sends both messages, in this order.

use super::key::{Key, run_family, run_writer};
use super::namespace::Namespace;
use crate::id::{NamespaceNumber, RunRef};
use crate::proto::Proto;
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::history::v1::StartChildWorkflowExecutionInitiatedEventAttributes;

/// A pending child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Its initiated event.
    pub initiated_event_id: i64,
    /// Its started event; 0 before it has an id.
    pub started_event_id: i64,
    /// Its namespace.
    pub namespace: NamespaceNumber,
    /// That namespace's name.
    pub namespace_name: String,
    /// That namespace's id.
    pub namespace_id: String,
    /// Its workflow id.
    pub workflow_id: String,
    /// Its workflow type.
    pub workflow_type: String,
    /// Its first run; empty before it has started.
    pub run_id: String,
    /// `ParentClosePolicy`.
    pub parent_close_policy: i32,
    /// The command's `control`, echoed.
    pub control: String,
    /// The command's header, for the started event; `None` after it.
    pub header: Option<Proto<common::Header>>,
}

impl Child {
    /// A child that has not started yet, as its initiated event says.
    #[expect(deprecated, reason = "Temporal still echoes `control`")]
    pub(crate) fn of(
        initiated_event_id: i64,
        namespace: Namespace,
        initiated: &StartChildWorkflowExecutionInitiatedEventAttributes,
    ) -> Self {
        Self {
            initiated_event_id,
            started_event_id: 0,
            namespace: namespace.number,
            namespace_name: namespace.name,
            namespace_id: namespace.id,
            workflow_id: initiated.workflow_id.clone(),
            workflow_type: initiated.workflow_type.clone().unwrap_or_default().name,
            run_id: String::new(),
            parent_close_policy: initiated.parent_close_policy,
            control: initiated.control.clone(),
            header: initiated.header.as_ref().map(Proto::detached),
        }
    }
}

/// Key of a child, by initiated event id.
#[must_use]
pub fn child_key(run: &RunRef, initiated_event_id: i64) -> Key {
    run_writer(run, 9)
        .byte(run_family::CHILD)
        .i64(initiated_event_id)
        .done()
}

/// All pending children of a run.
#[must_use]
pub fn child_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::CHILD).done()
}
