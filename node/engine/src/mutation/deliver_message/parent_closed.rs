//! A parent closed: its children hear of it in slices, and each follows its policy.

use crate::event::{Attributes, NewEvent};
use crate::execution::{Execution, HISTORY_SERVICE, child, send};
use crate::id::{NamespaceNumber, RunRef};
use crate::read;
use crate::reply::Fault;
use crate::tables::{MessageBody, Record, WriteSet, keys, wrong_record};
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::ParentClosePolicy;
use steadfast_proto::temporal::history::v1::WorkflowExecutionCancelRequestedEventAttributes;

/// Children that one mutation tells (design D2: a mutation is bounded).
pub(super) const SLICE_CHILDREN: usize = 200;
/// Reason of the terminated event.
const REASON: &str = "by parent close policy";

/// Tells the next slice. A child whose start the parent has not heard of follows its policy when
/// it reports that.
pub(super) fn close_children(
    set: &mut WriteSet<'_>,
    parent: &RunRef,
    after: i64,
) -> Result<(), Fault> {
    let Some(mut run) = set.run(parent)? else {
        return Ok(());
    };
    let from = keys::child_key(parent, after.saturating_add(1));
    let end = keys::prefix_end(&keys::child_prefix(parent));
    let children = set.scan(&from, &end, SLICE_CHILDREN + 1, false)?;
    let more = children.len() > SLICE_CHILDREN;
    let mut last = after;
    for (_, record) in children.iter().take(SLICE_CHILDREN) {
        let Record::Child(pending) = record.as_ref() else {
            return Err(wrong_record(record));
        };
        last = pending.initiated_event_id;
        let abandoned = pending.parent_close_policy == i32::from(ParentClosePolicy::Abandon);
        if pending.run_id.is_empty() || abandoned {
            set.took(&child::table::LEFT);
            continue;
        }
        set.took(&child::table::FOLLOWS);
        let body = MessageBody::ParentClosed {
            namespace: pending.namespace,
            workflow_id: pending.workflow_id.clone(),
            run_id: pending.run_id.clone(),
            policy: pending.parent_close_policy,
        };
        send(set, parent.clone(), pending.initiated_event_id, body);
    }
    if more {
        let body = MessageBody::CloseChildren { after: last };
        send(set, parent.clone(), 0, body);
    } else {
        run.closes_children = false;
        set.put(keys::run_key(parent), Record::Run(run));
    }
    Ok(())
}

/// The child, whichever run of its chain is the current one, follows its policy.
pub(super) fn apply(
    set: &mut WriteSet<'_>,
    parent: &RunRef,
    (namespace, workflow_id, first_run_id): (NamespaceNumber, &str, &str),
    policy: i32,
) -> Result<(), Fault> {
    let current = read::target::current_run(&*set, namespace, workflow_id)?;
    let of_chain = current.filter(|run| run.first_execution_run_id == first_run_id);
    let Some((child, Some(reference))) = of_chain.map(|run| (run.run.clone(), run.parent.clone()))
    else {
        return Ok(());
    };
    if !super::is_fork_of(set, parent, &reference.run)? {
        return Ok(());
    }
    let Some(mut execution) = super::listening(set, &child)? else {
        return Ok(());
    };
    match ParentClosePolicy::try_from(policy) {
        Ok(ParentClosePolicy::Terminate) => {
            execution.terminate(REASON, None, HISTORY_SERVICE, Vec::new())?;
            execution.finish()
        }
        Ok(ParentClosePolicy::RequestCancel) => {
            let by = WorkflowExecution {
                workflow_id: reference.run.workflow_id,
                run_id: reference.run_id,
            };
            request_cancel(execution, by, 0, ("", ""))
        }
        // A policy that is not known does nothing, as in Temporal.
        Ok(ParentClosePolicy::Unspecified | ParentClosePolicy::Abandon) | Err(_) => Ok(()),
    }
}

/// Asks an open run to cancel itself, in the name of another execution; once.
pub(super) fn request_cancel(
    mut execution: Execution<'_, '_>,
    by: WorkflowExecution,
    initiated_event_id: i64,
    (reason, request_id): (&str, &str),
) -> Result<(), Fault> {
    if execution.run.cancel_requested {
        return Ok(());
    }
    let attributes = WorkflowExecutionCancelRequestedEventAttributes {
        cause: reason.to_owned(),
        external_initiated_event_id: initiated_event_id,
        external_workflow_execution: Some(by),
        identity: HISTORY_SERVICE.to_owned(),
    };
    execution.add_or_buffer(NewEvent::from(
        Attributes::WorkflowExecutionCancelRequestedEventAttributes(attributes),
    ))?;
    execution.run.cancel_requested = true;
    request_id.clone_into(&mut execution.run.cancel_request_id);
    if !execution.has_started_workflow_task() {
        // A run that still waits for its first task hears of it at once.
        execution.schedule_first_workflow_task()?;
    }
    execution.finish()
}
