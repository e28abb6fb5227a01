//! RespondWorkflowTaskCompleted: the commands are applied all together or not at all.

use super::workflow_task_of::{load, task_not_found};
use crate::command::{
    CommandError, Completion, apply_command, apply_remaining_messages, check_sequence, failure_text,
};
use crate::effect::AssignedTask;
use crate::event::Attributes;
use crate::execution::{Execution, HISTORY_SERVICE, TaskFailure, activity, namespace_by_number};
use crate::id::WorkerVersion;
use crate::mutation::TaskToken;
use crate::reply::{Fault, Refusal, Reply, Stop};
use crate::tables::{
    LastCompletion, Namespace, StickyQueue, WorkflowTask, WorkflowTaskKind, WriteSet,
};
use crate::time::{Span, Timestamp};
use std::collections::BTreeSet;
use steadfast_proto::temporal::deployment::v1::WorkerDeploymentVersion;
use steadfast_proto::temporal::enums::v1::{
    TimeoutType, WorkerVersioningMode, WorkflowTaskFailedCause,
};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{Failure, ServerFailureInfo};
use steadfast_proto::temporal::history::v1::WorkflowTaskCompletedEventAttributes;
use steadfast_proto::temporal::workflowservice::v1::RespondWorkflowTaskCompletedRequest;

/// A workflow task may be prolonged by heartbeats for this long; then it times out.
const HEARTBEAT_MAX: Span = Span::seconds(30 * 60);

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    token: &TaskToken,
    request: &RespondWorkflowTaskCompletedRequest,
) -> Result<Reply, Stop> {
    let execution = load(set, token, &request.namespace)?;
    if !execution.is_open() {
        return Err(task_not_found().into());
    }
    if let Some(reply) = same_answer(&execution, token)? {
        return Ok(reply);
    }
    if !execution.is_started_by(token.claim) {
        return Err(task_not_found().into());
    }
    check_sequence(&request.commands)?;
    if is_heartbeat(request) && heartbeat_is_over(&execution) {
        return time_out(execution);
    }
    let attempt = execution
        .run
        .workflow_task
        .as_ref()
        .map_or(1, |task| task.attempt);
    let namespace = namespace_by_number(execution.set, execution.run.run.namespace)?;
    match complete(execution, &namespace, token, request) {
        Ok(reply) => Ok(reply),
        Err(CommandError::Stop(Stop::Refused(refusal))) => {
            set.rollback();
            offer_again(set, token, &request.namespace, refusal)
        }
        Err(CommandError::Stop(stop)) => Err(stop),
        Err(CommandError::Bad { cause, message }) => {
            let text = failure_text(cause, &message);
            if attempt > 1 && cause != WorkflowTaskFailedCause::UnhandledCommand {
                // A series of bad answers waits for the growing time-out, and leaves no events.
                set.rollback();
                return drop_answer(set, token, &request.namespace, text);
            }
            set.rollback();
            fail(set, token, request, cause, &text, false)
        }
        Err(CommandError::TooLarge { cause, message }) => {
            set.rollback();
            fail(
                set,
                token,
                request,
                cause,
                &failure_text(cause, &message),
                true,
            )
        }
    }
}

/// A completion that was accepted before gets the answer of then: a lost reply loses no task.
fn same_answer(execution: &Execution<'_, '_>, token: &TaskToken) -> Result<Option<Reply>, Fault> {
    let Some(last) = execution
        .run
        .last_completion
        .as_ref()
        .filter(|last| last.claim == token.claim)
    else {
        return Ok(None);
    };
    let again = if execution.is_started_by(last.new_task_claim) {
        execution.assigned_again()?
    } else {
        None
    };
    let new_task = again.map(|mut task| {
        task.sticky = true;
        Box::new(AssignedTask::Workflow(task))
    });
    let mut eager_activities = Vec::new();
    for scheduled_event_id in &last.eager_activities {
        eager_activities.extend(activity::assigned_again(execution, *scheduled_event_id)?);
    }
    Ok(Some(Reply::WorkflowTaskCompleted {
        new_task,
        eager_activities,
        reset_history_event_id: last.reset_history_event_id,
    }))
}

fn is_heartbeat(request: &RespondWorkflowTaskCompletedRequest) -> bool {
    request.force_create_new_workflow_task
        && request.commands.is_empty()
        && request.messages.is_empty()
}

fn heartbeat_is_over(execution: &Execution<'_, '_>) -> bool {
    let since = execution
        .run
        .workflow_task
        .as_ref()
        .map(|task| task.original_scheduled_at);
    since.is_some_and(|since| execution.set.now.since(since) > HEARTBEAT_MAX)
}

fn time_out(mut execution: Execution<'_, '_>) -> Result<Reply, Stop> {
    execution.time_out_workflow_task(TimeoutType::StartToClose);
    execution.schedule_workflow_task()?;
    execution.finish()?;
    let text = "workflow task heartbeat timeout".to_owned();
    Err(Stop::RefusedWithChanges(Refusal::NotFound(text)))
}

