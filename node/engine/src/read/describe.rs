//! What a run shows of itself: describe, and the entry of a list.

use super::target::StoredActivity;
use crate::id::NamespaceNumber;
use crate::reply::Fault;
use crate::tables::keys::{activity_prefix, child_prefix, prefix_end};
use crate::tables::{
    Activity, ActivityState, Child, Namespace, Record, Run, Tables, WorkflowTaskPhase,
};
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;
use steadfast_proto::temporal::activity::v1::ActivityOptions;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::enums::v1::{
    EventType, PendingActivityState, PendingWorkflowTaskState, TaskQueueKind,
    WorkflowExecutionStatus,
};
use steadfast_proto::temporal::namespace::v1 as namespace_wire;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflow::v1 as workflow;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// Pending activities that are described at most; twice the default limit of pending ones.
const ACTIVITIES_MAX: usize = 4_000;
/// Pending children that are described at most; twice the default limit of pending ones.
const CHILDREN_MAX: usize = 4_000;

/// DescribeWorkflowExecution's answer.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn workflow_execution(
    tables: &dyn Tables,
    run: &Run,
    parent_namespace_id: String,
) -> Result<wire::DescribeWorkflowExecutionResponse, Fault> {
    let prefix = activity_prefix(&run.run);
    let pending_activities = if run.pending_activities == 0 {
        Vec::new()
    } else {
        tables
            .scan(&prefix, &prefix_end(&prefix), ACTIVITIES_MAX, false)?
            .into_iter()
            .map(|(_, record)| {
                StoredActivity::new(record).map(|activity| pending_activity(&activity))
            })
            .collect::<Result<_, _>>()?
    };
    let pending_children = pending_children(tables, run)?;
    let mut info = execution_info(run);
    info.auto_reset_points =
        (!run.reset_points.is_empty()).then(|| crate::execution::reset_points(run));
    info.history_length = run.next_event_id - 1;
    info.history_size_bytes = run.history_bytes;
    info.state_transition_count = run.state_transitions;
    info.parent_namespace_id = parent_namespace_id;
    info.first_run_id.clone_from(&run.first_execution_run_id);
    info.execution_duration = run
        .close
        .as_ref()
        .map(|close| close.at.since(run.times.execution_at).to_proto());
    Ok(wire::DescribeWorkflowExecutionResponse {
        execution_config: Some(execution_config(run)),
        workflow_execution_info: Some(info),
        pending_activities,
        pending_children,
        pending_workflow_task: pending_workflow_task(run),
        workflow_extended_info: Some(extended_info(run)),
        ..Default::default()
    })
}

fn pending_children(
    tables: &dyn Tables,
    run: &Run,
) -> Result<Vec<workflow::PendingChildExecutionInfo>, Fault> {
    if run.pending_children == 0 {
        return Ok(Vec::new());
    }
    let prefix = child_prefix(&run.run);
    let found = tables.scan(&prefix, &prefix_end(&prefix), CHILDREN_MAX, false)?;
    let info = |child: &Child| workflow::PendingChildExecutionInfo {
        workflow_id: child.workflow_id.clone(),
        run_id: child.run_id.clone(),
        workflow_type_name: child.workflow_type.clone(),
        initiated_id: child.initiated_event_id,
        parent_close_policy: child.parent_close_policy,
    };
    found
        .into_iter()
        .map(|(_, record)| match record.as_ref() {
            Record::Child(child) => Ok(info(child)),
            other => Err(crate::tables::wrong_record(other)),
        })
        .collect()
}

