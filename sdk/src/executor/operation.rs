//! What a workflow waits for: timers, activities, children, messages to other workflows.

use crate::executor::scope::ScopeId;
use crate::failure::{Failure, Result};
use std::task::Waker;
use steadfast_proto::temporal::common::v1::Payload;

/// Counts operations, conditions and commands of a run in the order in which code made them.
pub(crate) type OperationId = u64;

/// Something that ends later.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Whose cancellation it follows.
    pub(crate) scope: ScopeId,
    /// What it is.
    pub(crate) kind: Kind,
    /// Cancellation was asked for.
    pub(crate) canceled: bool,
    /// How it ended; stays until its future has seen it.
    pub(crate) resolution: Option<Result<Vec<Payload>>>,
    /// Who waits.
    pub(crate) waker: Option<Waker>,
    /// Nobody will ask for the end any more.
    pub(crate) abandoned: bool,
}

/// The kinds of operations, with what their cancellation needs.
#[derive(Debug)]
pub(crate) enum Kind {
    /// StartTimer.
    Timer {
        /// As it was started.
        timer_id: String,
    },
    /// ScheduleActivityTask.
    Activity {
        /// As it was scheduled.
        activity_id: String,
        /// As it was scheduled.
        activity_type: String,
        /// The event that scheduled it; 0 while it is not known.
        scheduled_event_id: i64,
        /// What a cancellation waits for.
        cancellation: CancellationType,
    },
    /// An activity in this worker.
    LocalActivity {
        /// As its marker names it.
        seq: u32,
        /// As the marker names it.
        activity_type: String,
        /// What a cancellation waits for.
        cancellation: CancellationType,
    },
    /// StartChildWorkflowExecution; its end.
    Child(Child),
    /// The start of a child.
    ChildStart {
        /// The operation of its end.
        child: OperationId,
    },
    /// SignalExternalWorkflowExecution.
    SignalExternal,
    /// RequestCancelExternalWorkflowExecution.
    CancelExternal,
}

/// A child workflow.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its workflow id.
    pub(crate) workflow_id: String,
    /// Its type.
    pub(crate) workflow_type: String,
    /// The event that asked for it; 0 while it is not known.
    pub(crate) initiated_event_id: i64,
    /// The event that started it; 0 while it is not known.
    pub(crate) started_event_id: i64,
    /// Its first run, once it has started.
    pub(crate) run_id: Option<String>,
    /// What a cancellation waits for.
    pub(crate) cancellation: ChildCancellationType,
    /// The operation of its start.
    pub(crate) start: OperationId,
}

/// What the cancellation of an activity waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CancellationType {
    /// Asks the activity to end and goes on at once.
    #[default]
    TryCancel,
    /// Asks the activity to end and waits until it has.
    WaitCancellationCompleted,
    /// Goes on at once; the activity is not told.
    Abandon,
}

/// What the cancellation of a child workflow waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChildCancellationType {
    /// Goes on at once; the child is not told.
    Abandon,
    /// Asks the child to end and goes on at once.
    TryCancel,
    /// Asks the child to end and waits until it has.
    #[default]
    WaitCancellationCompleted,
    /// Asks the child to end and waits until it was asked.
    WaitCancellationRequested,
}

impl Operation {
    pub(crate) fn new(scope: ScopeId, kind: Kind) -> Self {
        Self {
            scope,
            kind,
            canceled: false,
            resolution: None,
            waker: None,
            abandoned: false,
        }
    }

    /// Ends it, once: what comes later is not heard.
    pub(crate) fn resolve(&mut self, resolution: Result<Vec<Payload>>) {
        if self.resolution.is_some() {
            return;
        }
        self.resolution = Some(resolution);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Nothing may be told of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.resolution.is_some()
    }

    /// The failure of an operation that was cancelled.
    pub(crate) fn canceled_failure(&self) -> Failure {
        use crate::failure::{ActivityFailure, ChildWorkflowFailure, FailureKind};
        use steadfast_proto::temporal::enums::v1::RetryState;
        match &self.kind {
            Kind::Timer { .. } => Failure::canceled("Timer cancelled"),
            Kind::Activity {
                activity_id,
                activity_type,
                scheduled_event_id,
                ..
            } => {
                let kind = FailureKind::Activity(ActivityFailure {
                    activity_id: activity_id.clone(),
                    activity_type: activity_type.clone(),
                    scheduled_event_id: *scheduled_event_id,
                    started_event_id: 0,
                    identity: String::new(),
                    retry_state: RetryState::CancelRequested,
                });
                Failure::new("Activity cancelled", kind)
                    .with_cause(Failure::canceled("Activity cancelled"))
            }
            Kind::LocalActivity {
                seq, activity_type, ..
            } => {
                let kind = FailureKind::Activity(ActivityFailure {
                    activity_id: seq.to_string(),
                    activity_type: activity_type.clone(),
                    scheduled_event_id: 0,
                    started_event_id: 0,
                    identity: String::new(),
                    retry_state: RetryState::CancelRequested,
                });
                Failure::new("Local Activity cancelled", kind)
                    .with_cause(Failure::canceled("Local Activity cancelled"))
            }
            Kind::Child(child) => {
                let kind = FailureKind::ChildWorkflow(ChildWorkflowFailure {
                    namespace: child.namespace.clone(),
                    workflow_id: child.workflow_id.clone(),
                    run_id: child.run_id.clone().unwrap_or_default(),
                    workflow_type: child.workflow_type.clone(),
                    initiated_event_id: child.initiated_event_id,
                    started_event_id: child.started_event_id,
                    retry_state: RetryState::NonRetryableFailure,
                });
                Failure::new("Child workflow execution cancelled", kind)
                    .with_cause(Failure::canceled("Child workflow execution cancelled"))
            }
            Kind::ChildStart { .. } => Failure::canceled("Child workflow execution cancelled"),
            Kind::SignalExternal => Failure::canceled("Signal was cancelled"),
            Kind::CancelExternal => Failure::canceled("Cancellation was cancelled"),
        }
    }
}
