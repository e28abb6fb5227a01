//! Opening a new run: its record, its started event and its first due times.

use super::reset_points::carried_reset_points;
use super::{DEFAULT_TASK_TIMEOUT, Execution, TASK_TIMEOUT_MAX};
use crate::event::{Attributes, NewEvent};
use crate::id::RunRef;
use crate::proto::Proto;
use crate::tables::{
    BranchPart, DueKind, ParentRef, RetryState, Run, RunTimes, UpdateCounts, WriteSet,
};
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;
use steadfast_proto::temporal::common::v1::{Link, Payload};
use steadfast_proto::temporal::enums::v1::{EventType, WorkflowExecutionStatus};
use steadfast_proto::temporal::history::v1::WorkflowExecutionStartedEventAttributes;
use steadfast_proto::temporal::sdk::v1::UserMetadata;

/// What a new run is opened with. The started event's attributes say nearly all of it; time-outs,
/// attempt, back-off and the chain's ids are final there.
#[derive(Debug)]
pub struct Opening {
    /// Who it will be.
    pub run: RunRef,
    /// Its id.
    pub run_id: String,
    /// Request id of the start.
    pub request_id: String,
    /// The started event.
    pub started: WorkflowExecutionStartedEventAttributes,
    /// Static summary and details.
    pub user_metadata: Option<UserMetadata>,
    /// Links of the request.
    pub links: Vec<Link>,
    /// The parent; `None` for a root.
    pub parent: Option<ParentRef>,
}

/// Run and task time-out of a new run: the run's is the execution's by default and at most; the
/// task's is 10 s by default, and at most 120 s and the run's. Zero is infinite.
pub(crate) fn start_timeouts(execution: Span, run: Span, task: Span) -> (Span, Span) {
    let run = match (execution.is_zero(), run.is_zero()) {
        (true, _) => run,
        (false, true) => execution,
        (false, false) => run.min(execution),
    };
    let mut task = if task.is_zero() {
        DEFAULT_TASK_TIMEOUT
    } else {
        task.min(TASK_TIMEOUT_MAX)
    };
    if !run.is_zero() {
        task = task.min(run);
    }
    (run, task)
}

/// A number and an id for a new run.
pub(crate) fn new_run_id(set: &mut WriteSet<'_>) -> (u64, String) {
    let number = set.meta.next_run;
    set.meta.next_run += 1;
    let entropy = set.draw();
    (number, crate::id::run_id(entropy, number))
}

impl<'set, 'tables> Execution<'set, 'tables> {
    /// Opens a new run and adds its started event. The first workflow task is the caller's, after
    /// a signal that comes with the start: [`Execution::schedule_first_workflow_task`].
    pub fn open(set: &'set mut WriteSet<'tables>, opening: Opening) -> Self {
        let run = Box::new(new_run(&opening, set.now));
        let mut execution = Self::with(set, run);
        execution.is_new = true;
        let mut started = NewEvent::from(Attributes::WorkflowExecutionStartedEventAttributes(
            opening.started,
        ));
        started.user_metadata = opening.user_metadata;
        started.links = opening.links;
        let event_id = execution.add_event(started);
        execution.remember_request(
            &opening.request_id,
            EventType::WorkflowExecutionStarted,
            event_id,
        );
        let times = execution.run.times;
        if times.run_expires_at != Timestamp(0) {
            execution.add_due(times.run_expires_at, DueKind::RunTimeout);
        }
        if times.execution_expires_at != Timestamp(0) {
            execution.add_due(times.execution_expires_at, DueKind::ExecutionTimeout);
        }
        if execution.run.first_task_pending {
            execution.add_due(times.execution_at, DueKind::FirstWorkflowTask);
        }
        execution
    }

    /// Ends the wait for the first workflow task, when there is one, and schedules it.
    ///
    /// # Errors
    /// [`crate::Fault`] when storage is broken.
    pub fn schedule_first_workflow_task(&mut self) -> Result<(), crate::Fault> {
        if std::mem::take(&mut self.run.first_task_pending) {
            let at = self.run.times.execution_at;
            self.remove_due(at, &DueKind::FirstWorkflowTask);
        }
        self.schedule_workflow_task()
    }
}

