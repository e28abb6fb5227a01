//! Events that end what code waits for.

use super::Run;
use crate::executor::operation::{Child, ChildCancellationType, Kind, OperationId};
use crate::executor::scope::ROOT;
use crate::failure::{ActivityFailure, ChildWorkflowFailure, Failure, FailureKind, Result};
use std::rc::Rc;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause, RetryState,
    SignalExternalWorkflowExecutionFailedCause, StartChildWorkflowExecutionFailedCause,
    TimeoutType,
};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

fn all(payloads: &Option<Payloads>) -> Vec<Payload> {
    payloads.clone().unwrap_or_default().payloads
}

impl Run {
    /// Remembers which event an operation became.
    pub(super) fn bind(&mut self, event: &HistoryEvent, id: OperationId) {
        let Some(context) = &self.context else {
            return;
        };
        let mut state = context.state.borrow_mut();
        let Some(operation) = state.operations.get_mut(&id) else {
            return;
        };
        let begins = match (&mut operation.kind, &event.attributes) {
            (
                Kind::Activity {
                    scheduled_event_id, ..
                },
                Some(Event::ActivityTaskScheduledEventAttributes(_)),
            ) => {
                *scheduled_event_id = event.event_id;
                true
            }
            (
                Kind::Child(child),
                Some(Event::StartChildWorkflowExecutionInitiatedEventAttributes(_)),
            ) => {
                child.initiated_event_id = event.event_id;
                true
            }
            (Kind::Timer { .. }, Some(Event::TimerStartedEventAttributes(_)))
            | (
                Kind::SignalExternal,
                Some(Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)),
            )
            | (
                Kind::CancelExternal | Kind::Child(_),
                Some(Event::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_)),
            ) => true,
            _ => false,
        };
        if begins {
            self.by_event.insert(event.event_id, id);
        }
    }

    /// Tells code of one event.
    #[expect(clippy::too_many_lines, reason = "one match")]
    pub(super) fn resolve(&mut self, event: &HistoryEvent) {
        match event.attributes.as_ref() {
            Some(Event::WorkflowExecutionCancelRequestedEventAttributes(found)) => {
                self.cancel_all(&found.cause);
            }
            Some(Event::TimerFiredEventAttributes(found)) => {
                self.end(found.started_event_id, Ok(Vec::new()));
            }
            Some(Event::ActivityTaskCompletedEventAttributes(found)) => {
                self.end(found.scheduled_event_id, Ok(all(&found.result)));
            }
            Some(Event::ActivityTaskFailedEventAttributes(found)) => {
                let cause = found
                    .failure
                    .clone()
                    .map(|found| self.setup.data.from_wire(found));
                let activity = (
                    found.scheduled_event_id,
                    found.started_event_id,
                    &found.identity,
                    found.retry_state(),
                );
                self.activity_failed("Activity task failed", activity, cause);
            }
            Some(Event::ActivityTaskTimedOutEventAttributes(found)) => {
                let cause = found
                    .failure
                    .clone()
                    .map(|found| self.setup.data.from_wire(found));
                let activity = (
                    found.scheduled_event_id,
                    found.started_event_id,
                    &String::new(),
                    found.retry_state(),
                );
                self.activity_failed("Activity task timed out", activity, cause);
            }
            Some(Event::ActivityTaskCanceledEventAttributes(found)) => {
                let details = all(&found.details);
                let cause = Failure::new("Activity cancelled", FailureKind::Canceled { details });
                let activity = (
                    found.scheduled_event_id,
                    found.started_event_id,
                    &found.identity,
                    RetryState::CancelRequested,
                );
                self.activity_failed("Activity cancelled", activity, Some(cause));
            }
            Some(Event::ChildWorkflowExecutionStartedEventAttributes(found)) => {
                let run_id = found
                    .workflow_execution
                    .as_ref()
                    .map(|run| run.run_id.clone());
                self.child_started(found.initiated_event_id, event.event_id, run_id);
            }
            Some(Event::StartChildWorkflowExecutionFailedEventAttributes(found)) => {
                self.child_not_started(found.initiated_event_id, found.cause());
            }
            Some(Event::ChildWorkflowExecutionCompletedEventAttributes(found)) => {
                self.end(found.initiated_event_id, Ok(all(&found.result)));
            }
            Some(Event::ChildWorkflowExecutionFailedEventAttributes(found)) => {
                let cause = found
                    .failure
                    .clone()
                    .map(|found| self.setup.data.from_wire(found));
                let message = "Child workflow execution failed";
                let state = found.retry_state();
                self.child_failed(message, found.initiated_event_id, state, cause);
            }
            Some(Event::ChildWorkflowExecutionCanceledEventAttributes(found)) => {
                let details = all(&found.details);
                let message = "Child workflow execution cancelled";
                let cause = Failure::new(message, FailureKind::Canceled { details });
                let state = RetryState::NonRetryableFailure;
                self.child_failed(message, found.initiated_event_id, state, Some(cause));
            }
            Some(Event::ChildWorkflowExecutionTimedOutEventAttributes(found)) => {
                let kind = FailureKind::Timeout {
                    timeout_type: TimeoutType::StartToClose,
                    last_heartbeat_details: Vec::new(),
                };
                let message = "Child workflow execution timed out";
                let cause = Failure::new(message, kind);
                let state = found.retry_state();
                self.child_failed(message, found.initiated_event_id, state, Some(cause));
            }
            Some(Event::ChildWorkflowExecutionTerminatedEventAttributes(found)) => {
                let message = "Child workflow execution terminated";
                let cause = Failure::new(message, FailureKind::Terminated);
                let state = RetryState::NonRetryableFailure;
                self.child_failed(message, found.initiated_event_id, state, Some(cause));
            }
            Some(Event::ExternalWorkflowExecutionSignaledEventAttributes(found)) => {
                self.end(found.initiated_event_id, Ok(Vec::new()));
            }
            Some(Event::SignalExternalWorkflowExecutionFailedEventAttributes(found)) => {
                let why = signal_failed(found.cause());
                self.end(found.initiated_event_id, Err(why));
            }
            Some(Event::ExternalWorkflowExecutionCancelRequestedEventAttributes(found)) => {
                self.cancel_was_requested(found.initiated_event_id);
            }
            Some(Event::RequestCancelExternalWorkflowExecutionFailedEventAttributes(found)) => {
                let why = cancel_failed(found.cause());
                self.end_unless_child(found.initiated_event_id, Err(why));
            }
            // Nothing that code is told of.
            _ => {}
        }
    }

    fn cancel_all(&mut self, reason: &str) {
        let Some(context) = &self.context else {
            return;
        };
        let first = context.state.borrow().cancel_reason.is_none();
        if first {
            context.state.borrow_mut().cancel_reason = Some(reason.to_string());
            let _polling = self.tasks.enter();
            context.cancel_scope(ROOT, reason);
        }
    }

    /// Ends the operation that an event began.
    fn end(&mut self, began: i64, resolution: Result<Vec<Payload>>) {
        let Some(id) = self.by_event.remove(&began) else {
            return;
        };
        let Some(context) = &self.context else {
            return;
        };
        let _polling = self.tasks.enter();
        let mut state = context.state.borrow_mut();
        if let Some(operation) = state.operations.get_mut(&id) {
            operation.resolve(resolution);
            if operation.abandoned {
                state.operations.remove(&id);
            }
        }
    }

    /// A request to cancel a child is not the child: its end comes by itself.
    fn end_unless_child(&mut self, began: i64, resolution: Result<Vec<Payload>>) {
        match self.child_at(began) {
            Some(_) => {
                self.by_event.remove(&began);
            }
            None => self.end(began, resolution),
        }
    }

    fn cancel_was_requested(&mut self, began: i64) {
        let Some(child) = self.child_at(began) else {
            return self.end(began, Ok(Vec::new()));
        };
        self.by_event.remove(&began);
        if child.cancellation == ChildCancellationType::WaitCancellationRequested {
            let cause = Failure::canceled("Child workflow execution cancelled");
            let state = RetryState::NonRetryableFailure;
            let message = "Child workflow execution cancelled";
            self.child_failed(message, child.initiated_event_id, state, Some(cause));
        }
    }

    fn child_at(&self, began: i64) -> Option<Child> {
        let id = self.by_event.get(&began)?;
        let state = self.context.as_ref()?.state.borrow();
        match &state.operations.get(id)?.kind {
            Kind::Child(child) => Some(child.clone()),
            Kind::Timer { .. }
            | Kind::Activity { .. }
            | Kind::LocalActivity { .. }
            | Kind::ChildStart { .. }
            | Kind::SignalExternal
            | Kind::CancelExternal => None,
        }
    }

    fn activity_failed(
        &mut self,
        message: &str,
        (scheduled, started, identity, retry_state): (i64, i64, &String, RetryState),
        cause: Option<Failure>,
    ) {
        let (activity_id, activity_type) = self.activity_at(scheduled);
        let kind = FailureKind::Activity(ActivityFailure {
            activity_id,
            activity_type,
            scheduled_event_id: scheduled,
            started_event_id: started,
            identity: identity.clone(),
            retry_state,
        });
        let mut failure = Failure::new(message, kind);
        if let Some(cause) = cause {
            failure = failure.with_cause(cause);
        }
        self.end(scheduled, Err(failure));
    }

    fn activity_at(&self, scheduled: i64) -> (String, String) {
        let found = self.by_event.get(&scheduled).zip(self.context.as_ref());
        let Some((id, context)) = found else {
            return Default::default();
        };
        match context
            .state
            .borrow()
            .operations
            .get(id)
            .map(|found| &found.kind)
        {
            Some(Kind::Activity {
                activity_id,
                activity_type,
                ..
            }) => (activity_id.clone(), activity_type.clone()),
            _ => Default::default(),
        }
    }

    fn child_started(&mut self, initiated: i64, started: i64, run_id: Option<String>) {
        let Some(id) = self.by_event.get(&initiated).copied() else {
            return;
        };
        let Some(context) = self.context.as_ref().map(Rc::clone) else {
            return;
        };
        let _polling = self.tasks.enter();
        let mut state = context.state.borrow_mut();
        let Some(operation) = state.operations.get_mut(&id) else {
            return;
        };
        let Kind::Child(child) = &mut operation.kind else {
            return;
        };
        child.run_id = run_id;
        child.started_event_id = started;
        let start = child.start;
        if let Some(operation) = state.operations.get_mut(&start) {
            operation.resolve(Ok(Vec::new()));
            if operation.abandoned {
                state.operations.remove(&start);
            }
        }
    }

    fn child_not_started(&mut self, initiated: i64, cause: StartChildWorkflowExecutionFailedCause) {
        let Some(child) = self.child_at(initiated) else {
            return;
        };
        let (error_type, words) = match cause {
            StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists => (
                "WorkflowAlreadyStarted",
                "a workflow with this id is running, or may not be started again",
            ),
            StartChildWorkflowExecutionFailedCause::NamespaceNotFound => {
                ("NamespaceNotFound", "the namespace does not exist")
            }
            StartChildWorkflowExecutionFailedCause::InvalidVersioningOverride => (
                "InvalidVersioningOverride",
                "the versioning override is not valid",
            ),
            StartChildWorkflowExecutionFailedCause::Unspecified => {
                ("StartChildWorkflowFailed", "the child could not be started")
            }
        };
        let cause = Failure::non_retryable(error_type, words);
        let message = "Child workflow execution already started";
        let failure = child_failure(
            message,
            &child,
            RetryState::NonRetryableFailure,
            Some(cause),
        );
        let Some(context) = self.context.as_ref().map(Rc::clone) else {
            return;
        };
        {
            let _polling = self.tasks.enter();
            let mut state = context.state.borrow_mut();
            if let Some(operation) = state.operations.get_mut(&child.start) {
                operation.resolve(Err(failure.clone()));
                if operation.abandoned {
                    state.operations.remove(&child.start);
                }
            }
        }
        self.end(initiated, Err(failure));
    }

    fn child_failed(
        &mut self,
        message: &str,
        initiated: i64,
        retry_state: RetryState,
        cause: Option<Failure>,
    ) {
        let Some(child) = self.child_at(initiated) else {
            return;
        };
        let failure = child_failure(message, &child, retry_state, cause);
        self.end(initiated, Err(failure));
    }
}

