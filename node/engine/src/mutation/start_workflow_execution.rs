//! StartWorkflowExecution.

use super::id_policy::{Decision, Policies, decide};
use super::new_run::{NewRun, open_new_run};
use crate::effect::AssignedTask;
use crate::event::{Attributes, NewEvent};
use crate::execution::{Execution, namespace_of};
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Namespace, WriteSet};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::WorkflowExecutionOptionsUpdatedEventAttributes;
use steadfast_proto::temporal::workflowservice::v1::StartWorkflowExecutionRequest;

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &StartWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let namespace = namespace_of(set, &request.namespace)?;
    super::id_policy::require_registered(&namespace)?;
    if !request.completion_callbacks.is_empty() {
        let text = "completion callbacks are not implemented yet".to_owned();
        return Err(Refusal::Unimplemented(text).into());
    }
    let policies = Policies::of(
        request.workflow_id_reuse_policy,
        request.workflow_id_conflict_policy,
    )?;
    let new_run = NewRun::of_start(set, &namespace, request)?;
    let existing = super::id_policy::current(set, &namespace, &request.workflow_id)?;
    match decide(existing.as_deref(), &request.request_id, policies)? {
        Decision::SameRequest(run) => {
            let execution = load(set, &run)?;
            let eager = if request.request_eager_execution {
                execution.assigned_again()?
            } else {
                None
            };
            Ok(started_reply(
                &execution,
                &namespace,
                true,
                eager.map(AssignedTask::Workflow),
            ))
        }
        Decision::UseExisting(run) => {
            let execution = load(set, &run)?;
            use_existing(execution, &namespace, request)
        }
        Decision::New { terminate } => {
            if let Some(run) = terminate {
                super::id_policy::terminate_existing(set, &run, &new_run.run_id)?;
            }
            let mut execution = open_new_run(set, new_run);
            execution.schedule_workflow_task()?;
            let eager = if execution.run_started_eagerly() {
                Some(AssignedTask::Workflow(
                    execution.start_workflow_task_inline(&request.identity, false)?,
                ))
            } else {
                None
            };
            let reply = started_reply(&execution, &namespace, true, eager);
            execution.finish()?;
            Ok(reply)
        }
    }
}

fn load<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    run: &crate::id::RunRef,
) -> Result<Execution<'set, 'tables>, Stop> {
    let found = Execution::load(set, run)?;
    found.ok_or_else(|| Refusal::NotFound("workflow execution not found".to_owned()).into())
}

/// What a start answers for a run.
pub(super) fn started_reply(
    execution: &Execution<'_, '_>,
    namespace: &Namespace,
    started: bool,
    eager_task: Option<AssignedTask>,
) -> Reply {
    Reply::Started {
        run_id: execution.run.run_id.clone(),
        first_execution_run_id: execution.run.first_execution_run_id.clone(),
        started,
        status: execution.run.status,
        eager_task: eager_task.map(Box::new),
        link: Some(execution.link_to_started(namespace)),
    }
}

/// The run goes on; the request may leave its id and links there, once.
fn use_existing(
    mut execution: Execution<'_, '_>,
    namespace: &Namespace,
    request: &StartWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let made = EventType::WorkflowExecutionOptionsUpdated;
    let mut reply = started_reply(&execution, namespace, false, None);
    let Some(options) = request
        .on_conflict_options
        .filter(|options| options.attach_request_id)
    else {
        return Ok(reply);
    };
    if let Reply::Started { link, .. } = &mut reply {
        *link = Some(execution.link_to_request(namespace, &request.request_id, made));
    }
    if execution.request(&request.request_id)?.is_some() {
        return Ok(reply);
    }
    let attributes = WorkflowExecutionOptionsUpdatedEventAttributes {
        attached_request_id: request.request_id.clone(),
        ..WorkflowExecutionOptionsUpdatedEventAttributes::default()
    };
    let mut event = NewEvent::from(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(
        attributes,
    ));
    event.worker_may_ignore = true;
    if options.attach_links {
        event.links.clone_from(&request.links);
    }
    let event_id = execution.add_or_buffer(event)?;
    execution.remember_request(&request.request_id, made, event_id.unwrap_or(0));
    execution.finish()?;
    Ok(reply)
}
