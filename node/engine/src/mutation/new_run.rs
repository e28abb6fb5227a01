//! From a start request to a new run: time-outs, policies and back-off filled in.

use crate::cron::{Cron, CronError};
use crate::execution::{Execution, Opening, child, new_run_id, start_timeouts};
use crate::id::RunRef;
use crate::reply::{Refusal, Stop};
use crate::retry;
use crate::search_attribute;
use crate::tables::{Namespace, ParentRef, StartChild, WriteSet};
use crate::time::Span;
use prost::Message;
use steadfast_proto::temporal::common::v1::{Link, SearchAttributes};
use steadfast_proto::temporal::enums::v1::{ContinueAsNewInitiator, TaskQueueKind};
use steadfast_proto::temporal::history::v1::WorkflowExecutionStartedEventAttributes;
use steadfast_proto::temporal::sdk::v1::UserMetadata;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1::{
    SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest,
};

/// A run to be opened.
#[derive(Debug)]
pub(super) struct NewRun {
    pub(super) run_id: String,
    opening: Opening,
}

/// Opens it; the first workflow task is the caller's.
pub(super) fn open_new_run<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    new_run: NewRun,
) -> Execution<'set, 'tables> {
    Execution::open(set, new_run.opening)
}

/// What both ways to start have in common beside the started event.
struct Request<'a> {
    workflow_id: &'a str,
    request_id: &'a str,
    start_delay: Span,
    user_metadata: Option<UserMetadata>,
    links: Vec<Link>,
    eager: bool,
}

impl NewRun {
    /// Of a start request.
    pub(super) fn of_start(
        set: &mut WriteSet<'_>,
        namespace: &Namespace,
        request: &StartWorkflowExecutionRequest,
    ) -> Result<Self, Stop> {
        let started = WorkflowExecutionStartedEventAttributes {
            workflow_type: request.workflow_type.clone(),
            task_queue: request.task_queue.clone(),
            input: request.input.clone(),
            workflow_execution_timeout: request.workflow_execution_timeout,
            workflow_run_timeout: request.workflow_run_timeout,
            workflow_task_timeout: request.workflow_task_timeout,
            continued_failure: request.continued_failure.clone(),
            last_completion_result: request.last_completion_result.clone(),
            identity: request.identity.clone(),
            retry_policy: request.retry_policy.clone(),
            cron_schedule: request.cron_schedule.clone(),
            memo: request.memo.clone(),
            search_attributes: request.search_attributes.clone(),
            header: request.header.clone(),
            versioning_override: request.versioning_override.clone(),
            priority: request.priority.clone(),
            ..WorkflowExecutionStartedEventAttributes::default()
        };
        let request = Request {
            workflow_id: &request.workflow_id,
            request_id: &request.request_id,
            start_delay: Span::from_proto(request.workflow_start_delay.as_ref()),
            user_metadata: request.user_metadata.clone(),
            links: request.links.clone(),
            eager: request.request_eager_execution,
        };
        Self::new(set, namespace, request, started)
    }

    /// Of a signal with start.
    pub(super) fn of_signal_with_start(
        set: &mut WriteSet<'_>,
        namespace: &Namespace,
        request: &SignalWithStartWorkflowExecutionRequest,
    ) -> Result<Self, Stop> {
        let started = WorkflowExecutionStartedEventAttributes {
            workflow_type: request.workflow_type.clone(),
            task_queue: request.task_queue.clone(),
            input: request.input.clone(),
            workflow_execution_timeout: request.workflow_execution_timeout,
            workflow_run_timeout: request.workflow_run_timeout,
            workflow_task_timeout: request.workflow_task_timeout,
            identity: request.identity.clone(),
            retry_policy: request.retry_policy.clone(),
            cron_schedule: request.cron_schedule.clone(),
            memo: request.memo.clone(),
            search_attributes: request.search_attributes.clone(),
            header: request.header.clone(),
            versioning_override: request.versioning_override.clone(),
            priority: request.priority.clone(),
            ..WorkflowExecutionStartedEventAttributes::default()
        };
        let request = Request {
            workflow_id: &request.workflow_id,
            request_id: &request.request_id,
            start_delay: Span::from_proto(request.workflow_start_delay.as_ref()),
            user_metadata: request.user_metadata.clone(),
            links: request.links.clone(),
            eager: false,
        };
        Self::new(set, namespace, request, started)
    }

    /// Of a child.
    pub(super) fn of_child(
        set: &mut WriteSet<'_>,
        namespace: &Namespace,
        start: &StartChild,
        parent: ParentRef,
    ) -> Result<Self, Stop> {
        let initiated = &start.initiated;
        let mut started = WorkflowExecutionStartedEventAttributes {
            workflow_type: initiated.workflow_type.clone(),
            task_queue: initiated.task_queue.clone(),
            input: initiated.input.clone(),
            workflow_execution_timeout: initiated.workflow_execution_timeout,
            workflow_run_timeout: initiated.workflow_run_timeout,
            workflow_task_timeout: initiated.workflow_task_timeout,
            retry_policy: initiated.retry_policy.clone(),
            cron_schedule: initiated.cron_schedule.clone(),
            memo: initiated.memo.clone(),
            search_attributes: initiated.search_attributes.clone(),
            header: initiated.header.clone(),
            priority: start.priority.as_ref().map(|priority| priority.0.clone()),
            ..WorkflowExecutionStartedEventAttributes::default()
        };
        child::name_parent(set, &parent, &mut started)?;
        let request = Request {
            workflow_id: &initiated.workflow_id,
            request_id: &start.request_id,
            start_delay: Span::ZERO,
            user_metadata: start.user_metadata.as_ref().map(|given| given.0.clone()),
            links: Vec::new(),
            eager: false,
        };
        let mut new_run = Self::new(set, namespace, request, started)?;
        new_run.opening.parent = Some(parent);
        Ok(new_run)
    }

