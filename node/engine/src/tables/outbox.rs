//! The outbox: messages from one run to another (design D2).
//!
//! A message is written by the mutation that made it and deleted by the mutation that applied it at
//! its target, so that it is applied exactly once. Its identity is natural: source run, initiated
//! event id, kind. Messages of one source lie in the order in which they were sent and are
//! delivered in it; between sources there is no order.

use super::key::{INDEXES, Key, KeyWriter, index_family};
use crate::id::{NamespaceNumber, RunRef, slot};
use crate::proto::Proto;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::history::v1 as history;
use steadfast_proto::temporal::sdk::v1::UserMetadata;

/// Names a message: the slot of its source and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageRef {
    /// Slot of the source.
    pub slot: u16,
    /// Number of the message.
    pub sequence: u64,
}

/// A message that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The run that sent it. Number 0: a child that could not be started.
    pub source: RunRef,
    /// The initiated event, in the history of the parent or of who signals or cancels; 0 for what
    /// no event initiates.
    pub initiated_event_id: i64,
    /// What it says.
    pub body: MessageBody,
}

impl Message {
    /// About how many bytes its payloads take in memory.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match &self.body {
            MessageBody::StartChild(start) => start.initiated.encoded_len(),
            MessageBody::ChildClosed { event, .. } => event.encoded_len(),
            MessageBody::SignalExternal(signal) => {
                signal.input.as_ref().map_or(0, |input| input.encoded_len())
            }
            MessageBody::ChildStarted { .. }
            | MessageBody::StartChildFailed { .. }
            | MessageBody::CloseChildren { .. }
            | MessageBody::ParentClosed { .. }
            | MessageBody::RequestCancelExternal(_)
            | MessageBody::ExternalResult { .. } => 0,
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MessageBody {
    /// To a workflow id: start a child.
    StartChild(Box<StartChild>),
    /// To the parent: its child runs.
    ChildStarted {
        /// The parent.
        parent: RunRef,
        /// First run of the child.
        run_id: String,
        /// `ParentClosePolicy`, for a parent that has closed since.
        policy: i32,
    },
    /// To the parent: its child could not be started.
    StartChildFailed {
        /// The parent.
        parent: RunRef,
        /// `StartChildWorkflowExecutionFailedCause`.
        cause: i32,
    },
    /// To the parent: the last run of its child closed.
    ChildClosed {
        /// The parent.
        parent: RunRef,
        /// The parent's event, without its id and the started event's.
        event: Box<Proto<history::HistoryEvent>>,
    },
    /// To the source itself, which is closed: tell the next of its children.
    CloseChildren {
        /// The child that was told last; 0 for none.
        after: i64,
    },
    /// To a child: its parent closed.
    ParentClosed {
        /// The child's namespace.
        namespace: NamespaceNumber,
        /// The child.
        workflow_id: String,
        /// Its first run.
        run_id: String,
        /// `ParentClosePolicy`.
        policy: i32,
    },
    /// To any execution: a signal.
    SignalExternal(Box<SignalExternal>),
    /// To any execution: a request to cancel.
    RequestCancelExternal(Box<RequestCancelExternal>),
    /// To who signalled or cancelled: what became of it.
    ExternalResult {
        /// Who.
        to: RunRef,
        /// `SignalExternalWorkflowExecutionFailedCause` or
        /// `CancelExternalWorkflowExecutionFailedCause`; 0 when it worked.
        cause: i32,
    },
}

/// A child to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartChild {
    /// The child's namespace.
    pub namespace: NamespaceNumber,
    /// Request id of the start.
    pub request_id: String,
    /// What the parent's event says of it.
    pub initiated: Proto<history::StartChildWorkflowExecutionInitiatedEventAttributes>,
    /// Summary and details.
    pub user_metadata: Option<Proto<UserMetadata>>,
    /// The child's priority, what it inherits filled in.
    pub priority: Option<Proto<common::Priority>>,
    /// Run id of the parent.
    pub parent_run_id: String,
    /// Workflow id and run id of the root.
    pub root: (String, String),
}

/// Which execution a signal or a request to cancel goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTarget {
    /// The namespace.
    pub namespace: NamespaceNumber,
    /// The workflow id.
    pub workflow_id: String,
    /// The run id; empty for the current run.
    pub run_id: String,
    /// It must be a child of the source.
    pub child_workflow_only: bool,
    /// Run id of the source.
    pub source_run_id: String,
    /// For the dedup at the target.
    pub request_id: String,
}

/// A signal to an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalExternal {
    /// To whom.
    pub target: ExternalTarget,
    /// The signal's name.
    pub signal_name: String,
    /// Its input.
    pub input: Option<Proto<common::Payloads>>,
    /// Its header.
    pub header: Option<Proto<common::Header>>,
}

/// A request to cancel an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestCancelExternal {
    /// To whom.
    pub target: ExternalTarget,
    /// Why.
    pub reason: String,
}

/// The name of a message of this source.
#[must_use]
pub fn message_ref(source: &RunRef, sequence: u64) -> MessageRef {
    MessageRef {
        slot: slot(source.namespace, &source.workflow_id),
        sequence,
    }
}

/// Key of a message.
#[must_use]
pub fn message_key(message: MessageRef) -> Key {
    KeyWriter::new(INDEXES, 12)
        .byte(index_family::OUTBOX)
        .u16(message.slot)
        .u64(message.sequence)
        .done()
}

/// All messages, by slot of the source and in the order of sending.
#[must_use]
pub fn outbox_prefix() -> Key {
    KeyWriter::new(INDEXES, 2).byte(index_family::OUTBOX).done()
}

/// The message that a key is of.
#[must_use]
pub fn message_of_key(key: &[u8]) -> Option<MessageRef> {
    let slot: [u8; 2] = key.get(2..4)?.try_into().ok()?;
    let sequence: [u8; 8] = key.get(4..12)?.try_into().ok()?;
    Some(MessageRef {
        slot: u16::from_be_bytes(slot),
        sequence: u64::from_be_bytes(sequence),
    })
}
