//! START_CHILD_WORKFLOW_EXECUTION.

use super::target_namespace::target_namespace;
use super::{CommandError, CommandHead, Completion};
use crate::cron;
use crate::event::Attributes;
use crate::execution::{Execution, start_timeouts};
use crate::id::{NamespaceNumber, uuid_text};
use crate::priority;
use crate::proto::Proto;
use crate::retry;
use crate::search_attribute::{self, SearchAttributeError};
use crate::tables::{Child, Namespace, StartChild};
use crate::time::Span;
use prost::Message;
use steadfast_proto::temporal::command::v1::StartChildWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::common::v1::{RetryPolicy, SearchAttributes};
use steadfast_proto::temporal::enums::v1::{
    ParentClosePolicy, TaskQueueKind, WorkflowIdReusePolicy, WorkflowTaskFailedCause as Cause,
};
use steadfast_proto::temporal::history::v1::StartChildWorkflowExecutionInitiatedEventAttributes;
use steadfast_proto::temporal::sdk::v1::UserMetadata;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

const CAUSE: Cause = Cause::BadStartChildExecutionAttributes;

/// Writes the initiated event, with time-outs and policies filled in, and asks for the start.
#[expect(deprecated, reason = "SDKs still name the namespace")]
pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: StartChildWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let namespace = target_namespace(execution, completion, &attributes.namespace, CAUSE)?;
    let retry_policy = check(execution, &namespace, &attributes)?;
    let search_attributes = typed_search_attributes(&namespace, &attributes)?;
    check_sizes(execution, &attributes)?;
    let (pending, pending_max) = (
        execution.run.pending_children,
        execution.set.limits().pending_children_max,
    );
    if pending >= pending_max {
        let text = format!(
            "the number of pending child workflow executions, {pending}, has reached the per-workflow limit of {pending_max}"
        );
        let cause = Cause::PendingChildWorkflowsLimitExceeded;
        return Err(CommandError::bad(cause, text));
    }
    let initiated = StartChildWorkflowExecutionInitiatedEventAttributes {
        retry_policy,
        search_attributes,
        ..initiated(execution, completion, &namespace, attributes)
    };
    let user_metadata = head.user_metadata.as_ref().map(Proto::detached);
    let event = Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(initiated.clone());
    let initiated_event_id = execution.add_event(head.event(event));
    let child = Child::of(initiated_event_id, namespace, &initiated);
    completion
        .initiated_children
        .insert(child.workflow_id.clone());
    let start = message(execution, child.namespace, &initiated, user_metadata);
    execution.initiate_child(child, start);
    Ok(())
}

/// The request for a child's start, after its initiated event.
pub(crate) fn message(
    execution: &mut Execution<'_, '_>,
    namespace: NamespaceNumber,
    initiated: &StartChildWorkflowExecutionInitiatedEventAttributes,
    user_metadata: Option<Proto<UserMetadata>>,
) -> StartChild {
    let own_priority = execution.run.priority.as_ref().map(|priority| &priority.0);
    StartChild {
        namespace,
        priority: priority::merged(initiated.priority.as_ref(), own_priority).map(Proto),
        request_id: uuid_text(&execution.set.draw()),
        initiated: Proto::detached(initiated),
        user_metadata,
        parent_run_id: execution.run.run_id.clone(),
        root: execution.root(),
    }
}

#[expect(
    deprecated,
    reason = "SDKs still send `control` and `inherit_build_id`"
)]
fn initiated(
    execution: &Execution<'_, '_>,
    completion: &Completion<'_>,
    namespace: &Namespace,
    attributes: StartChildWorkflowExecutionCommandAttributes,
) -> StartChildWorkflowExecutionInitiatedEventAttributes {
    let execution_timeout = Span::from_proto(attributes.workflow_execution_timeout.as_ref());
    let (run_timeout, task_timeout) = start_timeouts(
        execution_timeout,
        Span::from_proto(attributes.workflow_run_timeout.as_ref()),
        Span::from_proto(attributes.workflow_task_timeout.as_ref()),
    );
    let named = attributes.task_queue.filter(|queue| !queue.name.is_empty());
    let name = named.map_or_else(|| execution.run.task_queue.clone(), |queue| queue.name);
    let kind = TaskQueueKind::Normal.into();
    let parent_close_policy = if attributes.parent_close_policy == 0 {
        ParentClosePolicy::Terminate.into()
    } else {
        attributes.parent_close_policy
    };
    let workflow_id_reuse_policy = if attributes.workflow_id_reuse_policy == 0 {
        WorkflowIdReusePolicy::AllowDuplicate.into()
    } else {
        attributes.workflow_id_reuse_policy
    };
    StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace: namespace.name.clone(),
        namespace_id: namespace.id.clone(),
        workflow_id: attributes.workflow_id,
        workflow_type: attributes.workflow_type,
        task_queue: Some(TaskQueue {
            name,
            kind,
            normal_name: String::new(),
        }),
        input: attributes.input,
        workflow_execution_timeout: execution_timeout.to_proto_if_set(),
        workflow_run_timeout: run_timeout.to_proto_if_set(),
        workflow_task_timeout: Some(task_timeout.to_proto()),
        parent_close_policy,
        control: attributes.control,
        workflow_task_completed_event_id: completion.completed_event_id,
        workflow_id_reuse_policy,
        cron_schedule: attributes.cron_schedule,
        header: attributes.header,
        memo: attributes.memo,
        inherit_build_id: attributes.inherit_build_id,
        priority: attributes.priority,
        ..StartChildWorkflowExecutionInitiatedEventAttributes::default()
    }
}

