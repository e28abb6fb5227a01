//! Children of a run, and what a run owes to its parent.

pub(crate) mod table {
    crate::transition::transitions! { "child":
        INITIATED: "-" => "initiated", "START_CHILD_WORKFLOW_EXECUTION", "Initiated";
        RESTORED: "-" => "initiated", "a reset to a point where nothing was heard of it", "";
        RESTORED_STARTED: "-" => "started", "a reset to a point where it runs", "";
        STARTED: "initiated" => "started", "it runs", "Started";
        START_FAILED: "initiated" => "-", "it can't be started", "StartFailed";
        CLOSED: "started" => "-", "the last run of its chain closes", "Completed, Failed, TimedOut, Canceled or Terminated";
        FOLLOWS: "started" => "started", "its parent closes: it follows its policy", "";
        LEFT: "initiated, started" => "the same", "its parent closes, and its policy is to go on, or its start is not known yet", "";
    }
}

use super::Execution;
use super::find::namespace_by_number;
use crate::event::{Attributes, NewEvent};
use crate::proto::Proto;
use crate::reply::Fault;
use crate::tables::{Child, MessageBody, ParentRef, Record, StartChild, WriteSet, keys};
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::history::v1::{
    ChildWorkflowExecutionCanceledEventAttributes, ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes, ChildWorkflowExecutionStartedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes, ChildWorkflowExecutionTimedOutEventAttributes,
    StartChildWorkflowExecutionFailedEventAttributes, WorkflowExecutionStartedEventAttributes,
};

/// Writes parent and root into a started event.
pub(crate) fn name_parent(
    set: &WriteSet<'_>,
    parent: &ParentRef,
    started: &mut WorkflowExecutionStartedEventAttributes,
) -> Result<(), Fault> {
    // A namespace that is purged meanwhile leaves its names out.
    let namespace = set.namespace(parent.run.namespace)?;
    started.parent_workflow_namespace = namespace
        .as_ref()
        .map(|namespace| namespace.name.clone())
        .unwrap_or_default();
    started.parent_workflow_namespace_id =
        namespace.map(|namespace| namespace.id).unwrap_or_default();
    started.parent_workflow_execution = Some(WorkflowExecution {
        workflow_id: parent.run.workflow_id.clone(),
        run_id: parent.run_id.clone(),
    });
    started.parent_initiated_event_id = parent.initiated_event_id;
    started.root_workflow_execution = Some(WorkflowExecution {
        workflow_id: parent.root.0.clone(),
        run_id: parent.root.1.clone(),
    });
    Ok(())
}

impl Execution<'_, '_> {
    /// Workflow id and run id of the root: the run itself when it has no parent.
    pub(crate) fn root(&self) -> (String, String) {
        match self.run.parent.as_ref() {
            Some(parent) => parent.root.clone(),
            None => (self.run.run.workflow_id.clone(), self.run.run_id.clone()),
        }
    }