/// What lists and describe both tell of a run; counters are left to the caller.
#[must_use]
pub fn execution_info(run: &Run) -> workflow::WorkflowExecutionInfo {
    let execution = execution(&run.run.workflow_id, &run.run_id);
    let root = run.parent.as_ref().map_or_else(
        || execution.clone(),
        |parent| self::execution(&parent.root.0, &parent.root.1),
    );
    let fields: BTreeMap<_, _> = run
        .memo
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    let indexed_fields: BTreeMap<_, _> = run
        .search_attributes
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    workflow::WorkflowExecutionInfo {
        execution: Some(execution),
        r#type: Some(common::WorkflowType {
            name: run.workflow_type.clone(),
        }),
        start_time: Some(run.times.started_at.to_proto()),
        close_time: run.close.as_ref().map(|close| close.at.to_proto()),
        status: run.status,
        parent_execution: run
            .parent
            .as_ref()
            .map(|parent| self::execution(&parent.run.workflow_id, &parent.run_id)),
        execution_time: Some(run.times.execution_at.to_proto()),
        memo: (!fields.is_empty()).then_some(common::Memo { fields }),
        search_attributes: (!indexed_fields.is_empty())
            .then_some(common::SearchAttributes { indexed_fields }),
        task_queue: run.task_queue.clone(),
        root_execution: Some(root),
        priority: run.priority.as_ref().map(|priority| priority.0.clone()),
        ..Default::default()
    }
}

/// The namespace that a run's parent lives in, if it has one.
#[must_use]
pub fn parent_namespace(run: &Run) -> Option<NamespaceNumber> {
    run.parent.as_ref().map(|parent| parent.run.namespace)
}

fn execution(workflow_id: &str, run_id: &str) -> common::WorkflowExecution {
    common::WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    }
}

fn execution_config(run: &Run) -> workflow::WorkflowExecutionConfig {
    workflow::WorkflowExecutionConfig {
        task_queue: Some(TaskQueue {
            name: run.task_queue.clone(),
            kind: TaskQueueKind::Normal.into(),
            normal_name: String::new(),
        }),
        workflow_execution_timeout: Some(run.times.execution_timeout.to_proto()),
        workflow_run_timeout: Some(run.times.run_timeout.to_proto()),
        default_workflow_task_timeout: Some(run.times.task_timeout.to_proto()),
        user_metadata: run
            .user_metadata
            .as_ref()
            .map(|metadata| metadata.0.clone()),
    }
}

fn pending_workflow_task(run: &Run) -> Option<workflow::PendingWorkflowTaskInfo> {
    let task = run.workflow_task.as_ref().or(run.dropped_task.as_ref())?;
    let (state, started_time) = match task.phase {
        WorkflowTaskPhase::Scheduled { .. } => (PendingWorkflowTaskState::Scheduled, None),
        WorkflowTaskPhase::Started { at, .. } => {
            (PendingWorkflowTaskState::Started, Some(at.to_proto()))
        }
    };
    Some(workflow::PendingWorkflowTaskInfo {
        state: state.into(),
        scheduled_time: Some(task.scheduled_at.to_proto()),
        original_scheduled_time: Some(task.original_scheduled_at.to_proto()),
        started_time,
        attempt: task.attempt,
    })
}

fn extended_info(run: &Run) -> workflow::WorkflowExecutionExtendedInfo {
    let started = workflow::RequestIdInfo {
        event_type: EventType::WorkflowExecutionStarted.into(),
        event_id: 1,
        buffered: false,
    };
    let is_reset_run = run.original_execution_run_id != run.run_id;
    workflow::WorkflowExecutionExtendedInfo {
        execution_expiration_time: set(run.times.execution_expires_at),
        run_expiration_time: set(run.times.run_expires_at),
        cancel_requested: run.cancel_requested,
        original_start_time: Some(run.original_started_at.to_proto()),
        last_reset_time: is_reset_run.then(|| run.times.started_at.to_proto()),
        reset_run_id: run.reset_run_id.clone(),
        request_id_infos: BTreeMap::from([(run.start_request_id.clone(), started)]),
        ..Default::default()
    }
}

