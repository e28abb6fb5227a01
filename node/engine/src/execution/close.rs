//! Closing a run.

use super::Execution;
use crate::command::timer;
use crate::event::NewEvent;
use crate::reply::Fault;
use crate::tables::{CloseState, DueKind, Record, keys};
use crate::time::{Span, Timestamp};
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;

/// Due items of pending timers that are removed at a close; more stay and are dropped when due.
const TIMERS_MAX: usize = 500;
/// Retention of a namespace that is gone.
const RETENTION_DEFAULT: Span = Span::seconds(24 * 3600);

/// How a run closes.
#[derive(Debug)]
pub struct Closing {
    /// The status it has then.
    pub status: WorkflowExecutionStatus,
    /// The closing event.
    pub event: NewEvent,
    /// The next run of the chain; empty when none.
    pub new_execution_run_id: String,
}

impl Execution<'_, '_> {
    /// Closes the run: the closing event, no more tasks and due times, retention begins. A
    /// workflow task is ended before, by its completion or `end_task_for_close`.
    /// Pending activities stay readable; their queue entries and due times are stale.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn close(&mut self, closing: Closing) -> Result<(), Fault> {
        assert!(self.is_open(), "a run closes once");
        self.end_task();
        self.drop_buffered()?;
        self.tell_of_close(&closing.event.attributes, &closing.new_execution_run_id)?;
        let event_id = self.add_event(closing.event);
        let times = self.run.times;
        if times.run_expires_at != Timestamp(0) {
            self.remove_due(times.run_expires_at, &DueKind::RunTimeout);
        }
        if times.execution_expires_at != Timestamp(0) {
            self.remove_due(times.execution_expires_at, &DueKind::ExecutionTimeout);
        }
        if self.run.first_task_pending {
            self.remove_due(times.execution_at, &DueKind::FirstWorkflowTask);
            self.run.first_task_pending = false;
        }
        self.disarm_timers()?;
        self.run.sticky = None;
        self.run.status = closing.status.into();
        self.run.close = Some(CloseState {
            at: self.set.now,
            new_execution_run_id: closing.new_execution_run_id,
            event_id,
        });
        self.add_due(self.set.now.after(self.retention()?), DueKind::Retention);
        self.closed_here = true;
        Ok(())
    }

    /// How long the run is kept once it is closed.
    pub(super) fn retention(&self) -> Result<Span, Fault> {
        let namespace = self.set.namespace(self.run.run.namespace)?;
        Ok(namespace.map_or(RETENTION_DEFAULT, |namespace| namespace.retention))
    }

    fn disarm_timers(&mut self) -> Result<(), Fault> {
        if self.run.pending_timers == 0 {
            return Ok(());
        }
        let prefix = keys::timer_prefix(&self.run.run);
        for (key, record) in self.set.scan_prefix(&prefix, TIMERS_MAX, false)? {
            let Record::UserTimer(timer) = record.as_ref() else {
                return Err(crate::tables::wrong_record(&record));
            };
            // The id is the rest of the key; the due item's key does not hold it.
            let kind = DueKind::UserTimer {
                started_event_id: timer.started_event_id,
                timer_id: String::new(),
            };
            self.remove_due(timer.fire_at, &kind);
            self.set.delete(key);
            self.set.took(&timer::table::DROPPED);
            self.run.pending_timers = self.run.pending_timers.saturating_sub(1);
        }
        Ok(())
    }
}
