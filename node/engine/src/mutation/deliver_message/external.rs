//! Signals and requests to cancel from one execution to another, and what became of them.

use super::{listening, parent_closed, wake};
use crate::execution::{Execution, HISTORY_SERVICE, send};
use crate::id::RunRef;
use crate::mutation::signal_workflow_execution::{Signal, add_signal, check_signal};
use crate::read;
use crate::reply::{Fault, Refusal, Stop};
use crate::tables::{
    ExternalTarget, MessageBody, RequestCancelExternal, Run, SignalExternal, WriteSet,
};
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause as CancelCause, NamespaceState,
    SignalExternalWorkflowExecutionFailedCause as SignalCause,
};

/// Why a target can't be reached.
enum Unreachable {
    Namespace,
    Execution,
}

/// A run that closed meanwhile sends nothing any more, as in Temporal. (Once shards are split,
/// this look at the source belongs to the sender's side.)
fn sends(set: &WriteSet<'_>, source: &RunRef) -> Result<bool, Fault> {
    Ok(set.run(source)?.is_some_and(|run| run.close.is_none()))
}

/// The run that is meant. An execution can't reach itself.
fn find(
    set: &WriteSet<'_>,
    source: &RunRef,
    target: &ExternalTarget,
) -> Result<Result<RunRef, Unreachable>, Fault> {
    let deleted = i32::from(NamespaceState::Deleted);
    let namespace = set.namespace(target.namespace)?;
    if namespace.is_none_or(|namespace| namespace.state == deleted) {
        return Ok(Err(Unreachable::Namespace));
    }
    if target.namespace == source.namespace && target.workflow_id == source.workflow_id {
        return Ok(Err(Unreachable::Execution));
    }
    let (workflow_id, run_id) = (&target.workflow_id, &target.run_id);
    let Ok(run) = read::resolve(set, target.namespace, workflow_id, run_id)? else {
        return Ok(Err(Unreachable::Execution));
    };
    let allowed = !target.child_workflow_only || is_child(set, &run, source)?;
    if !allowed || !run.quarantined.is_empty() {
        return Ok(Err(Unreachable::Execution));
    }
    Ok(Ok(run.run.clone()))
}

fn is_child(set: &WriteSet<'_>, run: &Run, source: &RunRef) -> Result<bool, Fault> {
    match &run.parent {
        Some(parent) => super::is_fork_of(set, source, &parent.run),
        None => Ok(false),
    }
}

fn by(source: &RunRef, target: &ExternalTarget) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: source.workflow_id.clone(),
        run_id: target.source_run_id.clone(),
    }
}

/// Tells who sent something what became of it; cause 0 when it worked.
fn answer(
    set: &mut WriteSet<'_>,
    source: &RunRef,
    initiated_event_id: i64,
    target: &ExternalTarget,
    cause: i32,
) {
    let from = RunRef {
        namespace: target.namespace,
        workflow_id: target.workflow_id.clone(),
        number: 0,
    };
    let to = source.clone();
    let body = MessageBody::ExternalResult { to, cause };
    send(set, from, initiated_event_id, body);
}

/// Signals the target. One that is about to close is signalled later.
pub(super) fn signal(
    set: &mut WriteSet<'_>,
    source: &RunRef,
    initiated_event_id: i64,
    signal: &SignalExternal,
) -> Result<(), Stop> {
    if !sends(set, source)? {
        return Ok(());
    }
    let cause = match find(set, source, &signal.target)? {
        Ok(run) => match Execution::load(set, &run)? {
            Some(execution) => signal_run(execution, source, signal)?,
            None => Some(SignalCause::ExternalWorkflowExecutionNotFound),
        },
        Err(Unreachable::Namespace) => Some(SignalCause::NamespaceNotFound),
        Err(Unreachable::Execution) => Some(SignalCause::ExternalWorkflowExecutionNotFound),
    };
    let cause = cause.map_or(0, i32::from);
    answer(set, source, initiated_event_id, &signal.target, cause);
    Ok(())
}

fn signal_run(
    mut execution: Execution<'_, '_>,
    source: &RunRef,
    signal: &SignalExternal,
) -> Result<Option<SignalCause>, Stop> {
    match check_signal(&execution) {
        Ok(()) => {}
        Err(Refusal::InvalidArgument(_)) => {
            return Ok(Some(SignalCause::SignalCountLimitExceeded));
        }
        Err(Refusal::NotFound(_)) => {
            return Ok(Some(SignalCause::ExternalWorkflowExecutionNotFound));
        }
        Err(later) => return Err(later.into()),
    }
    let new = Signal {
        name: &signal.signal_name,
        input: signal.input.as_ref().map(|input| input.0.clone()),
        identity: HISTORY_SERVICE,
        header: signal.header.as_ref().map(|header| header.0.clone()),
        request_id: &signal.target.request_id,
        links: Vec::new(),
        external: Some(by(source, &signal.target)),
    };
    if add_signal(&mut execution, new)? {
        wake(execution)?;
    }
    Ok(None)
}

/// Asks the target to cancel itself. One that is closed or was asked before is a success.
pub(super) fn request_cancel(
    set: &mut WriteSet<'_>,
    source: &RunRef,
    initiated_event_id: i64,
    request: &RequestCancelExternal,
) -> Result<(), Fault> {
    if !sends(set, source)? {
        return Ok(());
    }
    let target = &request.target;
    let cause = match find(set, source, target)? {
        Ok(run) => {
            if let Some(execution) = listening(set, &run)? {
                let said = (request.reason.as_str(), target.request_id.as_str());
                let by = by(source, target);
                parent_closed::request_cancel(execution, by, initiated_event_id, said)?;
            }
            0
        }
        Err(Unreachable::Namespace) => CancelCause::NamespaceNotFound.into(),
        Err(Unreachable::Execution) => CancelCause::ExternalWorkflowExecutionNotFound.into(),
    };
    answer(set, source, initiated_event_id, target, cause);
    Ok(())
}

/// Writes what became of it.
pub(super) fn result(
    set: &mut WriteSet<'_>,
    to: &RunRef,
    initiated_event_id: i64,
    cause: i32,
) -> Result<(), Fault> {
    let Some(mut execution) = listening(set, to)? else {
        return Ok(());
    };
    if execution.external_result(initiated_event_id, cause)? {
        wake(execution)?;
    }
    Ok(())
}