    /// A pending child.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn child(&self, initiated_event_id: i64) -> Result<Option<Box<Child>>, Fault> {
        let key = keys::child_key(&self.run.run, initiated_event_id);
        match self.set.get(&key)?.as_deref() {
            Some(Record::Child(child)) => Ok(Some(child.clone())),
            Some(other) => Err(crate::tables::wrong_record(other)),
            None => Ok(None),
        }
    }

    /// Remembers a child and asks for its start.
    pub(crate) fn initiate_child(&mut self, child: Child, start: StartChild) {
        let initiated_event_id = child.initiated_event_id;
        self.set.took(&table::INITIATED);
        self.add_child(child);
        self.send(initiated_event_id, MessageBody::StartChild(Box::new(start)));
    }

    /// A child is pending from now on.
    pub(super) fn add_child(&mut self, child: Child) {
        self.run.pending_children += 1;
        self.put_child(Box::new(child));
    }

    fn put_child(&mut self, child: Box<Child>) {
        let key = keys::child_key(&self.run.run, child.initiated_event_id);
        self.set.put(key, Record::Child(child));
    }

    fn forget_child(&mut self, child: &Child) {
        let key = keys::child_key(&self.run.run, child.initiated_event_id);
        self.set.delete(key);
        self.run.pending_children = self.run.pending_children.saturating_sub(1);
    }

    /// The child runs.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn child_started(
        &mut self,
        mut child: Box<Child>,
        run_id: &str,
    ) -> Result<(), Fault> {
        run_id.clone_into(&mut child.run_id);
        let started = ChildWorkflowExecutionStartedEventAttributes {
            namespace: child.namespace_name.clone(),
            namespace_id: child.namespace_id.clone(),
            initiated_event_id: child.initiated_event_id,
            workflow_execution: Some(WorkflowExecution {
                workflow_id: child.workflow_id.clone(),
                run_id: run_id.to_owned(),
            }),
            workflow_type: Some(WorkflowType {
                name: child.workflow_type.clone(),
            }),
            header: child.header.take().map(|header| header.0),
        };
        let started = Attributes::ChildWorkflowExecutionStartedEventAttributes(started);
        self.set.took(&table::STARTED);
        child.started_event_id = self.add_or_buffer(started)?.unwrap_or(0);
        self.put_child(child);
        Ok(())
    }

    /// The started event of a child got its id when the buffer was flushed.
    pub(super) fn note_child_started(
        &mut self,
        initiated_event_id: i64,
        event_id: i64,
    ) -> Result<(), Fault> {
        if let Some(mut child) = self.child(initiated_event_id)? {
            child.started_event_id = event_id;
            self.put_child(child);
        }
        Ok(())
    }

    /// The child could not be started.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    #[expect(deprecated, reason = "Temporal still echoes `control`")]
    pub(crate) fn child_start_failed(
        &mut self,
        child: Box<Child>,
        cause: i32,
    ) -> Result<(), Fault> {
        self.forget_child(&child);
        self.set.took(&table::START_FAILED);
        let failed = StartChildWorkflowExecutionFailedEventAttributes {
            namespace: child.namespace_name,
            namespace_id: child.namespace_id,
            workflow_id: child.workflow_id,
            workflow_type: Some(WorkflowType {
                name: child.workflow_type,
            }),
            cause,
            control: child.control,
            initiated_event_id: child.initiated_event_id,
            ..StartChildWorkflowExecutionFailedEventAttributes::default()
        };
        self.add_or_buffer(Attributes::StartChildWorkflowExecutionFailedEventAttributes(failed))?;
        Ok(())
    }

    /// The last run of the child closed; the event is the parent's, without ids.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn child_closed(
        &mut self,
        child: &Child,
        mut event: Attributes,
    ) -> Result<(), Fault> {
        self.forget_child(child);
        self.set.took(&table::CLOSED);
        if let Some(started_event_id) = started_event_id_of(&mut event) {
            *started_event_id = child.started_event_id;
        }
        self.add_or_buffer(event)?;
        Ok(())
    }

    /// What a closing run owes to others: its parent hears of the last run of the chain, and its
    /// children hear of it. What the fork of a reset takes over is not owed.
    pub(super) fn tell_of_close(
        &mut self,
        closing: &Attributes,
        new_execution_run_id: &str,
    ) -> Result<(), Fault> {
        if let Some(parent) = self.run.parent.clone()
            && new_execution_run_id.is_empty()
            && !self.leaves_parent
            && let Some(event) = self.event_for_parent(&parent, closing)?
        {
            let event = Proto(NewEvent::from(event).into_event(0, self.set.now));
            let body = MessageBody::ChildClosed {
                parent: parent.run,
                event: Box::new(event),
            };
            self.send(parent.initiated_event_id, body);
        }
        if self.run.pending_children > 0 && !self.leaves_children {
            self.run.closes_children = true;
            self.send(0, MessageBody::CloseChildren { after: 0 });
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one match, an arm for each way to close"
    )]
    fn event_for_parent(
        &self,
        parent: &ParentRef,
        closing: &Attributes,
    ) -> Result<Option<Attributes>, Fault> {
        let own = namespace_by_number(self.set, self.run.run.namespace)?;
        let (namespace, namespace_id) = (own.name, own.id);
        let workflow_execution = Some(WorkflowExecution {
            workflow_id: self.run.run.workflow_id.clone(),
            run_id: self.run.run_id.clone(),
        });
        let workflow_type = Some(WorkflowType {
            name: self.run.workflow_type.clone(),
        });
        let initiated_event_id = parent.initiated_event_id;
        let started_event_id = 0;
        Ok(match closing {
            Attributes::WorkflowExecutionCompletedEventAttributes(completed) => {
                Some(Attributes::ChildWorkflowExecutionCompletedEventAttributes(
                    ChildWorkflowExecutionCompletedEventAttributes {
                        result: completed.result.clone(),
                        namespace,
                        namespace_id,
                        workflow_execution,
                        workflow_type,
                        initiated_event_id,
                        started_event_id,
                    },
                ))
            }
            Attributes::WorkflowExecutionFailedEventAttributes(failed) => {
                Some(Attributes::ChildWorkflowExecutionFailedEventAttributes(
                    ChildWorkflowExecutionFailedEventAttributes {
                        failure: failed.failure.clone(),
                        retry_state: failed.retry_state,
                        namespace,
                        namespace_id,
                        workflow_execution,
                        workflow_type,
                        initiated_event_id,
                        started_event_id,
                    },
                ))
            }
            Attributes::WorkflowExecutionTimedOutEventAttributes(timed_out) => {
                Some(Attributes::ChildWorkflowExecutionTimedOutEventAttributes(
                    ChildWorkflowExecutionTimedOutEventAttributes {
                        retry_state: timed_out.retry_state,
                        namespace,
                        namespace_id,
                        workflow_execution,
                        workflow_type,
                        initiated_event_id,
                        started_event_id,
                    },
                ))
            }
            Attributes::WorkflowExecutionCanceledEventAttributes(canceled) => {
                Some(Attributes::ChildWorkflowExecutionCanceledEventAttributes(
                    ChildWorkflowExecutionCanceledEventAttributes {
                        details: canceled.details.clone(),
                        namespace,
                        namespace_id,
                        workflow_execution,
                        workflow_type,
                        initiated_event_id,
                        started_event_id,
                    },
                ))
            }
            Attributes::WorkflowExecutionTerminatedEventAttributes(_) => {
                Some(Attributes::ChildWorkflowExecutionTerminatedEventAttributes(
                    ChildWorkflowExecutionTerminatedEventAttributes {
                        namespace,
                        namespace_id,
                        workflow_execution,
                        workflow_type,
                        initiated_event_id,
                        started_event_id,
                    },
                ))
            }
            // Temporal's enum: any other event closes no chain.
            _ => None,
        })
    }
}

/// Where a child's closing event names its started event; with the initiated event's id.
pub(super) fn started_event_id_of(event: &mut Attributes) -> Option<&mut i64> {
    match event {
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(end) => {
            Some(&mut end.started_event_id)
        }
        Attributes::ChildWorkflowExecutionFailedEventAttributes(end) => {
            Some(&mut end.started_event_id)
        }
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(end) => {
            Some(&mut end.started_event_id)
        }
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(end) => {
            Some(&mut end.started_event_id)
        }
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(end) => {
            Some(&mut end.started_event_id)
        }
        _ => None,
    }
}

/// The initiated event that a child's closing event names.
pub(super) fn initiated_event_id_of(event: &Attributes) -> Option<i64> {
    match event {
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(end) => {
            Some(end.initiated_event_id)
        }
        Attributes::ChildWorkflowExecutionFailedEventAttributes(end) => {
            Some(end.initiated_event_id)
        }
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(end) => {
            Some(end.initiated_event_id)
        }
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(end) => {
            Some(end.initiated_event_id)
        }
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(end) => {
            Some(end.initiated_event_id)
        }
        _ => None,
    }
}
