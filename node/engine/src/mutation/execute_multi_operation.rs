//! ExecuteMultiOperation, which is update-with-start: a start and an update of one workflow in one
//! mutation, both or none.

use super::id_policy::{Decision, Policies, decide};
use super::new_run::{NewRun, open_new_run};
use super::start_workflow_execution::started_reply;
use super::update_workflow_execution::{admit, update_id, updating};
use crate::execution::{Execution, namespace_of};
use crate::id::RunRef;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Namespace, UpdateState, WriteSet};
use steadfast_proto::temporal::enums::v1::WorkflowIdConflictPolicy;
use steadfast_proto::temporal::workflowservice::v1::{
    StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
};

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    start: &StartWorkflowExecutionRequest,
    update: &UpdateWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let namespace = namespace_of(set, &start.namespace)?;
    let existing = super::id_policy::current(set, &namespace, &start.workflow_id)?;
    let existing = existing.as_deref();
    if let Some(run) = existing.map(|run| run.run.clone())
        && let Some(reply) = update_existing(set, &run, &namespace, start, update)?
    {
        return Ok(reply);
    }
    let policies = start_refused(Policies::of(
        start.workflow_id_reuse_policy,
        start.workflow_id_conflict_policy,
    ))?;
    start_refused(super::id_policy::require_registered(&namespace))?;
    match start_refused(decide(existing, &start.request_id, policies))? {
        // Only a closed run comes here: the repeated start is answered, the update has come too
        // late for it.
        Decision::SameRequest(run) | Decision::UseExisting(run) => {
            let execution = load(set, &run)?;
            update_refused(execution.check_open().map_err(Stop::from))?;
            Err(Refusal::NotFound("workflow execution not found".to_owned()).into())
        }
        Decision::New { terminate } => {
            let new_run = start_stopped(NewRun::of_start(set, &namespace, start))?;
            if let Some(run) = terminate {
                super::id_policy::terminate_existing(set, &run, &new_run.run_id)?;
            }
            let mut execution = open_new_run(set, new_run);
            update_refused(admit(&mut execution, update))?;
            execution.schedule_workflow_task()?;
            let started = started_reply(&execution, &namespace, true, None);
            let reply = reply(&execution, started, update)?;
            execution.finish()?;
            Ok(reply)
        }
    }
}

/// Answers with, or updates, the run that is there; `None` when a new one has to be started.
fn update_existing(
    set: &mut WriteSet<'_>,
    run: &RunRef,
    namespace: &Namespace,
    start: &StartWorkflowExecutionRequest,
    update: &UpdateWorkflowExecutionRequest,
) -> Result<Option<Reply>, Stop> {
    let mut execution = load(set, run)?;
    update_refused(execution.check_quarantine().map_err(Stop::from))?;
    let known = match &update.request {
        Some(request) => execution.update(update_id(request))?,
        None => None,
    };
    let mut started = started_reply(&execution, namespace, false, None);
    if let Reply::Started {
        first_execution_run_id,
        ..
    } = &mut started
    {
        first_execution_run_id.clear();
    }
    if let Some(UpdateState::Completed { .. }) = known.as_ref().map(|update| update.state) {
        if let Reply::Started { link, .. } = &mut started {
            *link = None;
        }
        return reply(&execution, started, update).map(Some);
    }
    let uses_existing =
        start.workflow_id_conflict_policy == i32::from(WorkflowIdConflictPolicy::UseExisting);
    let same_request = execution.run.start_request_id == start.request_id;
    if !execution.is_open() || !(same_request || known.is_some() || uses_existing) {
        return Ok(None);
    }
    let admitted = update_refused(admit(&mut execution, update))?;
    let reply = reply(&execution, started, update)?;
    if admitted {
        execution.schedule_speculative_task()?;
        execution.finish()?;
    }
    Ok(Some(reply))
}

fn load<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    run: &RunRef,
) -> Result<Execution<'set, 'tables>, Stop> {
    let found = Execution::load(set, run)?;
    found.ok_or_else(|| Refusal::NotFound("workflow execution not found".to_owned()).into())
}

fn reply(
    execution: &Execution<'_, '_>,
    start: Reply,
    update: &UpdateWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    Ok(Reply::MultiOperation {
        start: Box::new(start),
        update: Box::new(updating(execution, update)?),
    })
}

/// The start is refused; the update is aborted with it.
fn start_refused<T>(result: Result<T, Refusal>) -> Result<T, Stop> {
    start_stopped(result.map_err(Stop::from))
}

fn start_stopped<T>(result: Result<T, Stop>) -> Result<T, Stop> {
    result.map_err(|stop| match stop {
        Stop::Refused(refusal) => Stop::Refused(Refusal::MultiOperation {
            start: Some(Box::new(refusal)),
            update: None,
        }),
        Stop::RefusedWithChanges(_) | Stop::Faulted(_) => stop,
    })
}

/// The update is refused; the start is aborted with it.
fn update_refused<T>(result: Result<T, Stop>) -> Result<T, Stop> {
    result.map_err(|stop| match stop {
        Stop::Refused(refusal) => Stop::Refused(Refusal::MultiOperation {
            start: None,
            update: Some(Box::new(refusal)),
        }),
        Stop::RefusedWithChanges(_) | Stop::Faulted(_) => stop,
    })
}
