//! Activities: polls, heartbeats and outcomes, by token and by id.

use super::answer;
use super::call::Call;
use super::deliver::{Delivered, deliver};
use super::status::{invalid, not_found};
use super::token::{self, AnyTask};
use super::{Api, Need, validate};
use crate::shard::{Class, Poll, Polled};
use prost::Message;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::{QueueKey, TaskKind, uuid_bytes};
use steadfast_engine::mutation::{ActivityTarget, TaskToken};
use steadfast_engine::tables::Limits;
use steadfast_engine::{Mutation, Reply};
use steadfast_proto::temporal::failure::v1::{Failure, ServerFailureInfo, failure::FailureInfo};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Response, Status};

/// A failure over the size limit is cut to this many bytes inside the one that takes its place
/// (`limit.blobSize.warn`).
const CUT_FAILURE_BYTES: usize = 512 * 1024;
const NOT_PENDING: &str =
    "invalid activityID or activity already timed out or invoking workflow is completed";

/// PollActivityTaskQueue.
#[expect(deprecated, reason = "workers of older SDKs send their build id there")]
pub(crate) async fn poll_activity_task_queue(
    api: &Api,
    request: Request<wire::PollActivityTaskQueueRequest>,
) -> Result<Response<wire::PollActivityTaskQueueResponse>, Status> {
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
    let poll = Poll {
        id: call.poll.unwrap_or_else(|| api.shard.next_poll_id()),
        queue: QueueKey {
            namespace,
            kind: TaskKind::Activity,
            name: queue.name.clone(),
        },
        sticky: false,
        identity: request.identity,
        worker,
    };
    match api.poll(poll, deadline).await? {
        Some(Polled::Task(AssignedTask::Activity(task))) => {
            let answer = answer::activity_task(&api.shard.view(), &task, true)?;
            Ok(deliver(answer, Delivered { token: task.token }))
        }
        Some(Polled::Task(AssignedTask::Workflow(_)) | Polled::Query(_)) | None => {
            Ok(Response::new(Default::default()))
        }
    }
}

/// RecordActivityTaskHeartbeat.
pub(crate) async fn record_activity_task_heartbeat(
    api: &Api,
    request: Request<wire::RecordActivityTaskHeartbeatRequest>,
) -> Result<wire::RecordActivityTaskHeartbeatResponse, Status> {
    let mut request = request.into_inner();
    let target = by_token(api, &mut request.task_token, &request.namespace).await?;
    heartbeat(api, target, request).await
}

/// RecordActivityTaskHeartbeatById.
pub(crate) async fn record_activity_task_heartbeat_by_id(
    api: &Api,
    request: Request<wire::RecordActivityTaskHeartbeatByIdRequest>,
) -> Result<wire::RecordActivityTaskHeartbeatByIdResponse, Status> {
    let request = request.into_inner();
    let target = by_id(
        api,
        &request.namespace,
        request.workflow_id,
        &request.run_id,
        request.activity_id,
    )
    .await?;
    let request = wire::RecordActivityTaskHeartbeatRequest {
        details: request.details,
        identity: request.identity,
        namespace: request.namespace,
        ..Default::default()
    };
    let answer = heartbeat(api, target, request).await?;
    Ok(wire::RecordActivityTaskHeartbeatByIdResponse {
        cancel_requested: answer.cancel_requested,
        activity_paused: answer.activity_paused,
        activity_reset: answer.activity_reset,
    })
}

async fn heartbeat(
    api: &Api,
    target: ActivityTarget,
    request: wire::RecordActivityTaskHeartbeatRequest,
) -> Result<wire::RecordActivityTaskHeartbeatResponse, Status> {
    validate::id_length(&request.identity, "Identity", &api.limits()?)?;
    let mutation = Mutation::RecordActivityTaskHeartbeat {
        target,
        request: request.into(),
    };
    match api.propose(Class::Drains, mutation).await? {
        Reply::Heartbeat { cancel_requested } => Ok(wire::RecordActivityTaskHeartbeatResponse {
            cancel_requested,
            ..Default::default()
        }),
        other => Err(Api::unexpected(&other)),
    }
}

/// RespondActivityTaskCompleted.
pub(crate) async fn respond_activity_task_completed(
    api: &Api,
    request: Request<wire::RespondActivityTaskCompletedRequest>,
) -> Result<wire::RespondActivityTaskCompletedResponse, Status> {
    let mut request = request.into_inner();
    let target = by_token(api, &mut request.task_token, &request.namespace).await?;
    completed(api, target, request).await?;
    Ok(wire::RespondActivityTaskCompletedResponse {})
}

