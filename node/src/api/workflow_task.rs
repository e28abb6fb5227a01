//! Workflow tasks: polls, completions, failures, stickiness.

use super::answer::{self, Events};
use super::call::Call;
use super::deliver::{Delivered, deliver};
use super::message;
use super::status::not_found;
use super::token::{self, AnyTask};
use super::{Api, Need, validate};
use crate::shard::{Class, Poll, Polled};
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::{QueueKey, TaskKind};
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::{Mutation, Reply};
use steadfast_proto::temporal::enums::v1::TaskQueueKind;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Response, Status};

const TASK_NOT_FOUND: &str = "Workflow task not found.";

/// PollWorkflowTaskQueue.
#[expect(deprecated, reason = "workers of older SDKs send their build id there")]
pub(crate) async fn poll_workflow_task_queue(
    api: &Api,
    request: Request<wire::PollWorkflowTaskQueueRequest>,
) -> Result<Response<wire::PollWorkflowTaskQueueResponse>, Status> {
    let call = Call::of(&request);
    let request = request.into_inner();
    let deadline = call.worker_poll_deadline()?;
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let limits = api.limits()?;
    let queue = validate::polled_task_queue(request.task_queue.as_ref(), &limits)?;
    validate::id_length(&request.identity, "Identity", &limits)?;
    let worker = validate::worker_version(
        request.worker_version_capabilities.as_ref(),
        request.deployment_options.as_ref(),
    )?;
    let sticky = queue.kind == i32::from(TaskQueueKind::Sticky);
    let poll = Poll {
        id: call.poll.unwrap_or_else(|| api.shard.next_poll_id()),
        queue: QueueKey {
            namespace,
            kind: TaskKind::Workflow,
            name: queue.name.clone(),
        },
        sticky,
        identity: request.identity,
        worker,
    };
    match api.poll(poll, deadline).await? {
        Some(Polled::Task(AssignedTask::Workflow(task))) => workflow_task(api, task),
        Some(Polled::Query(query)) => message::query_task(api, query, sticky),
        Some(Polled::Task(AssignedTask::Activity(_))) | None => {
            Ok(Response::new(Default::default()))
        }
    }
}

/// The answer for a poll that got a workflow task, queries of its run with it.
pub(crate) fn workflow_task(
    api: &Api,
    task: steadfast_engine::effect::AssignedWorkflowTask,
) -> Result<Response<wire::PollWorkflowTaskQueueResponse>, Status> {
    let queries = api.shard.queries().attach(&task.token);
    let events = if task.sticky {
        Events::New
    } else {
        Events::All
    };
    let answer = answer::workflow_task(
        &api.shard.view(),
        &task,
        events,
        queries,
        api.shard.matching(),
    )?;
    Ok(deliver(answer, Delivered { token: task.token }))
}

/// RespondWorkflowTaskCompleted.
pub(crate) async fn respond_workflow_task_completed(
    api: &Api,
    request: Request<wire::RespondWorkflowTaskCompletedRequest>,
) -> Result<wire::RespondWorkflowTaskCompletedResponse, Status> {
    let mut request = request.into_inner();
    let token = workflow_token(api, &mut request.task_token, &request.namespace).await?;
    validate::id_length(&request.identity, "Identity", &api.limits()?)?;
    if request.intermediate_page || request.page_number > 0 {
        return Err(Status::unimplemented(
            "completions in pages are not implemented",
        ));
    }
    // Answers of queries are for their waiting callers, not for the log.
    let results = std::mem::take(&mut request.query_results);
    let mutation = Mutation::RespondWorkflowTaskCompleted {
        token: token.clone(),
        request: request.into(),
    };
    let reply = api.propose(Class::Drains, mutation).await;
    if reply.is_ok() {
        api.shard.queries().answered(&api.shard, &token, results);
    }
    match reply? {
        Reply::WorkflowTaskCompleted {
            new_task,
            eager_activities,
            reset_history_event_id,
        } => {
            let view = api.shard.view();
            let workflow_task = match new_task.map(|task| *task) {
                Some(AssignedTask::Workflow(task)) => {
                    let queries = api.shard.queries().attach(&task.token);
                    answer::workflow_task(&view, &task, Events::New, queries, api.shard.matching())?
                }
                Some(AssignedTask::Activity(_)) | None => None,
            };
            let mut activity_tasks = Vec::with_capacity(eager_activities.len());
            for task in &eager_activities {
                if let AssignedTask::Activity(task) = task {
                    activity_tasks.extend(answer::activity_task(&view, task, false)?);
                }
            }
            Ok(wire::RespondWorkflowTaskCompletedResponse {
                workflow_task,
                activity_tasks,
                reset_history_event_id,
            })
        }
        other => Err(Api::unexpected(&other)),
    }
}

/// RespondWorkflowTaskFailed.
pub(crate) async fn respond_workflow_task_failed(
    api: &Api,
    request: Request<wire::RespondWorkflowTaskFailedRequest>,
) -> Result<wire::RespondWorkflowTaskFailedResponse, Status> {
    let mut request = request.into_inner();
    let token = workflow_token(api, &mut request.task_token, &request.namespace).await?;
    let limits = api.limits()?;
    validate::id_length(&request.identity, "Identity", &limits)?;
    if validate::is_blob_over(request.failure.as_ref(), &limits) {
        return Err(super::status::invalid("Blob data size exceeds limit."));
    }
    api.done(
        Class::Drains,
        Mutation::RespondWorkflowTaskFailed {
            token,
            request: request.into(),
        },
    )
    .await?;
    Ok(wire::RespondWorkflowTaskFailedResponse {})
}

/// The workflow task behind a token; the token leaves the request.
async fn workflow_token(
    api: &Api,
    token: &mut bytes::Bytes,
    namespace: &str,
) -> Result<TaskToken, Status> {
    let named = api.named(namespace).await?;
    match token::read_task(&std::mem::take(token), &api.shard.view())? {
        AnyTask::Task(
            token @ TaskToken {
                kind: TaskKind::Workflow,
                ..
            },
        ) => {
            named.fence(token.run.namespace)?;
            Ok(token)
        }
        AnyTask::Task(TaskToken {
            kind: TaskKind::Activity,
            ..
        })
        | AnyTask::Query(_) => Err(not_found(TASK_NOT_FOUND)),
    }
}

/// ResetStickyTaskQueue.
pub(crate) async fn reset_sticky_task_queue(
    api: &Api,
    request: Request<wire::ResetStickyTaskQueueRequest>,
) -> Result<wire::ResetStickyTaskQueueResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    let target = validate::execution(&request.namespace, request.execution.as_ref())?;
    api.done(Class::Drains, Mutation::ResetStickyTaskQueue(target))
        .await?;
    Ok(wire::ResetStickyTaskQueueResponse {})
}