#[expect(clippy::too_many_lines, reason = "one literal")]
pub(super) fn new_run(opening: &Opening, now: Timestamp) -> Run {
    let started = &opening.started;
    let fields = |map: Option<&BTreeMap<String, Payload>>| -> BTreeMap<String, Proto<Payload>> {
        let copy = |(name, payload): (&String, &Payload)| (name.clone(), Proto::detached(payload));
        map.map(|map| map.iter().map(copy).collect())
            .unwrap_or_default()
    };
    let times = run_times(started, now);
    let branch = BranchPart {
        branch: opening.run.number,
        until: i64::MAX,
    };
    let retry = started.retry_policy.clone();
    Run {
        run: opening.run.clone(),
        run_id: opening.run_id.clone(),
        first_execution_run_id: started.first_execution_run_id.clone(),
        original_execution_run_id: started.original_execution_run_id.clone(),
        continued_execution_run_id: started.continued_execution_run_id.clone(),
        start_request_id: opening.request_id.clone(),
        workflow_type: started.workflow_type.clone().unwrap_or_default().name,
        task_queue: started.task_queue.clone().unwrap_or_default().name,
        status: WorkflowExecutionStatus::Running.into(),
        close: None,
        times,
        retry: retry.map(|policy| RetryState {
            policy: Proto(policy),
            attempt: started.attempt,
        }),
        cron_schedule: started.cron_schedule.clone(),
        parent: opening.parent.clone(),
        memo: fields(started.memo.as_ref().map(|memo| &memo.fields)),
        search_attributes: fields(
            started
                .search_attributes
                .as_ref()
                .map(|attributes| &attributes.indexed_fields),
        ),
        user_metadata: opening.user_metadata.as_ref().map(Proto::detached),
        priority: started.priority.clone().map(Proto),
        next_event_id: 1,
        history_bytes: 0,
        branches: vec![branch],
        state_transitions: 0,
        buffered_count: 0,
        buffered_bytes: 0,
        next_buffered: 1,
        signal_count: 0,
        pending_activities: 0,
        pending_timers: 0,
        pending_children: 0,
        pending_signals: 0,
        pending_cancel_requests: 0,
        closes_children: false,
        workflow_task: None,
        dropped_task: None,
        next_workflow_task: 1,
        next_claim: 1,
        last_completed_started_event_id: 0,
        workflow_task_attempt: 1,
        sticky: None,
        last_completion: None,
        worker_version: None,
        reset_points: carried_reset_points(started.prev_auto_reset_points.as_ref()),
        cancel_requested: false,
        cancel_request_id: String::new(),
        close_attempted: false,
        first_task_pending: times.execution_at > times.started_at,
        last_completion_result: started.last_completion_result.as_ref().map(Proto::detached),
        continued_failure: started.continued_failure.as_ref().map(Proto::detached),
        quarantined: String::new(),
        updates: UpdateCounts::default(),
        reset_run_id: String::new(),
        reset_request_id: String::new(),
        original_started_at: now,
    }
}

fn run_times(started: &WorkflowExecutionStartedEventAttributes, now: Timestamp) -> RunTimes {
    let backoff = Span::from_proto(started.first_workflow_task_backoff.as_ref());
    let run_timeout = Span::from_proto(started.workflow_run_timeout.as_ref());
    let execution_expires_at = started
        .workflow_execution_expiration_time
        .as_ref()
        .map_or(Timestamp(0), Timestamp::from_proto);
    let mut run_expires_at = Timestamp(0);
    if !run_timeout.is_zero() {
        run_expires_at = now.after(backoff).after(run_timeout);
        if execution_expires_at != Timestamp(0) {
            run_expires_at = run_expires_at.min(execution_expires_at);
        }
    }
    RunTimes {
        started_at: now,
        execution_at: now.after(backoff),
        run_timeout,
        execution_timeout: Span::from_proto(started.workflow_execution_timeout.as_ref()),
        execution_expires_at,
        run_expires_at,
        task_timeout: Span::from_proto(started.workflow_task_timeout.as_ref()),
    }
}
