//! SignalWithStartWorkflowExecution: a signal to the running workflow, or to a new run.

use super::id_policy::{Decision, Policies, decide};
use super::new_run::{NewRun, check_blob, open_new_run};
use super::signal_workflow_execution::{Signal, add_signal, check_signal};
use super::start_workflow_execution::started_reply;
use crate::execution::{Execution, namespace_of};
use crate::id::RunRef;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Namespace, WriteSet};
use prost::Message;
use steadfast_proto::temporal::enums::v1::{EventType, WorkflowIdConflictPolicy};
use steadfast_proto::temporal::workflowservice::v1::SignalWithStartWorkflowExecutionRequest;

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &SignalWithStartWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let namespace = namespace_of(set, &request.namespace)?;
    check_blob(
        set,
        request
            .signal_input
            .as_ref()
            .map_or(0, Message::encoded_len),
    )?;
    let policies = Policies::with_default(
        request.workflow_id_reuse_policy,
        request.workflow_id_conflict_policy,
        WorkflowIdConflictPolicy::UseExisting,
    )?;
    if policies.conflict == WorkflowIdConflictPolicy::Fail {
        let text = "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    let new_run = NewRun::of_signal_with_start(set, &namespace, request)?;
    let existing = super::id_policy::current(set, &namespace, &request.workflow_id)?;
    match decide(existing.as_deref(), &request.request_id, policies)? {
        Decision::SameRequest(run) => {
            let execution = load(set, &run)?;
            Ok(reply(&execution, &namespace, request, true))
        }
        Decision::UseExisting(run) => {
            let mut execution = load(set, &run)?;
            execution.check_quarantine()?;
            check_signal(&execution)?;
            let answer = reply(&execution, &namespace, request, false);
            if add_signal(&mut execution, signal(request))? {
                if !execution.has_started_workflow_task() {
                    // Unlike a plain signal, this one ends a start delay.
                    execution.schedule_first_workflow_task()?;
                }
                execution.finish()?;
            }
            Ok(answer)
        }
        Decision::New { terminate } => {
            super::id_policy::require_registered(&namespace)?;
            if let Some(run) = terminate {
                super::id_policy::terminate_existing(set, &run, &new_run.run_id)?;
            }
            let mut execution = open_new_run(set, new_run);
            add_signal(&mut execution, signal(request))?;
            execution.schedule_workflow_task()?;
            let answer = reply(&execution, &namespace, request, true);
            execution.finish()?;
            Ok(answer)
        }
    }
}

fn load<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    run: &RunRef,
) -> Result<Execution<'set, 'tables>, Stop> {
    let found = Execution::load(set, run)?;
    found.ok_or_else(|| Refusal::NotFound("workflow execution not found".to_owned()).into())
}

fn signal(request: &SignalWithStartWorkflowExecutionRequest) -> Signal<'_> {
    Signal {
        name: &request.signal_name,
        input: request.signal_input.clone(),
        identity: &request.identity,
        header: request.header.clone(),
        request_id: &request.request_id,
        links: request.links.clone(),
        external: None,
    }
}

/// The link of the answer is the signal's.
fn reply(
    execution: &Execution<'_, '_>,
    namespace: &Namespace,
    request: &SignalWithStartWorkflowExecutionRequest,
    started: bool,
) -> Reply {
    let mut reply = started_reply(execution, namespace, started, None);
    if let Reply::Started { link, .. } = &mut reply {
        let made = EventType::WorkflowExecutionSignaled;
        *link = Some(execution.link_to_request(namespace, &request.request_id, made));
    }
    reply
}
