//! CONTINUE_AS_NEW_WORKFLOW_EXECUTION: the run ends and the next one begins in the same mutation.
//! The command inherits type, queue and time-outs; everything else is what it says.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Closing, Continuation, Execution, TASK_TIMEOUT_MAX};
use crate::retry;
use crate::search_attribute::{self, SearchAttributeError};
use crate::tables::RunTimes;
use crate::time::Span;
use prost::Message;
use steadfast_proto::temporal::command::v1::ContinueAsNewWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::common::v1::{RetryPolicy, SearchAttributes, WorkflowType};
use steadfast_proto::temporal::enums::v1::{
    ContinueAsNewInitiator, TaskQueueKind, WorkflowExecutionStatus,
    WorkflowTaskFailedCause as Cause,
};
use steadfast_proto::temporal::history::v1::{
    WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionStartedEventAttributes,
};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    mut attributes: ContinueAsNewWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    super::check_nothing_unhandled(completion)?;
    fill_in(execution, &mut attributes);
    let policy = check(execution, &attributes)?;
    let search_attributes = typed_search_attributes(completion, &attributes)?;
    let initiator = match ContinueAsNewInitiator::try_from(attributes.initiator) {
        Ok(ContinueAsNewInitiator::Unspecified) | Err(_) => ContinueAsNewInitiator::Workflow,
        Ok(known) => known,
    };
    let backoff = Span::from_proto(attributes.backoff_start_interval.as_ref());
    let continuation = Continuation {
        initiator,
        attempt: 1,
        backoff: execution.throttled(backoff),
        failure: attributes.failure.clone(),
        last_completion_result: attributes.last_completion_result.clone(),
    };
    let started = started_attributes(execution, &attributes, policy, search_attributes.clone());
    let next = execution.next_run(started, continuation)?;
    let new_execution_run_id = next.run_id().to_owned();
    completion.next_run = Some(next);
    #[expect(deprecated, reason = "Temporal still writes these fields")]
    let event = Attributes::WorkflowExecutionContinuedAsNewEventAttributes(
        WorkflowExecutionContinuedAsNewEventAttributes {
            new_execution_run_id: new_execution_run_id.clone(),
            workflow_type: attributes.workflow_type,
            task_queue: attributes.task_queue,
            input: attributes.input,
            workflow_run_timeout: attributes.workflow_run_timeout,
            workflow_task_timeout: attributes.workflow_task_timeout,
            workflow_task_completed_event_id: completion.completed_event_id,
            backoff_start_interval: attributes.backoff_start_interval,
            initiator: attributes.initiator,
            failure: attributes.failure,
            last_completion_result: attributes.last_completion_result,
            header: attributes.header,
            memo: attributes.memo,
            search_attributes,
            inherit_build_id: attributes.inherit_build_id,
            initial_versioning_behavior: attributes.initial_versioning_behavior,
        },
    );
    let status = WorkflowExecutionStatus::ContinuedAsNew;
    execution.close(Closing {
        status,
        event: head.event(event),
        new_execution_run_id,
    })?;
    Ok(())
}

/// Fills in what the command leaves out from the run, and caps the time-outs.
fn fill_in(
    execution: &Execution<'_, '_>,
    attributes: &mut ContinueAsNewWorkflowExecutionCommandAttributes,
) {
    let run = &execution.run;
    if attributes
        .workflow_type
        .as_ref()
        .is_none_or(|kind| kind.name.is_empty())
    {
        attributes.workflow_type = Some(WorkflowType {
            name: run.workflow_type.clone(),
        });
    }
    let named = attributes
        .task_queue
        .as_ref()
        .filter(|queue| !queue.name.is_empty());
    let name = named.map_or_else(|| run.task_queue.clone(), |queue| queue.name.clone());
    let kind = TaskQueueKind::Normal.into();
    attributes.task_queue = Some(TaskQueue {
        name,
        kind,
        normal_name: String::new(),
    });
    if retry::is_negative(attributes.workflow_run_timeout.as_ref())
        || retry::is_negative(attributes.workflow_task_timeout.as_ref())
    {
        return;
    }
    let asked = (
        Span::from_proto(attributes.workflow_run_timeout.as_ref()),
        Span::from_proto(attributes.workflow_task_timeout.as_ref()),
    );
    let (run_timeout, task_timeout) = timeouts(&run.times, asked);
    attributes.workflow_run_timeout = run_timeout.to_proto_if_set();
    attributes.workflow_task_timeout = task_timeout.to_proto_if_set();
}

fn timeouts(times: &RunTimes, (run_timeout, task_timeout): (Span, Span)) -> (Span, Span) {
    let mut run_timeout = if run_timeout.is_zero() {
        times.run_timeout
    } else {
        run_timeout
    };
    let whole = times.execution_timeout;
    if !whole.is_zero() {
        run_timeout = if run_timeout.is_zero() {
            whole
        } else {
            run_timeout.min(whole)
        };
    }
    let mut task_timeout = if task_timeout.is_zero() {
        times.task_timeout
    } else {
        task_timeout
    };
    task_timeout = task_timeout.min(TASK_TIMEOUT_MAX);
    if !run_timeout.is_zero() {
        task_timeout = task_timeout.min(run_timeout);
    }
    (run_timeout, task_timeout)
}