/// RespondActivityTaskCompletedById.
pub(crate) async fn respond_activity_task_completed_by_id(
    api: &Api,
    request: Request<wire::RespondActivityTaskCompletedByIdRequest>,
) -> Result<wire::RespondActivityTaskCompletedByIdResponse, Status> {
    let request = request.into_inner();
    let target = by_id(
        api,
        &request.namespace,
        request.workflow_id,
        &request.run_id,
        request.activity_id,
    )
    .await?;
    let request = wire::RespondActivityTaskCompletedRequest {
        result: request.result,
        identity: request.identity,
        namespace: request.namespace,
        ..Default::default()
    };
    completed(api, target, request).await?;
    Ok(wire::RespondActivityTaskCompletedByIdResponse {})
}

async fn completed(
    api: &Api,
    target: ActivityTarget,
    request: wire::RespondActivityTaskCompletedRequest,
) -> Result<(), Status> {
    validate::id_length(&request.identity, "Identity", &api.limits()?)?;
    api.done(
        Class::Drains,
        Mutation::RespondActivityTaskCompleted {
            target,
            request: request.into(),
        },
    )
    .await
}

/// RespondActivityTaskFailed.
pub(crate) async fn respond_activity_task_failed(
    api: &Api,
    request: Request<wire::RespondActivityTaskFailedRequest>,
) -> Result<wire::RespondActivityTaskFailedResponse, Status> {
    let mut request = request.into_inner();
    let target = by_token(api, &mut request.task_token, &request.namespace).await?;
    let failures = failed(api, target, request).await?;
    Ok(wire::RespondActivityTaskFailedResponse { failures })
}

/// RespondActivityTaskFailedById.
pub(crate) async fn respond_activity_task_failed_by_id(
    api: &Api,
    request: Request<wire::RespondActivityTaskFailedByIdRequest>,
) -> Result<wire::RespondActivityTaskFailedByIdResponse, Status> {
    let request = request.into_inner();
    let target = by_id(
        api,
        &request.namespace,
        request.workflow_id,
        &request.run_id,
        request.activity_id,
    )
    .await?;
    let request = wire::RespondActivityTaskFailedRequest {
        failure: request.failure,
        identity: request.identity,
        last_heartbeat_details: request.last_heartbeat_details,
        namespace: request.namespace,
        cause: request.cause,
        ..Default::default()
    };
    let failures = failed(api, target, request).await?;
    Ok(wire::RespondActivityTaskFailedByIdResponse { failures })
}

async fn failed(
    api: &Api,
    target: ActivityTarget,
    request: wire::RespondActivityTaskFailedRequest,
) -> Result<Vec<Failure>, Status> {
    let application = |failure: &Failure| {
        matches!(
            failure.failure_info,
            Some(FailureInfo::ApplicationFailureInfo(_))
        )
    };
    if request
        .failure
        .as_ref()
        .is_some_and(|failure| !application(failure))
    {
        return Err(invalid("Failure must have ApplicationFailureInfo."));
    }
    let limits = api.limits()?;
    validate::id_length(&request.identity, "Identity", &limits)?;
    // What is over the limits takes effect as a failure of the server's, which the worker is told.
    let mut answers = Vec::new();
    if validate::is_blob_over(request.last_heartbeat_details.as_ref(), &limits) {
        answers.push(server_failure("Heartbeat details exceed size limit.", None));
    }
    if validate::is_blob_over(request.failure.as_ref(), &limits) {
        let cut = request.failure.clone().map(cut_failure);
        answers.push(server_failure("Failure exceeds size limit.", cut));
    }
    api.done(
        Class::Drains,
        Mutation::RespondActivityTaskFailed {
            target,
            request: request.into(),
        },
    )
    .await?;
    Ok(answers)
}

/// RespondActivityTaskCanceled.
pub(crate) async fn respond_activity_task_canceled(
    api: &Api,
    request: Request<wire::RespondActivityTaskCanceledRequest>,
) -> Result<wire::RespondActivityTaskCanceledResponse, Status> {
    let mut request = request.into_inner();
    let target = by_token(api, &mut request.task_token, &request.namespace).await?;
    canceled(api, target, request).await?;
    Ok(wire::RespondActivityTaskCanceledResponse {})
}