fn complete(
    mut execution: Execution<'_, '_>,
    namespace: &Namespace,
    token: &TaskToken,
    request: &RespondWorkflowTaskCompletedRequest,
) -> Result<Reply, CommandError> {
    let discards = execution.discards_speculative_task(request);
    let since = execution
        .run
        .workflow_task
        .as_ref()
        .map(|task| task.original_scheduled_at);
    let completed_event_id = if discards {
        execution.discard_speculative_task();
        execution.set_sticky(sticky_queue(request));
        0
    } else {
        let Some(task) = execution.end_completed_task() else {
            return Err(task_not_found().into());
        };
        let completed_event_id = execution.add_event(completed_attributes(&task, request));
        remember_worker(&mut execution, request, completed_event_id);
        completed_event_id
    };
    let mut completion = Completion {
        request,
        namespace,
        completed_event_id,
        eager_activities: Vec::new(),
        unhandled_events: execution.has_buffered_events(),
        needs_task: request.force_create_new_workflow_task,
        initiated_children: BTreeSet::new(),
        next_run: None,
        taken_messages: BTreeSet::new(),
        answered_updates: BTreeSet::new(),
    };
    for command in &request.commands {
        if execution.set.is_full() {
            let text = "the workflow task completion has too many commands".to_owned();
            return Err(Refusal::InvalidArgument(text).into());
        }
        apply_command(&mut execution, &mut completion, command.clone())?;
    }
    apply_remaining_messages(&mut execution, &mut completion)?;
    if execution.is_open() && !request.force_create_new_workflow_task {
        execution.reject_unprocessed_updates()?;
    }
    let heartbeat = since.filter(|_| is_heartbeat(request));
    let new_task = schedule_next(&mut execution, request, completion.needs_task, heartbeat)?;
    let new_task_claim = new_task.as_ref().map_or(0, |(_, claim)| *claim);
    let (eager_activities, next_run) = (completion.eager_activities, completion.next_run);
    let reset_history_event_id = if discards {
        execution.run.last_completed_started_event_id
    } else {
        0
    };
    execution.run.last_completion = Some(LastCompletion {
        claim: token.claim,
        new_task_claim,
        eager_activities: eager_activities.iter().map(scheduled_event_id).collect(),
        reset_history_event_id,
    });
    let set = execution.finish_into_set()?;
    if let Some(next_run) = next_run {
        next_run.open(set)?;
    }
    Ok(Reply::WorkflowTaskCompleted {
        new_task: new_task.map(|(task, _)| task),
        eager_activities,
        reset_history_event_id,
    })
}

fn scheduled_event_id(task: &AssignedTask) -> i64 {
    match task {
        AssignedTask::Workflow(task) => task.token.scheduled_event_id,
        AssignedTask::Activity(task) => task.token.scheduled_event_id,
    }
}

type NewTask = Option<(Box<AssignedTask>, u64)>;

/// Schedules the next workflow task, when there is something to tell; it rides in the answer when
/// the worker wants that. Updates that came meanwhile need no more than a speculative one then.
fn schedule_next(
    execution: &mut Execution<'_, '_>,
    request: &RespondWorkflowTaskCompletedRequest,
    needs_task: bool,
    heartbeat_since: Option<Timestamp>,
) -> Result<NewTask, Fault> {
    if !execution.is_open() {
        return Ok(None);
    }
    let inline = request.return_new_workflow_task;
    if needs_task || execution.has_buffered_events() {
        let since = heartbeat_since.unwrap_or(execution.set.now);
        execution.schedule_workflow_task_since(since)?;
    } else if execution.has_unanswered_updates()? {
        if inline {
            execution.schedule_speculative_task()?;
        } else {
            execution.schedule_workflow_task()?;
        }
    } else {
        return Ok(None);
    }
    if !inline || execution.run.workflow_task.is_none() {
        return Ok(None);
    }
    let heartbeat = request.force_create_new_workflow_task;
    let mut task = execution.start_workflow_task_inline(&request.identity, heartbeat)?;
    // The worker has the workflow in memory: it gets what came since.
    task.sticky = true;
    let claim = task.token.claim;
    Ok(Some((Box::new(AssignedTask::Workflow(task)), claim)))
}

