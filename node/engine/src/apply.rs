//! The one function: a mutation in, everything that follows from it out.

use crate::effect::Effect;
use crate::execution::{Execution, HISTORY_SERVICE};
use crate::mutation::{self, Mutation, Proposed};
use crate::reply::{Fault, Refusal, Reply, Stop};
use crate::tables::{Changes, OverLimit, Tables, WriteSet};
use crate::task_queue;
use crate::transition::Transition;

/// Everything that follows from one mutation. The shell merges `changes`, then releases the reply
/// and the effects.
#[derive(Debug)]
pub struct Applied {
    /// The answer for the waiting call. A refusal comes without changes (but for the clock) and
    /// without effects, except where Temporal itself changes state and answers an error.
    pub reply: Result<Reply, Refusal>,
    /// Records to put and delete.
    pub changes: Changes,
    /// Duties of the shell.
    pub effects: Vec<Effect>,
    /// Rows of the transition tables that were taken, for tests.
    pub transitions: Vec<&'static Transition>,
}

/// Applies one mutation. Total and deterministic: the same tables and mutation give the same
/// result on each replica.
///
/// # Errors
/// [`Fault`] when the tables can't be read or hold nonsense: the node stops.
pub fn apply(tables: &dyn Tables, proposed: &Proposed) -> Result<Applied, Fault> {
    let mut set = WriteSet::new(
        tables,
        proposed.now,
        proposed.entropy,
        proposed.reservations.clone(),
    )?;
    let reply = match dispatch_within_limits(&mut set, &proposed.mutation) {
        Ok(reply) => {
            task_queue::claim_for_the_rest(&mut set)?;
            Ok(reply)
        }
        Err(Stop::Faulted(fault)) => return Err(fault),
        Err(Stop::RefusedWithChanges(refusal)) => Err(refusal),
        Err(Stop::Refused(refusal)) => {
            set.rollback();
            Err(refusal)
        }
    };
    let transitions = std::mem::take(&mut set.transitions);
    let (changes, effects) = set.finish();
    Ok(Applied {
        reply,
        changes,
        effects,
        transitions,
    })
}

/// As [`dispatch`]; but when a history passed its limit, what was done is taken back, and the run
/// is terminated instead (Temporal's `forceTerminateWorkflow`).
fn dispatch_within_limits(set: &mut WriteSet<'_>, mutation: &Mutation) -> Result<Reply, Stop> {
    let source = source_of(mutation);
    if source != Source::Shell {
        set.over_limit = OverLimit::Note;
    }
    let outcome = dispatch(set, mutation);
    let over = std::mem::replace(&mut set.over_limit, OverLimit::EndHere);
    let stays = matches!(outcome, Ok(_) | Err(Stop::RefusedWithChanges(_)));
    let (OverLimit::Noted(run, reason), true) = (over, stays) else {
        return outcome;
    };
    set.rollback();
    if let Some(mut execution) = Execution::load(set, &run)? {
        execution.terminate(reason, None, HISTORY_SERVICE, Vec::new())?;
        execution.finish()?;
    }
    if source == Source::Duty {
        // What is left of it comes again, and finds a closed run.
        return Ok(Reply::Done);
    }
    let refusal = Refusal::InvalidArgument(reason.to_owned());
    Err(Stop::RefusedWithChanges(refusal))
}

/// Who a mutation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A call, about one run, which hears what becomes of it.
    Call,
    /// A duty about one run that the state holds; nobody hears of it.
    Duty,
    /// Anything else.
    Shell,
}

fn source_of(mutation: &Mutation) -> Source {
    match mutation {
        Mutation::StartWorkflowExecution(_)
        | Mutation::SignalWorkflowExecution(_)
        | Mutation::SignalWithStartWorkflowExecution(_)
        | Mutation::RequestCancelWorkflowExecution(_)
        | Mutation::TerminateWorkflowExecution(_)
        | Mutation::RespondWorkflowTaskCompleted { .. }
        | Mutation::RespondWorkflowTaskFailed { .. }
        | Mutation::RespondActivityTaskCompleted { .. }
        | Mutation::RespondActivityTaskFailed { .. }
        | Mutation::RespondActivityTaskCanceled { .. }
        | Mutation::RecordActivityTaskHeartbeat { .. }
        | Mutation::ResetStickyTaskQueue(_)
        | Mutation::UpdateWorkflowExecution(_)
        | Mutation::ExecuteMultiOperation { .. } => Source::Call,
        Mutation::FireDue(_) | Mutation::DeliverMessage(_) => Source::Duty,
        Mutation::Bootstrap { .. }
        | Mutation::SetConfig { .. }
        | Mutation::RegisterNamespace { .. }
        | Mutation::UpdateNamespace(_)
        | Mutation::AddSearchAttributes { .. }
        | Mutation::DeleteWorkflowExecution(_)
        | Mutation::DeleteSlice(_)
        | Mutation::ClaimTask(_)
        | Mutation::ReturnTask(_)
        | Mutation::ShutdownWorker { .. }
        | Mutation::AbandonStickyQueue(_)
        | Mutation::QuarantineRun { .. }
        | Mutation::RaiseEngineVersion(_)
        | Mutation::ResetWorkflowExecution(_)
        | Mutation::PurgeNamespace(_) => Source::Shell,
    }
}