/// RespondActivityTaskCanceledById.
pub(crate) async fn respond_activity_task_canceled_by_id(
    api: &Api,
    request: Request<wire::RespondActivityTaskCanceledByIdRequest>,
) -> Result<wire::RespondActivityTaskCanceledByIdResponse, Status> {
    let request = request.into_inner();
    let target = by_id(
        api,
        &request.namespace,
        request.workflow_id,
        &request.run_id,
        request.activity_id,
    )
    .await?;
    let request = wire::RespondActivityTaskCanceledRequest {
        details: request.details,
        identity: request.identity,
        namespace: request.namespace,
        ..Default::default()
    };
    canceled(api, target, request).await?;
    Ok(wire::RespondActivityTaskCanceledByIdResponse {})
}

async fn canceled(
    api: &Api,
    target: ActivityTarget,
    request: wire::RespondActivityTaskCanceledRequest,
) -> Result<(), Status> {
    validate::id_length(&request.identity, "Identity", &api.limits()?)?;
    api.done(
        Class::Drains,
        Mutation::RespondActivityTaskCanceled {
            target,
            request: request.into(),
        },
    )
    .await
}

/// The activity behind a token; the token leaves the request, which need not carry it any more.
async fn by_token(
    api: &Api,
    token: &mut bytes::Bytes,
    namespace: &str,
) -> Result<ActivityTarget, Status> {
    let named = api.named(namespace).await?;
    match token::read_task(&std::mem::take(token), &api.shard.view())? {
        AnyTask::Task(
            token @ TaskToken {
                kind: TaskKind::Activity,
                ..
            },
        ) => {
            named.fence(token.run.namespace)?;
            Ok(ActivityTarget::Token(token))
        }
        AnyTask::Task(TaskToken {
            kind: TaskKind::Workflow,
            ..
        })
        | AnyTask::Query(_) => Err(not_found(NOT_PENDING)),
    }
}

async fn by_id(
    api: &Api,
    namespace: &str,
    workflow_id: String,
    run_id: &str,
    activity_id: String,
) -> Result<ActivityTarget, Status> {
    api.namespace(namespace, Need::Open).await?;
    if !run_id.is_empty() && uuid_bytes(run_id).is_none() {
        return Err(invalid("RunId is not valid UUID."));
    }
    if activity_id.is_empty() {
        return Err(invalid("ActivityId is not set on request."));
    }
    // An activity without a workflow would be a standalone one.
    if workflow_id.is_empty() {
        return Err(not_found(format!(
            "activity not found for ID: {activity_id}"
        )));
    }
    let longest = Limits::default()
        .id_length_max
        .max(api.limits()?.id_length_max);
    if u64::try_from(workflow_id.len()).is_ok_and(|length| length > longest) {
        return Err(not_found(format!(
            "workflow not found for ID: {workflow_id}"
        )));
    }
    if u64::try_from(activity_id.len()).is_ok_and(|length| length > longest) {
        let name = format!(
            "cannot find pending activity with ActivityID {activity_id}, check workflow execution history for more details"
        );
        return Err(not_found(name));
    }
    Ok(ActivityTarget::Id {
        namespace: namespace.to_owned(),
        workflow_id,
        run_id: run_id.to_ascii_lowercase(),
        activity_id,
    })
}

fn server_failure(message: &str, cause: Option<Failure>) -> Failure {
    Failure {
        message: message.to_owned(),
        cause: cause.map(Box::new),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo {
            non_retryable: true,
        })),
        ..Default::default()
    }
}

/// A failure without its cause and stack, its message cut to what fits beside its own framing.
fn cut_failure(mut failure: Failure) -> Failure {
    const FRAME_BYTES: usize = 10;
    failure.cause = None;
    failure.stack_trace.clear();
    let message = std::mem::take(&mut failure.message);
    if failure.encoded_len() + FRAME_BYTES > CUT_FAILURE_BYTES {
        failure.failure_info = None;
        failure.encoded_attributes = None;
    }
    let room = CUT_FAILURE_BYTES.saturating_sub(failure.encoded_len() + FRAME_BYTES);
    let mut keep = message.len().min(room);
    while !message.is_char_boundary(keep) {
        keep -= 1;
    }
    message[..keep].clone_into(&mut failure.message);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_cut_at_a_character() {
        let failure = Failure {
            message: "é".repeat(400_000),
            stack_trace: "x".repeat(99),
            ..Default::default()
        };
        let cut = cut_failure(failure);
        assert!(cut.encoded_len() <= CUT_FAILURE_BYTES);
        assert!(cut.message.len() > CUT_FAILURE_BYTES - 20);
    }
}
