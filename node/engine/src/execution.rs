//! One run, opened for change: every event, due time and task of a run goes through here.
//!
//! A mutation loads an [`Execution`], changes it, and ends with [`Execution::finish`], which writes
//! the run's record, this transaction's history batch, its row in the list, and hands tasks out.
//! Dropping it without `finish` changes nothing of the run's record or history.
//!
//! From [`crate::task_queue`] it needs `take_reservation(set, &QueueKey) -> Result<Option<
//! Reservation>, Fault>` (one that polls this queue, when the queue has no backlog; it is used up),
//! `push(set, &QueueKey, QueueTask) -> u64` (the sequence number; leaves `TaskQueued`) and
//! `remove(set, &QueueKey, u64)`. A claim of a workflow task calls
//! [`Execution::start_workflow_task`] once `is_claimable` says yes, then `finish`.

pub(crate) mod activity;
mod buffer;
pub(crate) mod child;
pub(crate) mod external;
mod outbox;

mod close;
mod find;
mod limits;
mod links;
mod next_run;
mod open;
mod own_search_attributes;
mod reset;
mod reset_points;
pub(crate) mod update;
pub(crate) mod workflow_task;

pub(crate) use outbox::send;

pub use close::Closing;
pub(crate) use find::namespace_by_number;
pub use find::namespace_of;
pub(crate) use next_run::Continuation;
pub use next_run::NextRun;
pub use open::Opening;
pub(crate) use open::{new_run_id, start_timeouts};
pub(crate) use reset::{Fork, Reapply};
pub use reset_points::reset_points;
pub use update::{ACCEPTED_UPDATE_COMPLETED_WORKFLOW, ReappliedUpdate, updates_to_reapply};
pub(crate) use update::{AnswerError, closed_update_failure};
pub use workflow_task::{DEFAULT_TASK_TIMEOUT, TASK_TIMEOUT_MAX, TaskFailure};
pub(crate) use workflow_task::{HISTORY_SERVICE, INLINE_REQUEST_ID, poll_text};

use crate::effect::{AssignedTask, Effect};
use crate::event::{Attributes, NewEvent};
use crate::id::{QueueKey, RunRef, TaskKind};
use crate::reply::Fault;
use crate::tables::{
    Due, DueKind, HistoryBatch, Record, Run, VisibilityRow, WorkflowTaskKind, WorkflowTaskPhase,
    WriteSet, keys,
};
use crate::task_queue;
use crate::time::Timestamp;
use prost::Message;
use steadfast_planted::{Bug, planted};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};

/// One run and the mutation's write set.
#[derive(Debug)]
pub struct Execution<'set, 'tables> {
    /// The mutation's view of the state.
    pub set: &'set mut WriteSet<'tables>,
    /// The run's record; written back by [`Execution::finish`].
    pub run: Box<Run>,
    batch: Vec<HistoryEvent>,
    is_new: bool,
    /// A workflow task was scheduled here and still needs a queue or a poller.
    dispatch: bool,
    task_ended: bool,
    buffered_here: bool,
    closed_here: bool,
    /// Only updates and speculative tasks moved: a speculative task stays one, and when there is
    /// no event either, no transition is counted.
    leaves_no_trace: bool,
    /// A reset ends it, and the new run takes its children over.
    pub(crate) leaves_children: bool,
    /// A reset ends it, and the new run reports to the parent.
    pub(crate) leaves_parent: bool,
}

