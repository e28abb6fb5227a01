//! What a child tells its parent: that it runs, that it could not, that it closed.

use super::{listening_parent, wake};
use crate::execution::send;
use crate::id::RunRef;
use crate::reply::Fault;
use crate::tables::{MessageBody, WriteSet};
use steadfast_proto::temporal::enums::v1::ParentClosePolicy;
use steadfast_proto::temporal::history::v1::HistoryEvent;

/// The child runs. A parent that closed before it heard of it lets its policy follow.
pub(super) fn started(
    set: &mut WriteSet<'_>,
    child: &RunRef,
    parent: &RunRef,
    initiated_event_id: i64,
    (run_id, policy): (&str, i32),
) -> Result<(), Fault> {
    if let Some(mut execution) = listening_parent(set, parent, initiated_event_id)? {
        let pending = execution.child(initiated_event_id)?;
        let Some(pending) = pending.filter(|pending| pending.run_id.is_empty()) else {
            return Ok(());
        };
        execution.child_started(pending, run_id)?;
        return wake(execution);
    }
    if policy != i32::from(ParentClosePolicy::Abandon) {
        let body = MessageBody::ParentClosed {
            namespace: child.namespace,
            workflow_id: child.workflow_id.clone(),
            run_id: run_id.to_owned(),
            policy,
        };
        send(set, parent.clone(), initiated_event_id, body);
    }
    Ok(())
}

/// The child could not be started.
pub(super) fn start_failed(
    set: &mut WriteSet<'_>,
    parent: &RunRef,
    initiated_event_id: i64,
    cause: i32,
) -> Result<(), Fault> {
    let Some(mut execution) = listening_parent(set, parent, initiated_event_id)? else {
        return Ok(());
    };
    let pending = execution.child(initiated_event_id)?;
    let Some(pending) = pending.filter(|pending| pending.run_id.is_empty()) else {
        return Ok(());
    };
    execution.child_start_failed(pending, cause)?;
    wake(execution)
}

/// The last run of the child closed.
pub(super) fn closed(
    set: &mut WriteSet<'_>,
    parent: &RunRef,
    initiated_event_id: i64,
    event: HistoryEvent,
) -> Result<(), Fault> {
    let Some(mut execution) = listening_parent(set, parent, initiated_event_id)? else {
        return Ok(());
    };
    let Some(attributes) = event.attributes else {
        return Err(Fault::Decode("a child's close has no event".to_owned()));
    };
    let Some(pending) = execution.child(initiated_event_id)? else {
        return Ok(());
    };
    execution.child_closed(&pending, attributes)?;
    wake(execution)
}
