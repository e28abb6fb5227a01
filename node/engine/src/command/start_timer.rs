//! START_TIMER.

use super::timer::table;
use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::Execution;
use crate::retry::is_negative;
use crate::tables::{DueKind, Record, UserTimer, keys};
use crate::time::Span;
use steadfast_proto::temporal::command::v1::StartTimerCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::TimerStartedEventAttributes;

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: StartTimerCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let timer_id = attributes.timer_id;
    let bad = |text: String| Err(CommandError::bad(Cause::BadStartTimerAttributes, text));
    if timer_id.is_empty() {
        return bad("TimerId is not set on StartTimerCommand.".to_owned());
    }
    let (length, limit) = (timer_id.len(), execution.set.limits().id_length_max);
    if length > usize::try_from(limit).unwrap_or(usize::MAX) {
        return bad(format!(
            "TimerId on StartTimerCommand exceeds length limit. TimerId={timer_id} Length={length} Limit={limit}"
        ));
    }
    if is_negative(attributes.start_to_fire_timeout.as_ref()) {
        return bad(format!(
            "An invalid StartToFireTimeout is set on StartTimerCommand: negative duration. TimerId={timer_id}"
        ));
    }
    let key = keys::timer_key(&execution.run.run, &timer_id);
    if execution.set.get(&key)?.is_some() {
        let text = format!(
            "invalid history builder state for action: add-timer-started-event, TimerID: {timer_id}"
        );
        return Err(CommandError::bad(Cause::StartTimerDuplicateId, text));
    }
    let timeout = Span::from_proto(attributes.start_to_fire_timeout.as_ref());
    let event = Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes {
        timer_id: timer_id.clone(),
        start_to_fire_timeout: Some(timeout.to_proto()),
        workflow_task_completed_event_id: completion.completed_event_id,
    });
    let started_event_id = execution.add_event(head.event(event));
    let fire_at = execution.set.now.after(timeout);
    execution.set.put(
        key,
        Record::UserTimer(UserTimer {
            started_event_id,
            fire_at,
        }),
    );
    execution.set.took(&table::STARTED);
    execution.run.pending_timers += 1;
    execution.add_due(
        fire_at,
        DueKind::UserTimer {
            started_event_id,
            timer_id,
        },
    );
    Ok(())
}