fn child_failure(
    message: &str,
    child: &Child,
    retry_state: RetryState,
    cause: Option<Failure>,
) -> Failure {
    let kind = FailureKind::ChildWorkflow(ChildWorkflowFailure {
        namespace: child.namespace.clone(),
        workflow_id: child.workflow_id.clone(),
        run_id: child.run_id.clone().unwrap_or_default(),
        workflow_type: child.workflow_type.clone(),
        initiated_event_id: child.initiated_event_id,
        started_event_id: child.started_event_id,
        retry_state,
    });
    let failure = Failure::new(message, kind);
    match cause {
        Some(cause) => failure.with_cause(cause),
        None => failure,
    }
}

fn signal_failed(cause: SignalExternalWorkflowExecutionFailedCause) -> Failure {
    use SignalExternalWorkflowExecutionFailedCause as Cause;
    let (error_type, words) = match cause {
        Cause::ExternalWorkflowExecutionNotFound => (
            "ExternalWorkflowExecutionNotFound",
            "there is no such workflow that runs",
        ),
        Cause::NamespaceNotFound => ("NamespaceNotFound", "the namespace does not exist"),
        Cause::SignalCountLimitExceeded => (
            "SignalCountLimitExceeded",
            "the workflow takes no more signals",
        ),
        Cause::Unspecified => ("SignalFailed", "the signal was not taken"),
    };
    Failure::application(error_type, words)
}

fn cancel_failed(cause: CancelExternalWorkflowExecutionFailedCause) -> Failure {
    use CancelExternalWorkflowExecutionFailedCause as Cause;
    let (error_type, words) = match cause {
        Cause::ExternalWorkflowExecutionNotFound => (
            "ExternalWorkflowExecutionNotFound",
            "there is no such workflow that runs",
        ),
        Cause::NamespaceNotFound => ("NamespaceNotFound", "the namespace does not exist"),
        Cause::Unspecified => ("CancelFailed", "the request to cancel was not taken"),
    };
    Failure::application(error_type, words)
}