fn check(
    execution: &Execution<'_, '_>,
    attributes: &ContinueAsNewWorkflowExecutionCommandAttributes,
) -> Result<Option<RetryPolicy>, CommandError> {
    let type_name = attributes.workflow_type.clone().unwrap_or_default().name;
    let queue_name = attributes.task_queue.clone().unwrap_or_default().name;
    let place = format!(
        "WorkflowType={type_name} TaskQueue=name:{queue_name:?} kind:TASK_QUEUE_KIND_NORMAL"
    );
    let cause = Cause::BadContinueAsNewAttributes;
    let limits = execution.set.limits();
    let limit = limits.id_length_max;
    if type_name.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
        let length = type_name.len();
        let text = format!(
            "WorkflowType on ContinueAsNewWorkflowExecutionCommand exceeds length limit. WorkflowType={type_name} Length={length} Limit={limit}"
        );
        return Err(CommandError::bad(cause, text));
    }
    for (name, duration) in [
        ("WorkflowRunTimeout", &attributes.workflow_run_timeout),
        ("WorkflowTaskTimeout", &attributes.workflow_task_timeout),
        ("BackoffStartInterval", &attributes.backoff_start_interval),
    ] {
        if retry::is_negative(duration.as_ref()) {
            let text = format!(
                "Invalid {name} on ContinueAsNewWorkflowExecutionCommand: negative duration. {place}"
            );
            return Err(CommandError::bad(cause, text));
        }
    }
    let policy = attributes
        .retry_policy
        .as_ref()
        .map(|policy| retry::with_defaults(Some(policy)));
    if let Some(policy) = &policy
        && let Err(error) = retry::validate(policy)
    {
        let text = format!(
            "invalid WorkflowRetryPolicy on ContinueAsNewWorkflowExecutionCommand: {error}. {place}"
        );
        return Err(CommandError::bad(cause, text));
    }
    let size = attributes.input.as_ref().map_or(0, Message::encoded_len);
    let text = "ContinueAsNewWorkflowExecutionCommandAttributes. Input exceeds size limit.";
    super::check_blob(execution, size, cause, text)?;
    let size = attributes.memo.as_ref().map_or(0, Message::encoded_len);
    if u64::try_from(size).unwrap_or(u64::MAX) > limits.memo_bytes_max {
        let text = "ContinueAsNewWorkflowExecutionCommandAttributes. Memo exceeds size limit.";
        return Err(CommandError::too_large(cause, text));
    }
    Ok(policy)
}

fn typed_search_attributes(
    completion: &Completion<'_>,
    attributes: &ContinueAsNewWorkflowExecutionCommandAttributes,
) -> Result<Option<SearchAttributes>, CommandError> {
    let Some(given) = attributes.search_attributes.as_ref() else {
        return Ok(None);
    };
    let cause = Cause::BadSearchAttributes;
    match search_attribute::of_new_run(completion.namespace, &given.indexed_fields) {
        Ok(indexed_fields) => Ok(Some(SearchAttributes { indexed_fields })),
        Err(SearchAttributeError::TooLarge(text)) => Err(CommandError::too_large(cause, text)),
        Err(SearchAttributeError::Invalid(text)) if text.starts_with("invalid value") => {
            let type_name = attributes.workflow_type.clone().unwrap_or_default().name;
            let queue_name = attributes.task_queue.clone().unwrap_or_default().name;
            Err(CommandError::bad(
                cause,
                format!(
                    "invalid SearchAttributes on ContinueAsNewWorkflowExecutionCommand: {text}. WorkflowType={type_name} TaskQueue=name:{queue_name:?} kind:TASK_QUEUE_KIND_NORMAL"
                ),
            ))
        }
        Err(SearchAttributeError::Invalid(text)) => Err(CommandError::bad(cause, text)),
    }
}

fn started_attributes(
    execution: &Execution<'_, '_>,
    attributes: &ContinueAsNewWorkflowExecutionCommandAttributes,
    retry_policy: Option<RetryPolicy>,
    search_attributes: Option<SearchAttributes>,
) -> WorkflowExecutionStartedEventAttributes {
    let times = &execution.run.times;
    let expires =
        (times.execution_expires_at.0 != 0).then(|| times.execution_expires_at.to_proto());
    WorkflowExecutionStartedEventAttributes {
        workflow_type: attributes.workflow_type.clone(),
        task_queue: attributes.task_queue.clone(),
        input: attributes.input.clone(),
        workflow_execution_timeout: times.execution_timeout.to_proto_if_set(),
        workflow_run_timeout: attributes.workflow_run_timeout,
        workflow_task_timeout: attributes.workflow_task_timeout,
        workflow_execution_expiration_time: expires,
        retry_policy,
        cron_schedule: attributes.cron_schedule.clone(),
        memo: attributes.memo.clone(),
        search_attributes,
        header: attributes.header.clone(),
        priority: execution
            .run
            .priority
            .as_ref()
            .map(|priority| priority.0.clone()),
        ..WorkflowExecutionStartedEventAttributes::default()
    }
}