    fn new(
        set: &mut WriteSet<'_>,
        namespace: &Namespace,
        request: Request<'_>,
        mut started: WorkflowExecutionStartedEventAttributes,
    ) -> Result<Self, Stop> {
        check_sizes(set, &started)?;
        fill_in_timeouts(set, &mut started);
        let name = started.task_queue.take().unwrap_or_default().name;
        let kind = TaskQueueKind::Normal.into();
        started.task_queue = Some(TaskQueue {
            name,
            kind,
            normal_name: String::new(),
        });
        if let Some(policy) = started.retry_policy.take() {
            let policy = retry::with_defaults(Some(&policy));
            retry::validate(&policy).map_err(Refusal::InvalidArgument)?;
            started.retry_policy = Some(policy);
        }
        if let Some(given) = started.search_attributes.take()
            && !given.indexed_fields.is_empty()
        {
            let indexed_fields = search_attribute::of_new_run(namespace, &given.indexed_fields)
                .map_err(|error| Refusal::InvalidArgument(error.to_string()))?;
            started.search_attributes = Some(SearchAttributes { indexed_fields });
        }
        let mut backoff = request.start_delay;
        if !started.cron_schedule.is_empty() {
            backoff = first_tick(set, &started.cron_schedule)?;
            started.initiator = ContinueAsNewInitiator::CronSchedule.into();
        }
        started.first_workflow_task_backoff = backoff.to_proto_if_set();
        let eager = request.eager && set.limits().eager_start;
        started.eager_execution_accepted = eager && backoff.is_zero();
        started.attempt = 1;
        request.workflow_id.clone_into(&mut started.workflow_id);
        let (number, run_id) = new_run_id(set);
        started.first_execution_run_id.clone_from(&run_id);
        started.original_execution_run_id.clone_from(&run_id);
        let workflow_id = request.workflow_id.to_owned();
        let opening = Opening {
            run: RunRef {
                namespace: namespace.number,
                workflow_id,
                number,
            },
            run_id: run_id.clone(),
            request_id: request.request_id.to_owned(),
            started,
            user_metadata: request.user_metadata,
            links: request.links,
            parent: None,
        };
        Ok(Self { run_id, opening })
    }
}

fn first_tick(set: &WriteSet<'_>, schedule: &str) -> Result<Span, Refusal> {
    let cron =
        Cron::parse(schedule).map_err(|error| Refusal::InvalidArgument(error.to_string()))?;
    cron.backoff(set.now, set.now)
        .ok_or_else(|| Refusal::InvalidArgument(CronError::Never.to_string()))
}

fn check_sizes(
    set: &WriteSet<'_>,
    started: &WorkflowExecutionStartedEventAttributes,
) -> Result<(), Refusal> {
    check_blob(set, started.input.as_ref().map_or(0, Message::encoded_len))?;
    let memo = started.memo.as_ref().map_or(0, Message::encoded_len);
    if u64::try_from(memo).unwrap_or(u64::MAX) > set.limits().memo_bytes_max {
        return Err(Refusal::InvalidArgument(
            "Memo size exceeds limit.".to_owned(),
        ));
    }
    Ok(())
}

/// Refuses a value over the blob limit.
pub(super) fn check_blob(set: &WriteSet<'_>, size: usize) -> Result<(), Refusal> {
    if u64::try_from(size).unwrap_or(u64::MAX) > set.limits().blob_bytes_max {
        return Err(Refusal::InvalidArgument(
            "Blob data size exceeds limit.".to_owned(),
        ));
    }
    Ok(())
}

/// The run time-out is the execution time-out by default and at most; the task time-out is 10 s by
/// default, and at most 120 s and the run time-out.
fn fill_in_timeouts(set: &WriteSet<'_>, started: &mut WorkflowExecutionStartedEventAttributes) {
    let execution = Span::from_proto(started.workflow_execution_timeout.as_ref());
    if !execution.is_zero() {
        let expires_at = set.now.after(execution);
        started.workflow_execution_expiration_time = Some(expires_at.to_proto());
    }
    let (run, task) = start_timeouts(
        execution,
        Span::from_proto(started.workflow_run_timeout.as_ref()),
        Span::from_proto(started.workflow_task_timeout.as_ref()),
    );
    started.workflow_execution_timeout = execution.to_proto_if_set();
    started.workflow_run_timeout = run.to_proto_if_set();
    started.workflow_task_timeout = Some(task.to_proto());
}
