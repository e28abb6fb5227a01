//! Queries: asking, handing out on their own, answering.

use super::answer::{self, Events};
use super::call::Call;
use super::status::{self, fault, invalid, not_found, refused, workflow_not_ready};
use super::token::{self, AnyTask, QueryToken};
use super::{Api, Need, validate};
use crate::queries::{QueryAnswer, QueryError, QueryTask};
use steadfast_engine::read::{StoredRun, describe, resolve};
use steadfast_proto::temporal::common::v1::{Link, link};
use steadfast_proto::temporal::enums::v1::{
    QueryRejectCondition, QueryResultType, ResourceExhaustedCause, ResourceExhaustedScope,
    WorkflowExecutionStatus,
};
use steadfast_proto::temporal::errordetails::v1::ResourceExhaustedFailure;
use steadfast_proto::temporal::query::v1::QueryRejected;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Code, Request, Response, Status};

/// From this attempt of the workflow task on, a query fails at once instead of waiting for it.
const FAILING_ATTEMPT: i32 = 3;

/// QueryWorkflow.
pub(crate) async fn query_workflow(
    api: &Api,
    request: Request<wire::QueryWorkflowRequest>,
) -> Result<wire::QueryWorkflowResponse, Status> {
    let call = Call::of(&request);
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let target = validate::query(&request, &api.limits()?)?;
    let view = api.read().await?;
    let run = resolve(&view, namespace.number, &target.workflow_id, &target.run_id)
        .map_err(|broken| fault(&broken))?
        .map_err(refused)?;
    let link = |reason: &str| {
        let workflow = link::Workflow {
            namespace: request.namespace.clone(),
            workflow_id: run.run.workflow_id.clone(),
            run_id: run.run_id.clone(),
            reason: reason.to_owned(),
        };
        Some(Link {
            variant: Some(link::Variant::Workflow(workflow)),
        })
    };
    if is_rejected(request.query_reject_condition, run.status) {
        return Ok(wire::QueryWorkflowResponse {
            query_rejected: Some(QueryRejected { status: run.status }),
            link: link("Query rejected"),
            ..Default::default()
        });
    }
    ready(&run)?;
    let query = request.query.unwrap_or_default();
    let outcome = api
        .shard
        .queries()
        .query(&api.shard, run.run.clone(), query, call.query_deadline())
        .await;
    match outcome.map_err(query_error)? {
        QueryAnswer::Answered(query_result) => Ok(wire::QueryWorkflowResponse {
            query_result,
            link: link("Query processed"),
            ..Default::default()
        }),
        QueryAnswer::Failed { message, failure } => Err(status::query_failed(message, failure)),
    }
}

fn is_rejected(condition: i32, status: i32) -> bool {
    let closed = describe::is_closed(status);
    let cleanly = status == i32::from(WorkflowExecutionStatus::Completed);
    match QueryRejectCondition::try_from(condition) {
        Ok(QueryRejectCondition::NotOpen) => closed,
        Ok(QueryRejectCondition::NotCompletedCleanly) => closed && !cleanly,
        Ok(QueryRejectCondition::Unspecified | QueryRejectCondition::None) | Err(_) => false,
    }
}

/// Whether a worker can answer at all, now or soon.
fn ready(run: &StoredRun) -> Result<(), Status> {
    let started_once = run.last_completed_started_event_id > 0
        || run
            .workflow_task
            .as_ref()
            .is_some_and(|task| task.started_event_id > 0);
    if run.close.is_some() {
        if started_once {
            return Ok(());
        }
        return Err(workflow_not_ready(
            "Workflow execution closed before WorkflowTaskStarted event",
        ));
    }
    match &run.workflow_task {
        None if run.last_completed_started_event_id == 0 => {
            Err(workflow_not_ready("Workflow task is not scheduled yet."))
        }
        Some(task) if task.attempt > FAILING_ATTEMPT => Err(workflow_not_ready(
            "Unable to query workflow due to Workflow Task in failed state.",
        )),
        Some(_) | None => Ok(()),
    }
}

fn query_error(error: QueryError) -> Status {
    match error {
        QueryError::NotReady(message) => workflow_not_ready(message),
        QueryError::BufferFull => status::with(
            Code::ResourceExhausted,
            "consistent query buffer is full, this may be caused by too many queries and workflow not able to process \
             query fast enough"
                .to_owned(),
            &ResourceExhaustedFailure {
                cause: ResourceExhaustedCause::BusyWorkflow.into(),
                scope: ResourceExhaustedScope::Namespace.into(),
            },
        ),
        QueryError::NoPoller => {
            Status::failed_precondition("no poller seen for task queue recently, worker may be down")
        }
        QueryError::DeadlineExceeded => Status::deadline_exceeded("query timed out before a worker could process it"),
        QueryError::Unavailable(unavailable) => status::unavailable(unavailable),
    }
}

/// The answer for a poll that got a query on its own.
pub(crate) fn query_task(
    api: &Api,
    task: QueryTask,
    sticky: bool,
) -> Result<Response<wire::PollWorkflowTaskQueueResponse>, Status> {
    let events = if sticky { Events::New } else { Events::All };
    let token = QueryToken {
        namespace: task.run.namespace,
        id: task.id,
    };
    let answer = answer::query_task(&api.shard.view(), &task.run, events, &token, task.query)?;
    Ok(Response::new(answer.unwrap_or_default()))
}

/// RespondQueryTaskCompleted.
pub(crate) async fn respond_query_task_completed(
    api: &Api,
    request: Request<wire::RespondQueryTaskCompletedRequest>,
) -> Result<wire::RespondQueryTaskCompletedResponse, Status> {
    let request = request.into_inner();
    let expired = || not_found("query task not found, or already expired");
    let named = api.named(&request.namespace).await?;
    let token = match token::read_task(&request.task_token, &api.shard.view())? {
        AnyTask::Query(token) => token,
        AnyTask::Task(_) => return Err(expired()),
    };
    named.fence(token.namespace)?;
    let answer = match QueryResultType::try_from(request.completed_type) {
        Ok(QueryResultType::Answered) => {
            if validate::is_blob_over(request.query_result.as_ref(), &api.limits()?) {
                let message = "Blob data size exceeds limit.".to_owned();
                QueryAnswer::Failed {
                    message,
                    failure: None,
                }
            } else {
                QueryAnswer::Answered(request.query_result)
            }
        }
        Ok(QueryResultType::Failed) => QueryAnswer::Failed {
            message: request.error_message,
            failure: request.failure,
        },
        Ok(QueryResultType::Unspecified) | Err(_) => {
            return Err(invalid("Invalid query completed type."));
        }
    };
    if api.shard.queries().respond(&token.id, answer) {
        Ok(wire::RespondQueryTaskCompletedResponse {})
    } else {
        Err(expired())
    }
}
