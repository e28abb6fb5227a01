//! CANCEL_TIMER: a pending one, or one that fired without the workflow having seen it.

use super::timer::table;
use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::Execution;
use crate::reply::Fault;
use crate::tables::{DueKind, Record, keys};
use steadfast_proto::temporal::command::v1::CancelTimerCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::TimerCanceledEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: CancelTimerCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let timer_id = attributes.timer_id;
    if timer_id.is_empty() {
        let text = "TimerId is not set on CancelTimerCommand.";
        return Err(CommandError::bad(Cause::BadCancelTimerAttributes, text));
    }
    let Some(started_event_id) = take_timer(execution, &timer_id)? else {
        let text = format!(
            "invalid history builder state for action: add-timer-canceled-event, TimerID: {timer_id}"
        );
        return Err(CommandError::bad(Cause::BadCancelTimerAttributes, text));
    };
    let event = Attributes::TimerCanceledEventAttributes(TimerCanceledEventAttributes {
        timer_id,
        started_event_id,
        workflow_task_completed_event_id: completion.completed_event_id,
        identity: completion.request.identity.clone(),
    });
    execution.add_event(head.event(event));
    Ok(())
}

fn take_timer(execution: &mut Execution<'_, '_>, timer_id: &str) -> Result<Option<i64>, Fault> {
    let key = keys::timer_key(&execution.run.run, timer_id);
    match execution.set.get(&key)?.as_deref() {
        Some(Record::UserTimer(timer)) => {
            let started_event_id = timer.started_event_id;
            let kind = DueKind::UserTimer {
                started_event_id,
                timer_id: timer_id.to_owned(),
            };
            execution.remove_due(timer.fire_at, &kind);
            execution.set.delete(key);
            execution.set.took(&table::CANCELED);
            execution.run.pending_timers = execution.run.pending_timers.saturating_sub(1);
            Ok(Some(started_event_id))
        }
        Some(other) => Err(crate::tables::wrong_record(other)),
        None => {
            let taken = execution.take_buffered_timer_fired(timer_id)?;
            if taken.is_some() {
                execution.set.took(&table::TAKEN_BACK);
            }
            Ok(taken)
        }
    }
}