fn check(
    execution: &Execution<'_, '_>,
    namespace: &Namespace,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
) -> Result<Option<RetryPolicy>, CommandError> {
    let limit = execution.set.limits().id_length_max;
    check_names(namespace, attributes, limit).map_err(|text| CommandError::bad(CAUSE, text))?;
    let place = place(namespace, attributes);
    let bad = |text: String| CommandError::bad(CAUSE, format!("{text}. {place}"));
    for (name, duration) in [
        (
            "WorkflowExecutionTimeout",
            &attributes.workflow_execution_timeout,
        ),
        ("WorkflowRunTimeout", &attributes.workflow_run_timeout),
        ("WorkflowTaskTimeout", &attributes.workflow_task_timeout),
    ] {
        if retry::is_negative(duration.as_ref()) {
            let text = "on StartChildWorkflowExecutionCommand: negative duration";
            return Err(bad(format!("Invalid {name} {text}")));
        }
    }
    let policy = attributes
        .retry_policy
        .as_ref()
        .map(|policy| retry::with_defaults(Some(policy)));
    if let Some(Err(error)) = policy.as_ref().map(retry::validate) {
        let text = "invalid WorkflowRetryPolicy on StartChildWorkflowExecutionCommand";
        return Err(bad(format!("{text}: {error}")));
    }
    if !attributes.cron_schedule.is_empty()
        && let Err(error) = cron::validate(&attributes.cron_schedule)
    {
        let text = "invalid CronSchedule on StartChildWorkflowExecutionCommand";
        return Err(bad(format!("{text}: {error}")));
    }
    priority::validate(attributes.priority.as_ref())
        .map_err(|text| CommandError::bad(CAUSE, text))?;
    let queue = attributes
        .task_queue
        .as_ref()
        .map_or(0, |queue| queue.name.len());
    if u64::try_from(queue).unwrap_or(u64::MAX) > limit {
        let text = "Invalid TaskQueue name on StartChildWorkflowExecutionCommand";
        return Err(bad(format!("{text}: taskQueue length exceeds limit")));
    }
    Ok(policy)
}

fn check_names(
    namespace: &Namespace,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
    limit: u64,
) -> Result<(), String> {
    let (id, namespace) = (&attributes.workflow_id, &namespace.name);
    let name = attributes.workflow_type.clone().unwrap_or_default().name;
    if id.is_empty() {
        return Err(format!(
            "Required field WorkflowId is not set on StartChildWorkflowExecutionCommand. WorkflowType={name} Namespace={namespace}"
        ));
    }
    if name.is_empty() {
        return Err(format!(
            "Required field WorkflowType is not set on StartChildWorkflowExecutionCommand. WorkflowId={id} Namespace={namespace}"
        ));
    }
    if u64::try_from(id.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!(
            "WorkflowId on StartChildWorkflowExecutionCommand exceeds length limit. WorkflowId={id} Length={} Limit={limit} WorkflowType={name} Namespace={namespace}",
            id.len()
        ));
    }
    if u64::try_from(name.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!(
            "WorkflowType on StartChildWorkflowExecutionCommand exceeds length limit. WorkflowId={id} WorkflowType={name} Length={} Limit={limit} Namespace={namespace}",
            name.len()
        ));
    }
    Ok(())
}

fn place(
    namespace: &Namespace,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
) -> String {
    let name = attributes.workflow_type.clone().unwrap_or_default().name;
    format!(
        "WorkflowId={} WorkflowType={name} Namespace={}",
        attributes.workflow_id, namespace.name
    )
}

fn check_sizes(
    execution: &Execution<'_, '_>,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
) -> Result<(), CommandError> {
    let size = attributes.input.as_ref().map_or(0, Message::encoded_len);
    let text = "StartChildWorkflowExecutionCommandAttributes. Input exceeds size limit.";
    super::check_blob(execution, size, CAUSE, text)?;
    let size = attributes.memo.as_ref().map_or(0, Message::encoded_len);
    if u64::try_from(size).unwrap_or(u64::MAX) > execution.set.limits().memo_bytes_max {
        let text = "StartChildWorkflowExecutionCommandAttributes.Memo exceeds size limit.";
        return Err(CommandError::too_large(CAUSE, text));
    }
    Ok(())
}

fn typed_search_attributes(
    namespace: &Namespace,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
) -> Result<Option<SearchAttributes>, CommandError> {
    let Some(given) = attributes.search_attributes.as_ref() else {
        return Ok(None);
    };
    let cause = Cause::BadSearchAttributes;
    match search_attribute::of_new_run(namespace, &given.indexed_fields) {
        Ok(indexed_fields) => Ok(Some(SearchAttributes { indexed_fields })),
        Err(SearchAttributeError::TooLarge(text)) => Err(CommandError::too_large(cause, text)),
        Err(SearchAttributeError::Invalid(text)) if text.starts_with("invalid value") => {
            let place = place(namespace, attributes);
            let text =
                format!("invalid SearchAttributes on StartChildWorkflowCommand: {text}. {place}");
            Err(CommandError::bad(cause, text))
        }
        Err(SearchAttributeError::Invalid(text)) => Err(CommandError::bad(cause, text)),
    }
}