#[expect(clippy::too_many_lines, reason = "one match, an arm for each mutation")]
fn dispatch(set: &mut WriteSet<'_>, mutation: &Mutation) -> Result<Reply, Stop> {
    match mutation {
        Mutation::Bootstrap {
            cluster_id,
            namespaces,
            config,
            search_attributes,
        } => mutation::bootstrap::apply(set, cluster_id, namespaces, config, search_attributes),
        Mutation::SetConfig { key, value } => {
            mutation::set_config::apply(set, key, value.as_deref())
        }
        Mutation::RegisterNamespace { request, id } => {
            mutation::register_namespace::apply(set, request, id)
        }
        Mutation::UpdateNamespace(request) => mutation::update_namespace::apply(set, request),
        Mutation::AddSearchAttributes {
            namespace,
            attributes,
        } => mutation::add_search_attributes::apply(set, namespace, attributes),
        Mutation::StartWorkflowExecution(request) => {
            mutation::start_workflow_execution::apply(set, request)
        }
        Mutation::SignalWorkflowExecution(request) => {
            mutation::signal_workflow_execution::apply(set, request)
        }
        Mutation::SignalWithStartWorkflowExecution(request) => {
            mutation::signal_with_start_workflow_execution::apply(set, request)
        }
        Mutation::RequestCancelWorkflowExecution(request) => {
            mutation::request_cancel_workflow_execution::apply(set, request)
        }
        Mutation::TerminateWorkflowExecution(request) => {
            mutation::terminate_workflow_execution::apply(set, request)
        }
        Mutation::DeleteWorkflowExecution(target) => {
            mutation::delete_workflow_execution::apply(set, target)
        }
        Mutation::DeleteSlice(run) => mutation::delete_workflow_execution::apply_slice(set, run),
        Mutation::ClaimTask(reservation) => mutation::claim_task::apply(set, reservation),
        Mutation::ReturnTask(token) => mutation::return_task::apply(set, token),
        Mutation::RespondWorkflowTaskCompleted { token, request } => {
            mutation::respond_workflow_task_completed::apply(set, token, request)
        }
        Mutation::RespondWorkflowTaskFailed { token, request } => {
            mutation::respond_workflow_task_failed::apply(set, token, request)
        }
        Mutation::RespondActivityTaskCompleted { target, request } => {
            mutation::respond_activity_task_completed::apply(set, target, request)
        }
        Mutation::RespondActivityTaskFailed { target, request } => {
            mutation::respond_activity_task_failed::apply(set, target, request)
        }
        Mutation::RespondActivityTaskCanceled { target, request } => {
            mutation::respond_activity_task_canceled::apply(set, target, request)
        }
        Mutation::RecordActivityTaskHeartbeat { target, request } => {
            mutation::record_activity_task_heartbeat::apply(set, target, request)
        }
        Mutation::FireDue(key) => mutation::fire_due::apply(set, key),
        Mutation::DeliverMessage(message) => mutation::deliver_message::apply(set, *message),
        Mutation::ResetStickyTaskQueue(target) => {
            mutation::reset_sticky_task_queue::apply(set, target)
        }
        Mutation::ShutdownWorker {
            namespace,
            sticky_task_queue,
        } => mutation::shutdown_worker::apply(set, namespace, sticky_task_queue),
        Mutation::AbandonStickyQueue(queue) => mutation::abandon_sticky_queue::apply(set, queue),
        Mutation::QuarantineRun { run, reason } => {
            mutation::quarantine_run::apply(set, run, reason)
        }
        Mutation::RaiseEngineVersion(version) => {
            mutation::raise_engine_version::apply(set, *version)
        }
        Mutation::ResetWorkflowExecution(request) => {
            mutation::reset_workflow_execution::apply(set, request)
        }
        Mutation::PurgeNamespace(number) => mutation::purge_namespace::apply(set, *number),
        Mutation::UpdateWorkflowExecution(request) => {
            mutation::update_workflow_execution::apply(set, request)
        }
        Mutation::ExecuteMultiOperation { start, update } => {
            mutation::execute_multi_operation::apply(set, start, update)
        }
    }
}