impl<'set, 'tables> Execution<'set, 'tables> {
    /// Opens an existing run for change; `None` when there is none.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn load(set: &'set mut WriteSet<'tables>, run: &RunRef) -> Result<Option<Self>, Fault> {
        Ok(set.run(run)?.map(|run| Self::with(set, run)))
    }

    fn with(set: &'set mut WriteSet<'tables>, run: Box<Run>) -> Self {
        let (batch, is_new) = (Vec::new(), false);
        let (dispatch, task_ended, buffered_here, closed_here) = (false, false, false, false);
        let (leaves_no_trace, leaves_children, leaves_parent) = (false, false, false);
        Self {
            set,
            run,
            batch,
            is_new,
            dispatch,
            task_ended,
            buffered_here,
            closed_here,
            leaves_no_trace,
            leaves_children,
            leaves_parent,
        }
    }

    /// Whether the run has not closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.run.close.is_none()
    }

    /// Whether a worker has the workflow task: then most events are buffered.
    #[must_use]
    pub fn has_started_workflow_task(&self) -> bool {
        self.run
            .workflow_task
            .as_ref()
            .is_some_and(|task| matches!(task.phase, WorkflowTaskPhase::Started { .. }))
    }

    /// Adds an event to this transaction's batch and answers its id. For workflow task events,
    /// start and close events and events made by commands, which are never buffered.
    pub fn add_event(&mut self, event: impl Into<NewEvent>) -> i64 {
        let now = self.set.now;
        self.add_event_at(event, now)
    }

    /// Adds an event with a time of its own: a start that is written only when its end is known.
    pub(crate) fn add_event_at(&mut self, event: impl Into<NewEvent>, at: Timestamp) -> i64 {
        self.make_speculative_ordinary();
        let event_id = self.run.next_event_id;
        self.run.next_event_id += 1;
        self.batch.push(event.into().into_event(event_id, at));
        event_id
    }

    /// Adds an event that comes from outside of the workflow's code. While a worker has the
    /// workflow task it is buffered without an id (`None`) and gets one when that task ends; a
    /// started event id in it that is 0 is filled in then.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn add_or_buffer(&mut self, event: impl Into<NewEvent>) -> Result<Option<i64>, Fault> {
        if self.has_started_workflow_task() {
            self.buffer(event.into());
            return Ok(None);
        }
        Ok(Some(self.add_event(event)))
    }

    /// Only updates and speculative tasks move from here on: a speculative task stays one.
    pub(crate) fn leave_no_trace(&mut self) {
        self.leaves_no_trace = true;
    }

    /// The id that the next event gets.
    #[must_use]
    pub fn next_event_id(&self) -> i64 {
        self.run.next_event_id
    }

    /// Encoded bytes of the history, this transaction's events included.
    #[must_use]
    pub fn history_bytes(&self) -> i64 {
        let batch: usize = self.batch.iter().map(Message::encoded_len).sum();
        self.run
            .history_bytes
            .saturating_add(i64::try_from(batch).unwrap_or(i64::MAX))
    }

    /// Puts something into the index of due times.
    pub fn add_due(&mut self, at: Timestamp, kind: DueKind) {
        let key = keys::due_key(at, &self.run.run, &kind);
        self.set.put(
            key,
            Record::Due(Due {
                run: self.run.run.clone(),
                kind,
            }),
        );
        self.set.effects.push(Effect::DueAt(at));
    }

    /// Takes something out of the index of due times; harmless when it is not there.
    pub fn remove_due(&mut self, at: Timestamp, kind: &DueKind) {
        self.set.delete(keys::due_key(at, &self.run.run, kind));
    }

    /// The run's normal queue of workflow tasks.
    #[must_use]
    pub fn normal_queue(&self) -> QueueKey {
        self.workflow_queue(&self.run.task_queue)
    }

    fn workflow_queue(&self, name: &str) -> QueueKey {
        let namespace = self.run.run.namespace;
        QueueKey {
            namespace,
            kind: TaskKind::Workflow,
            name: name.to_owned(),
        }
    }

    /// Ends the change: hands the workflow task out or queues it, writes the history batch (when
    /// there are events), the run and its row, and leaves the shell's duties. A mutation that
    /// changed nothing drops the execution instead.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn finish(self) -> Result<(), Fault> {
        self.finish_into_set().map(|_| ())
    }

    /// As [`Execution::finish`], giving the write set back for what follows in the mutation.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn finish_into_set(mut self) -> Result<&'set mut WriteSet<'tables>, Fault> {
        if !self.leaves_no_trace {
            self.make_speculative_ordinary();
        }
        self.check_history_limits()?;
        self.check_buffer_limit()?;
        if self.closed_here {
            self.end_updates()?;
        }
        self.dispatch_workflow_task()?;
        if !self.leaves_no_trace || !self.batch.is_empty() {
            self.run.state_transitions += 1;
        }
        self.write_batch();
        if self.is_new || self.closed_here && !planted(Bug::ClosedRunStaysListed) {
            self.write_row();
        }
        let run = self.run.run.clone();
        if self.task_ended {
            self.set
                .effects
                .push(Effect::WorkflowTaskEnded { run: run.clone() });
        }
        self.set.effects.push(Effect::RunChanged {
            run: run.clone(),
            closed: !self.is_open(),
        });
        self.set.put(keys::run_key(&run), Record::Run(self.run));
        Ok(self.set)
    }

    fn dispatch_workflow_task(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.dispatch) {
            return Ok(());
        }
        let Some(task) = self.run.workflow_task.as_ref() else {
            return Ok(());
        };
        let (queue, kind) = (self.workflow_queue(&task.queue), task.kind);
        if let Some(reservation) = task_queue::take_reservation(self.set, &queue)? {
            if self.ends_instead_of_start()? {
                self.set.reservations.push(reservation);
                return self.end_updates();
            }
            // The claim counts as a transition of its own, as when a poll makes it.
            if kind != WorkflowTaskKind::Speculative {
                self.run.state_transitions += 1;
            }
            let task = self.start_workflow_task(&reservation)?;
            let task = Box::new(AssignedTask::Workflow(task));
            self.set
                .effects
                .push(Effect::TaskAssigned { reservation, task });
            return Ok(());
        }
        self.queue_workflow_task(&queue);
        Ok(())
    }

    /// Writes this transaction's events; a workflow task's start ends a batch, as in Temporal, so
    /// that a reset can begin after it.
    fn write_batch(&mut self) {
        let mut events = std::mem::take(&mut self.batch);
        while !events.is_empty() {
            let started = events
                .iter()
                .position(|event| event.event_type() == EventType::WorkflowTaskStarted);
            let rest = events.split_off(started.map_or(events.len(), |index| index + 1));
            self.write_events(std::mem::replace(&mut events, rest));
        }
    }

    fn write_events(&mut self, events: Vec<HistoryEvent>) {
        let Some(first) = events.first().map(|event| event.event_id) else {
            return;
        };
        let history = History { events };
        let events = bytes::Bytes::from(history.encode_to_vec());
        let count = u32::try_from(history.events.len()).unwrap_or(u32::MAX);
        let bytes = i64::try_from(events.len()).unwrap_or(i64::MAX);
        self.run.history_bytes = self.run.history_bytes.saturating_add(bytes);
        let key = keys::history_key(&self.run.run, first);
        self.set
            .put(key, Record::HistoryBatch(HistoryBatch { events, count }));
    }

    fn write_row(&mut self) {
        let run = &self.run;
        let closed_at = run.close.as_ref().map(|close| close.at);
        let (namespace, number) = (run.run.namespace, run.run.number);
        let key = |at| keys::visibility_key(namespace, run.times.started_at, at, number);
        if closed_at.is_some() && !self.is_new {
            self.set.delete(key(None));
        }
        let filled = |value: i64| if closed_at.is_some() { value } else { 0 };
        let row = VisibilityRow {
            run: run.run.clone(),
            run_id: run.run_id.clone(),
            workflow_type: run.workflow_type.clone(),
            task_queue: run.task_queue.clone(),
            status: run.status,
            started_at: run.times.started_at,
            execution_at: run.times.execution_at,
            closed_at,
            history_length: filled(run.next_event_id - 1),
            history_bytes: filled(run.history_bytes),
            state_transitions: filled(run.state_transitions),
        };
        self.set.put(key(closed_at), Record::Visibility(row));
    }

    /// Whether the events added in this transaction hold one that satisfies the condition.
    #[must_use]
    pub fn added(&self, condition: impl Fn(&Attributes) -> bool) -> bool {
        self.batch
            .iter()
            .filter_map(|event| event.attributes.as_ref())
            .any(condition)
    }
}
