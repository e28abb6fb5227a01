//! Pending signals and requests to cancel that a run sent to others.
//!
//! | state | is left by | to |
//! |---|---|---|
//! | initiated | `ExternalResult` | gone, with an event that says what became of it |
//! | initiated | the run closes | stays; what is not delivered yet never will be, as in Temporal |

use super::key::{Key, run_family, run_writer};
use super::namespace::Namespace;
use crate::id::RunRef;
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::common::v1::WorkflowExecution;

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExternalKind {
    /// A signal.
    Signal,
    /// A request to cancel.
    RequestCancel,
}

/// A pending signal or request to cancel; what the event that ends it echoes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// What was sent.
    pub kind: ExternalKind,
    /// Its initiated event.
    pub initiated_event_id: i64,
    /// The target's namespace.
    pub namespace_name: String,
    /// That namespace's id.
    pub namespace_id: String,
    /// The target's workflow id.
    pub workflow_id: String,
    /// The target's run id, as the command said it.
    pub run_id: String,
    /// The command's `control`.
    pub control: String,
}

impl External {
    /// What an initiated event of this id says.
    pub(crate) fn of(
        kind: ExternalKind,
        initiated_event_id: i64,
        namespace: Namespace,
        target: WorkflowExecution,
        control: String,
    ) -> Self {
        Self {
            kind,
            initiated_event_id,
            namespace_name: namespace.name,
            namespace_id: namespace.id,
            workflow_id: target.workflow_id,
            run_id: target.run_id,
            control,
        }
    }
}

/// Key of a pending signal or request to cancel, by initiated event id.
#[must_use]
pub fn external_key(run: &RunRef, initiated_event_id: i64) -> Key {
    run_writer(run, 9)
        .byte(run_family::EXTERNAL)
        .i64(initiated_event_id)
        .done()
}

/// All pending signals and requests to cancel of a run.
#[must_use]
pub fn external_prefix(run: &RunRef) -> Key {
    run_writer(run, 1).byte(run_family::EXTERNAL).done()
}