fn pending_activity(activity: &Activity) -> workflow::PendingActivityInfo {
    let scheduled = &activity.scheduled;
    let state = match activity.state {
        ActivityState::Started { .. } if activity.cancel_requested_event_id != 0 => {
            PendingActivityState::CancelRequested
        }
        ActivityState::Started { .. } => PendingActivityState::Started,
        ActivityState::Queued { .. } | ActivityState::Backoff { .. } => {
            PendingActivityState::Scheduled
        }
    };
    let mut info = workflow::PendingActivityInfo {
        activity_id: scheduled.activity_id.clone(),
        activity_type: scheduled.activity_type.clone(),
        state: state.into(),
        heartbeat_details: activity
            .heartbeat_details
            .as_ref()
            .map(|details| details.0.clone()),
        last_heartbeat_time: set(activity.heartbeat_at),
        attempt: activity.attempt,
        maximum_attempts: scheduled
            .retry_policy
            .as_ref()
            .map_or(0, |policy| policy.maximum_attempts),
        last_failure: activity
            .last_failure
            .as_ref()
            .map(|failure| failure.0.clone()),
        last_worker_identity: activity.last_worker_identity.clone(),
        last_attempt_complete_time: set(activity.last_attempt_completed_at),
        priority: scheduled.priority.clone(),
        activity_options: Some(activity_options(activity)),
        ..Default::default()
    };
    if !activity.schedule_to_close.is_zero() {
        info.expiration_time = Some(
            activity
                .scheduled_at
                .after(activity.schedule_to_close)
                .to_proto(),
        );
    }
    match activity.state {
        ActivityState::Queued { .. } => {
            info.scheduled_time = Some(activity.attempt_scheduled_at.to_proto())
        }
        ActivityState::Backoff { until } => {
            info.scheduled_time = Some(activity.attempt_scheduled_at.to_proto());
            info.next_attempt_schedule_time = Some(until.to_proto());
            let interval = until.since(activity.last_attempt_completed_at);
            info.current_retry_interval = Some(interval.to_proto());
        }
        ActivityState::Started { at } => {
            info.scheduled_time = Some(activity.attempt_scheduled_at.to_proto());
            info.last_started_time = Some(at.to_proto());
            info.last_worker_identity
                .clone_from(&activity.started_identity);
        }
    }
    info
}

fn activity_options(activity: &Activity) -> ActivityOptions {
    let scheduled = &activity.scheduled;
    let name = scheduled
        .task_queue
        .as_ref()
        .map(|queue| queue.name.clone())
        .unwrap_or_default();
    ActivityOptions {
        task_queue: Some(TaskQueue {
            name: name.clone(),
            kind: 0,
            normal_name: name,
        }),
        schedule_to_close_timeout: span(activity.schedule_to_close),
        schedule_to_start_timeout: span(activity.schedule_to_start),
        start_to_close_timeout: span(activity.start_to_close),
        heartbeat_timeout: span(activity.heartbeat),
        retry_policy: scheduled.retry_policy.clone(),
        priority: scheduled.priority.clone(),
        start_delay: None,
    }
}

fn span(span: Span) -> Option<prost_types::Duration> {
    span.to_proto_if_set()
}

fn set(at: Timestamp) -> Option<prost_types::Timestamp> {
    (at.0 != 0).then(|| at.to_proto())
}

/// What a namespace shows of itself; the capabilities are the caller's to add.
#[must_use]
pub fn namespace_info(namespace: &Namespace) -> namespace_wire::NamespaceInfo {
    namespace_wire::NamespaceInfo {
        name: namespace.name.clone(),
        state: namespace.state,
        description: namespace.description.clone(),
        owner_email: namespace.owner_email.clone(),
        data: namespace.data.clone(),
        id: namespace.id.clone(),
        ..Default::default()
    }
}

/// Whether a status is one of a closed run.
#[must_use]
pub fn is_closed(status: i32) -> bool {
    status != i32::from(WorkflowExecutionStatus::Running)
        && status != i32::from(WorkflowExecutionStatus::Paused)
}
