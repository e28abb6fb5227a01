//! What a fork has to do with other executions: the children that were pending at the point, and the
//! signals and requests to cancel that had no answer yet.
//!
//! A child that runs stays the new run's: its reports follow the reset (see
//! `mutation::deliver_message`). What had not been heard of is sent again.

use super::super::child::{self, initiated_event_id_of, started_event_id_of};
use super::super::{Execution, external, namespace_of};
use super::too_much;
use crate::command::{request_cancel_message, signal_message, start_child_message};
use crate::event::Attributes;
use crate::proto::Proto;
use crate::reply::{Fault, Stop};
use crate::tables::{Child, External, ExternalKind, MessageBody, Namespace};
use std::collections::BTreeMap;
use steadfast_proto::temporal::history::v1::{
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes as RequestCancelInitiated,
    SignalExternalWorkflowExecutionInitiatedEventAttributes as SignalInitiated,
    StartChildWorkflowExecutionInitiatedEventAttributes as ChildInitiated,
};
use steadfast_proto::temporal::sdk::v1::UserMetadata;

/// Children and messages to others that have begun and not ended, by initiated event id.
#[derive(Debug, Default)]
pub(super) struct Others {
    children: BTreeMap<i64, PendingChild>,
    signals: BTreeMap<i64, SignalInitiated>,
    cancels: BTreeMap<i64, RequestCancelInitiated>,
}

#[derive(Debug)]
struct PendingChild {
    initiated: ChildInitiated,
    user_metadata: Option<UserMetadata>,
    /// Empty before it has started.
    run_id: String,
    started_event_id: i64,
}

impl Others {
    /// Takes one event of the shared history.
    pub(super) fn replay(
        &mut self,
        id: i64,
        attributes: Attributes,
        user_metadata: Option<UserMetadata>,
    ) {
        match attributes {
            Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(initiated) => {
                let child = PendingChild {
                    initiated,
                    user_metadata,
                    run_id: String::new(),
                    started_event_id: 0,
                };
                self.children.insert(id, child);
            }
            Attributes::ChildWorkflowExecutionStartedEventAttributes(started) => {
                if let Some(child) = self.children.get_mut(&started.initiated_event_id) {
                    child.run_id = started.workflow_execution.unwrap_or_default().run_id;
                    child.started_event_id = id;
                }
            }
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(end) => {
                self.children.remove(&end.initiated_event_id);
            }
            Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated) => {
                self.signals.insert(id, initiated);
            }
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(end) => {
                self.signals.remove(&end.initiated_event_id);
            }
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(end) => {
                self.signals.remove(&end.initiated_event_id);
            }
            Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
                initiated,
            ) => {
                self.cancels.insert(id, initiated);
            }
            Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(end) => {
                self.cancels.remove(&end.initiated_event_id);
            }
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(end) => {
                self.cancels.remove(&end.initiated_event_id);
            }
            other => {
                if let Some(initiated_event_id) = initiated_event_id_of(&other) {
                    self.children.remove(&initiated_event_id);
                }
            }
        }
    }
}

impl Execution<'_, '_> {
    /// The children that were pending at the point are the new run's.
    pub(super) fn restore_children(&mut self, others: &Others) -> Result<(), Stop> {
        for (initiated_event_id, pending) in &others.children {
            if self.set.is_full() {
                return Err(too_much());
            }
            let initiated = &pending.initiated;
            let Some(namespace) = self.namespace_named(&initiated.namespace)? else {
                continue;
            };
            let waits = pending.run_id.is_empty();
            self.set.took(if waits {
                &child::table::RESTORED
            } else {
                &child::table::RESTORED_STARTED
            });
            let mut child = Child::of(*initiated_event_id, namespace, initiated);
            if !waits {
                child.started_event_id = pending.started_event_id;
                child.run_id.clone_from(&pending.run_id);
                child.header = None;
            }
            self.add_child(child);
        }
        Ok(())
    }

    /// Asks again for what has no answer, after the base's later events were applied again.
    pub(super) fn send_again(&mut self, others: Others) -> Result<(), Stop> {
        for (initiated_event_id, pending) in others.children {
            if self.set.is_full() {
                return Err(too_much());
            }
            let child = self.child(initiated_event_id)?;
            let Some(child) = child.filter(|child| child.run_id.is_empty()) else {
                continue;
            };
            let metadata = pending.user_metadata.as_ref().map(Proto::detached);
            let start = start_child_message(self, child.namespace, &pending.initiated, metadata);
            self.send(initiated_event_id, MessageBody::StartChild(Box::new(start)));
        }
        for (initiated_event_id, initiated) in others.signals {
            if self.set.is_full() {
                return Err(too_much());
            }
            let Some(namespace) = self.namespace_named(&initiated.namespace)? else {
                continue;
            };
            let target = initiated.workflow_execution.clone().unwrap_or_default();
            let message = signal_message(self, namespace.number, &initiated);
            #[expect(deprecated, reason = "Temporal still echoes it")]
            let control = initiated.control;
            let kind = ExternalKind::Signal;
            let pending = External::of(kind, initiated_event_id, namespace, target, control);
            self.set.took(&external::table::SENT_AGAIN);
            self.initiate_external(pending, MessageBody::SignalExternal(Box::new(message)));
        }
        for (initiated_event_id, initiated) in others.cancels {
            if self.set.is_full() {
                return Err(too_much());
            }
            let Some(namespace) = self.namespace_named(&initiated.namespace)? else {
                continue;
            };
            let target = initiated.workflow_execution.clone().unwrap_or_default();
            let message = request_cancel_message(self, namespace.number, &initiated);
            #[expect(deprecated, reason = "Temporal still echoes it")]
            let control = initiated.control;
            let kind = ExternalKind::RequestCancel;
            let pending = External::of(kind, initiated_event_id, namespace, target, control);
            let body = MessageBody::RequestCancelExternal(Box::new(message));
            self.set.took(&external::table::SENT_AGAIN);
            self.initiate_external(pending, body);
        }
        Ok(())
    }

    /// The namespace that an initiated event names; `None` when it is gone: what was meant for it
    /// is given up.
    fn namespace_named(&self, name: &str) -> Result<Option<Namespace>, Fault> {
        if name.is_empty() {
            return self.set.namespace(self.run.run.namespace);
        }
        match namespace_of(self.set, name) {
            Ok(namespace) => Ok(Some(namespace)),
            Err(Stop::Faulted(fault)) => Err(fault),
            Err(Stop::Refused(_) | Stop::RefusedWithChanges(_)) => Ok(None),
        }
    }

    /// What the base heard of a child after the point, if the child was pending there.
    pub(super) fn reapply_child_event(&mut self, attributes: Attributes) -> Result<(), Fault> {
        match attributes {
            Attributes::ChildWorkflowExecutionStartedEventAttributes(started) => {
                let pending = self.child(started.initiated_event_id)?;
                if let Some(child) = pending.filter(|child| child.run_id.is_empty()) {
                    let run_id = started.workflow_execution.unwrap_or_default().run_id;
                    self.child_started(child, &run_id)?;
                }
            }
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(failed) => {
                let pending = self.child(failed.initiated_event_id)?;
                if let Some(child) = pending.filter(|child| child.run_id.is_empty()) {
                    self.child_start_failed(child, failed.cause)?;
                }
            }
            mut closed => {
                if started_event_id_of(&mut closed).is_some()
                    && let Some(initiated_event_id) = initiated_event_id_of(&closed)
                    && let Some(child) = self.child(initiated_event_id)?
                {
                    self.child_closed(&child, closed)?;
                }
            }
        }
        Ok(())
    }
}
