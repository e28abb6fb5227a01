//! Runs: start, signal, cancel, terminate, delete, describe.

use super::answer::{self, Events};
use super::status::{fault, refused};
use super::{Api, Need, validate};
use crate::shard::Class;
use std::collections::BTreeMap;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::read::{describe, namespace, resolve};
use steadfast_engine::{Mutation, Reply};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Status};

/// StartWorkflowExecution.
pub(crate) async fn start_workflow_execution(
    api: &Api,
    request: Request<wire::StartWorkflowExecutionRequest>,
) -> Result<wire::StartWorkflowExecutionResponse, Status> {
    let mut request = request.into_inner();
    api.namespace(&request.namespace, Need::Registered).await?;
    validate::start(&request, &api.limits()?)?;
    if request.request_id.is_empty() {
        request.request_id = api.uuid();
    }
    let mutation = Mutation::StartWorkflowExecution(request.into());
    match api.propose(Class::Fills, mutation).await? {
        Reply::Started {
            run_id,
            first_execution_run_id,
            started,
            status,
            eager_task,
            link,
        } => Ok(wire::StartWorkflowExecutionResponse {
            run_id,
            first_execution_run_id,
            started,
            status,
            eager_workflow_task: eager_task
                .map(|task| eager(api, &task))
                .transpose()?
                .flatten(),
            link,
        }),
        other => Err(Api::unexpected(&other)),
    }
}

fn eager(
    api: &Api,
    task: &AssignedTask,
) -> Result<Option<wire::PollWorkflowTaskQueueResponse>, Status> {
    match task {
        AssignedTask::Workflow(task) => answer::workflow_task(
            &api.shard.view(),
            task,
            Events::All,
            BTreeMap::new(),
            api.shard.matching(),
        ),
        AssignedTask::Activity(_) => Ok(None),
    }
}

/// SignalWithStartWorkflowExecution.
pub(crate) async fn signal_with_start_workflow_execution(
    api: &Api,
    request: Request<wire::SignalWithStartWorkflowExecutionRequest>,
) -> Result<wire::SignalWithStartWorkflowExecutionResponse, Status> {
    let mut request = request.into_inner();
    api.namespace(&request.namespace, Need::Registered).await?;
    validate::signal_with_start(&request, &api.limits()?)?;
    if request.request_id.is_empty() {
        request.request_id = api.uuid();
    }
    let mutation = Mutation::SignalWithStartWorkflowExecution(request.into());
    match api.propose(Class::Fills, mutation).await? {
        Reply::Started {
            run_id,
            first_execution_run_id,
            started,
            link,
            ..
        } => Ok(wire::SignalWithStartWorkflowExecutionResponse {
            run_id,
            first_execution_run_id,
            started,
            signal_link: link,
        }),
        other => Err(Api::unexpected(&other)),
    }
}

/// SignalWorkflowExecution.
pub(crate) async fn signal_workflow_execution(
    api: &Api,
    request: Request<wire::SignalWorkflowExecutionRequest>,
) -> Result<wire::SignalWorkflowExecutionResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    validate::signal(&request, &api.limits()?)?;
    match api
        .propose(
            Class::Fills,
            Mutation::SignalWorkflowExecution(request.into()),
        )
        .await?
    {
        Reply::Signaled { link } => Ok(wire::SignalWorkflowExecutionResponse { link }),
        other => Err(Api::unexpected(&other)),
    }
}

/// RequestCancelWorkflowExecution.
pub(crate) async fn request_cancel_workflow_execution(
    api: &Api,
    request: Request<wire::RequestCancelWorkflowExecutionRequest>,
) -> Result<wire::RequestCancelWorkflowExecutionResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    validate::request_cancel(&request)?;
    api.done(
        Class::Drains,
        Mutation::RequestCancelWorkflowExecution(request.into()),
    )
    .await?;
    Ok(wire::RequestCancelWorkflowExecutionResponse {})
}

/// TerminateWorkflowExecution.
pub(crate) async fn terminate_workflow_execution(
    api: &Api,
    request: Request<wire::TerminateWorkflowExecutionRequest>,
) -> Result<wire::TerminateWorkflowExecutionResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    validate::terminate(&request, &api.limits()?)?;
    api.done(
        Class::Drains,
        Mutation::TerminateWorkflowExecution(request.into()),
    )
    .await?;
    Ok(wire::TerminateWorkflowExecutionResponse {})
}

/// ResetWorkflowExecution.
pub(crate) async fn reset_workflow_execution(
    api: &Api,
    request: Request<wire::ResetWorkflowExecutionRequest>,
) -> Result<wire::ResetWorkflowExecutionResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    validate::reset(&request, &api.limits()?)?;
    let mutation = Mutation::ResetWorkflowExecution(request.into());
    match api.propose(Class::Fills, mutation).await? {
        Reply::Reset { run_id } => Ok(wire::ResetWorkflowExecutionResponse { run_id }),
        other => Err(Api::unexpected(&other)),
    }
}

/// DeleteWorkflowExecution.
pub(crate) async fn delete_workflow_execution(
    api: &Api,
    request: Request<wire::DeleteWorkflowExecutionRequest>,
) -> Result<wire::DeleteWorkflowExecutionResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    let target = validate::execution(&request.namespace, request.workflow_execution.as_ref())?;
    api.propose(Class::Drains, Mutation::DeleteWorkflowExecution(target))
        .await?;
    Ok(wire::DeleteWorkflowExecutionResponse {})
}

/// DescribeWorkflowExecution.
pub(crate) async fn describe_workflow_execution(
    api: &Api,
    request: Request<wire::DescribeWorkflowExecutionRequest>,
) -> Result<wire::DescribeWorkflowExecutionResponse, Status> {
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let target = validate::execution(&request.namespace, request.execution.as_ref())?;
    let view = api.read().await?;
    let broken = |broken| fault(&broken);
    let run = resolve(&view, namespace.number, &target.workflow_id, &target.run_id)
        .map_err(broken)?
        .map_err(refused)?;
    let parent_namespace_id = match describe::parent_namespace(&run) {
        Some(number) => namespace::by_number(&view, number)
            .map_err(broken)?
            .map(|parent| parent.id.clone())
            .unwrap_or_default(),
        None => String::new(),
    };
    describe::workflow_execution(&view, &run, parent_namespace_id).map_err(broken)
}