#[expect(
    deprecated,
    reason = "workers still send these fields and they are written into the event"
)]
fn completed_attributes(
    task: &WorkflowTask,
    request: &RespondWorkflowTaskCompletedRequest,
) -> Attributes {
    let deployment = request.deployment_options.as_ref().filter(|options| {
        options.worker_versioning_mode == i32::from(WorkerVersioningMode::Versioned)
    });
    let version = deployment.map(|options| WorkerDeploymentVersion {
        deployment_name: options.deployment_name.clone(),
        build_id: options.build_id.clone(),
    });
    let version_text = version
        .as_ref()
        .map(|version| format!("{}.{}", version.deployment_name, version.build_id))
        .unwrap_or_default();
    Attributes::WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        identity: request.identity.clone(),
        binary_checksum: request.binary_checksum.clone(),
        worker_version: request.worker_version_stamp.clone(),
        sdk_metadata: request.sdk_metadata.clone(),
        metering_metadata: request.metering_metadata,
        deployment: request.deployment.clone(),
        versioning_behavior: request.versioning_behavior,
        worker_deployment_version: version_text,
        worker_deployment_name: deployment
            .map(|options| options.deployment_name.clone())
            .unwrap_or_default(),
        deployment_version: version,
    })
}

fn sticky_queue(request: &RespondWorkflowTaskCompletedRequest) -> Option<StickyQueue> {
    let sticky = request.sticky_attributes.as_ref()?;
    let name = sticky.worker_task_queue.as_ref()?.name.clone();
    let schedule_to_start = Span::from_proto(sticky.schedule_to_start_timeout.as_ref());
    (!name.is_empty()).then_some(StickyQueue {
        name,
        schedule_to_start,
    })
}

/// The worker's own queue and version, as it says them with each completion.
#[expect(deprecated, reason = "workers still send the stamp and the checksum")]
fn remember_worker(
    execution: &mut Execution<'_, '_>,
    request: &RespondWorkflowTaskCompletedRequest,
    completed_event_id: i64,
) {
    execution.set_sticky(sticky_queue(request));
    let stamp = request.worker_version_stamp.as_ref();
    let options = request.deployment_options.as_ref();
    let mut version = WorkerVersion {
        build_id: stamp
            .map(|stamp| stamp.build_id.clone())
            .unwrap_or_default(),
        use_versioning: stamp.is_some_and(|stamp| stamp.use_versioning),
        deployment_name: options
            .map(|options| options.deployment_name.clone())
            .unwrap_or_default(),
    };
    if let Some(options) = options
        && version.build_id.is_empty()
    {
        version.build_id.clone_from(&options.build_id);
    }
    execution.note_build_id(
        stamp
            .filter(|stamp| !stamp.use_versioning)
            .map(|stamp| stamp.build_id.as_str()),
    );
    execution.set_worker_version(version);
    let build_id = stamp.map_or("", |stamp| &stamp.build_id);
    execution.note_reset_point(&request.binary_checksum, build_id, completed_event_id);
}

/// The answer is no answer at all. A speculative task is offered again, as in Temporal, whose
/// server forgets it then; any other one stays with its worker.
fn offer_again(
    set: &mut WriteSet<'_>,
    token: &TaskToken,
    namespace: &str,
    refusal: Refusal,
) -> Result<Reply, Stop> {
    let mut execution = load(set, token, namespace)?;
    let task = execution.run.workflow_task.as_ref();
    if task.is_none_or(|task| task.kind != WorkflowTaskKind::Speculative) {
        return Err(refusal.into());
    }
    execution.discard_speculative_task();
    execution.schedule_speculative_task()?;
    execution.finish()?;
    Err(Stop::RefusedWithChanges(refusal))
}

/// A bad answer to a task that failed before is dropped, but the updates that it was for are given
/// up.
fn drop_answer(
    set: &mut WriteSet<'_>,
    token: &TaskToken,
    namespace: &str,
    text: String,
) -> Result<Reply, Stop> {
    let mut execution = load(set, token, namespace)?;
    if !execution.abort_sent_updates()? {
        return Err(Refusal::InvalidArgument(text).into());
    }
    execution.leave_no_trace();
    execution.finish()?;
    Err(Stop::RefusedWithChanges(Refusal::InvalidArgument(text)))
}

/// The task fails because of a command; the call is refused, and the state changes all the same.
fn fail(
    set: &mut WriteSet<'_>,
    token: &TaskToken,
    request: &RespondWorkflowTaskCompletedRequest,
    cause: WorkflowTaskFailedCause,
    text: &str,
    terminate: bool,
) -> Result<Reply, Stop> {
    let mut execution = load(set, token, &request.namespace)?;
    #[expect(
        deprecated,
        reason = "workers still send it and it is written into the event"
    )]
    let binary_checksum = request.binary_checksum.clone();
    let failure = Failure {
        message: text.to_owned(),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo::default())),
        ..Failure::default()
    };
    execution.abort_sent_updates()?;
    execution.fail_workflow_task(TaskFailure {
        cause: cause.into(),
        failure: Some(failure),
        identity: request.identity.clone(),
        binary_checksum,
    });
    if terminate {
        execution.terminate(text, None, HISTORY_SERVICE, Vec::new())?;
    } else {
        execution.run.close_attempted = cause == WorkflowTaskFailedCause::UnhandledCommand;
        execution.schedule_workflow_task()?;
    }
    execution.finish()?;
    Err(Stop::RefusedWithChanges(Refusal::InvalidArgument(
        text.to_owned(),
    )))
}
