//! The workflow task of a run: scheduling it and handing it to a worker. Its ends are in `ends`.

pub(crate) mod table {
    crate::transition::transitions! { "workflow task":
        SCHEDULED: "-" => "scheduled", "something the workflow has to see", "Scheduled";
        SCHEDULED_TRANSIENT: "-" => "scheduled, transient", "a failure or time-out before", "";
        STARTED: "scheduled" => "started", "a poll, or the answer of a call", "Started";
        STARTED_TRANSIENT: "scheduled, transient" => "started, transient", "a poll", "";
        MADE_ORDINARY: "scheduled, transient" => "started", "a poll, after events have come", "Scheduled, Started";
        SCHEDULED_SPECULATIVE: "-" => "scheduled, speculative", "an update, to an idle run", "";
        STARTED_SPECULATIVE: "scheduled, speculative" => "started, speculative", "a poll", "";
        WRITTEN: "scheduled, speculative" => "scheduled", "anything else happens to the run", "Scheduled";
        WRITTEN_STARTED: "started, speculative" => "started", "anything else happens to the run", "Scheduled, Started";
        COMPLETED: "started" => "-", "its worker answers", "Completed";
        COMPLETED_TRANSIENT: "started, transient" => "-", "its worker answers", "Scheduled, Started, Completed";
        COMPLETED_SPECULATIVE: "started, speculative" => "-", "its worker does more than reject updates", "Scheduled, Started, Completed";
        DISCARDED: "started, speculative" => "-", "its worker only rejects updates", "";
        FAILED: "started" => "-", "its worker fails it, or its commands are bad", "Failed";
        FAILED_TRANSIENT: "started, transient" => "-", "its worker fails it, or its commands are bad", "";
        FAILED_SPECULATIVE: "started, speculative" => "-", "its worker fails it, or its commands are bad", "Scheduled, Started, Failed";
        TIMED_OUT: "started" => "-", "start-to-close time-out", "TimedOut";
        TIMED_OUT_TRANSIENT: "started, transient" => "-", "start-to-close time-out", "";
        TIMED_OUT_SPECULATIVE: "started, speculative" => "-", "start-to-close time-out", "Scheduled, Started, TimedOut";
        UNTAKEN_SPECULATIVE: "scheduled, speculative" => "-", "nobody takes it for 5 s", "Scheduled, TimedOut";
        TIMED_OUT_STICKY: "scheduled" => "-", "schedule-to-start time-out of a sticky queue", "TimedOut";
        MOVED: "scheduled" => "scheduled", "its sticky queue has no poller", "";
        PUT_BACK: "started" => "started", "its poller had left; the next one gets it", "";
        DROPPED: "scheduled" => "-", "the run closes", "";
        FAILED_BY_RESET: "scheduled, started" => "-", "a reset to this task", "Started, Failed";
    }
}

mod ends;
mod speculative;

pub(crate) use ends::HISTORY_SERVICE;
pub use ends::TaskFailure;

use super::Execution;
use crate::effect::AssignedWorkflowTask;
use crate::event::Attributes;
use crate::id::{PollId, QueueKey, Reservation, TaskKind, uuid_text};
use crate::mutation::TaskToken;
use crate::reply::Fault;
use crate::tables::{DueKind, QueueTask, WorkflowTask, WorkflowTaskKind, WorkflowTaskPhase};
use crate::task_queue;
use crate::time::{Span, Timestamp};
use bytes::Bytes;
use prost::Message;
use steadfast_proto::temporal::enums::v1::{SuggestContinueAsNewReason, TaskQueueKind};
use steadfast_proto::temporal::history::v1::{
    History, HistoryEvent, WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes,
};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// Time-out of a workflow task when the start names none.
pub const DEFAULT_TASK_TIMEOUT: Span = Span::seconds(10);
/// Longer workflow task time-outs are cut to this.
pub const TASK_TIMEOUT_MAX: Span = Span::seconds(120);
/// Attempts from this one on have a growing time-out, so that a broken worker is not flooded.
const GROWS_FROM_ATTEMPT: i32 = 4;
const GROWTH_FIRST: Span = Span::seconds(5);
const GROWTH_MAX: Span = Span::seconds(600);
/// Request id in the started event of a task that no poll took.
pub(crate) const INLINE_REQUEST_ID: &str = "request-from-RespondWorkflowTaskCompleted";

impl Execution<'_, '_> {
    /// Schedules a workflow task unless one is pending, the run has closed or its first task still
    /// waits. Buffered events are flushed before. [`Execution::finish`] hands it out or queues it.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn schedule_workflow_task(&mut self) -> Result<(), Fault> {
        let now = self.set.now;
        self.schedule_workflow_task_since(now)
    }

    /// As [`Execution::schedule_workflow_task`], within a chain of heartbeats begun at `since`.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn schedule_workflow_task_since(&mut self, since: Timestamp) -> Result<(), Fault> {
        self.schedule_task(since, WorkflowTaskKind::Normal)
    }

    /// Schedules a task of the wanted kind: a normal one becomes transient after failures, a
    /// speculative one normal when events were buffered.
    fn schedule_task(&mut self, since: Timestamp, wanted: WorkflowTaskKind) -> Result<(), Fault> {
        if self.run.workflow_task.is_some() || !self.is_open() || self.run.first_task_pending {
            return Ok(());
        }
        let mut kind = wanted;
        if self.has_buffered_events() {
            // What the worker has not seen makes the next task an ordinary one again.
            kind = WorkflowTaskKind::Normal;
            self.flush_buffered()?;
            self.run.workflow_task_attempt = 1;
        }
        let attempt = self.run.workflow_task_attempt.max(1);
        let timeout = self.task_timeout(attempt);
        let sticky = self.run.sticky.clone();
        let queue = sticky
            .as_ref()
            .map_or(&self.run.task_queue, |sticky| &sticky.name)
            .clone();
        let mut task = WorkflowTask {
            number: self.run.next_workflow_task,
            kind: if attempt > 1 {
                WorkflowTaskKind::Transient
            } else {
                kind
            },
            phase: WorkflowTaskPhase::Scheduled { task: 0 },
            scheduled_event_id: self.run.next_event_id,
            started_event_id: 0,
            attempt,
            scheduled_at: self.set.now,
            original_scheduled_at: since,
            timeout,
            schedule_to_start: self.schedule_to_start(kind),
            queue,
            sticky: sticky.is_some(),
            identity: String::new(),
            poll: None,
            returned: 0,
            suggest_continue_as_new: false,
            history_bytes: 0,
        };
        self.run.next_workflow_task += 1;
        match task.kind {
            WorkflowTaskKind::Normal => {
                task.scheduled_event_id = self.add_event(self.scheduled_attributes(&task));
                self.set.took(&table::SCHEDULED);
            }
            WorkflowTaskKind::Transient => self.set.took(&table::SCHEDULED_TRANSIENT),
            WorkflowTaskKind::Speculative => {
                self.leaves_no_trace = true;
                self.set.took(&table::SCHEDULED_SPECULATIVE);
            }
        }
        if !task.schedule_to_start.is_zero() {
            let at = task.scheduled_at.after(task.schedule_to_start);
            self.add_due(
                at,
                DueKind::WorkflowTaskScheduleToStart { task: task.number },
            );
        }
        self.run.workflow_task = Some(task);
        self.dispatch = true;
        Ok(())
    }

    fn scheduled_attributes(&self, task: &WorkflowTask) -> Attributes {
        Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes {
            task_queue: Some(self.task_queue_message(task)),
            start_to_close_timeout: Some(task.timeout.to_proto()),
            attempt: task.attempt,
        })
    }

    fn task_queue_message(&self, task: &WorkflowTask) -> TaskQueue {
        let (kind, normal_name) = if task.sticky {
            (TaskQueueKind::Sticky, self.run.task_queue.clone())
        } else {
            (TaskQueueKind::Normal, String::new())
        };
        TaskQueue {
            name: task.queue.clone(),
            kind: kind.into(),
            normal_name,
        }
    }

    fn task_timeout(&mut self, attempt: i32) -> Span {
        let timeout = self.run.times.task_timeout;
        if attempt < GROWS_FROM_ATTEMPT {
            return timeout;
        }
        let mut growth = GROWTH_FIRST;
        for _ in GROWS_FROM_ATTEMPT..attempt.min(GROWS_FROM_ATTEMPT + 16) {
            growth = Span((growth.0 * 2).min(GROWTH_MAX.0));
        }
        // Up to a fifth less, so that workers which failed together do not come back together.
        let jitter = i64::from(self.set.draw()[0]) * (growth.0 / 5) / 256;
        Span(timeout.0 + growth.0 - jitter)
    }

    /// Puts the workflow task into a queue.
    pub(super) fn queue_workflow_task(&mut self, queue: &QueueKey) {
        let Some(task) = self.run.workflow_task.as_mut() else {
            return;
        };
        let subject = i64::try_from(task.number).unwrap_or(i64::MAX);
        let (run, queued_at) = (self.run.run.clone(), self.set.now);
        let entry = QueueTask {
            run,
            subject,
            queued_at,
        };
        let sequence = task_queue::push(self.set, queue, entry);
        match &mut task.phase {
            WorkflowTaskPhase::Scheduled { task } => *task = sequence,
            WorkflowTaskPhase::Started { .. } => task.returned = sequence,
        }
    }

    /// Whether a queue's entry is the run's waiting workflow task.
    #[must_use]
    pub fn is_claimable(&self, entry: &QueueTask) -> bool {
        self.is_open()
            && self.run.quarantined.is_empty()
            && self.run.workflow_task.as_ref().is_some_and(|task| {
                let waits = match task.phase {
                    WorkflowTaskPhase::Scheduled { .. } => true,
                    WorkflowTaskPhase::Started { .. } => task.returned != 0,
                };
                i64::try_from(task.number) == Ok(entry.subject) && waits
            })
    }

    /// Starts the scheduled workflow task for a poll. The caller has taken it off its queue.
    ///
    /// # Errors
    /// [`Fault`] when no task is scheduled: the caller checks that.
    pub fn start_workflow_task(
        &mut self,
        reservation: &Reservation,
    ) -> Result<AssignedWorkflowTask, Fault> {
        self.start_task(&reservation.identity, Some(reservation.poll), true)
    }

    /// Starts the workflow task that was scheduled just now for the answer of the call. After a
    /// heartbeat the worker has the updates of the task before: they are not sent again.
    ///
    /// # Errors
    /// [`Fault`] when no task is scheduled: the caller checks that.
    pub(crate) fn start_workflow_task_inline(
        &mut self,
        identity: &str,
        heartbeat: bool,
    ) -> Result<AssignedWorkflowTask, Fault> {
        self.start_task(identity, None, !heartbeat)
    }

    /// Whether this transaction's started event accepts an eager start.
    #[must_use]
    pub(crate) fn run_started_eagerly(&self) -> bool {
        self.added(|attributes| {
            matches!(attributes, Attributes::WorkflowExecutionStartedEventAttributes(started)
                if started.eager_execution_accepted)
        })
    }

    fn start_task(
        &mut self,
        identity: &str,
        poll: Option<PollId>,
        sends_again: bool,
    ) -> Result<AssignedWorkflowTask, Fault> {
        let Some(mut task) = self.run.workflow_task.take() else {
            return Err(Fault::Decode("no workflow task is scheduled".to_owned()));
        };
        self.dispatch = false;
        let claim = self.run.next_claim;
        self.run.next_claim += 1;
        let now = self.set.now;
        if let WorkflowTaskPhase::Started { claim: own, .. } = &mut task.phase {
            // It came back from a poller that had left: its events and time-out stand.
            *own = claim;
            task.returned = 0;
            task.poll = poll;
            self.leaves_no_trace |= task.kind == WorkflowTaskKind::Speculative;
            self.run.workflow_task = Some(task);
            return self
                .assigned_again()?
                .ok_or_else(|| Fault::Decode("no task".to_owned()));
        }
        let was_ordinary = task.kind == WorkflowTaskKind::Normal;
        self.make_ordinary(&mut task);
        self.set.took(match task.kind {
            WorkflowTaskKind::Normal if was_ordinary => &table::STARTED,
            WorkflowTaskKind::Normal => &table::MADE_ORDINARY,
            WorkflowTaskKind::Transient => &table::STARTED_TRANSIENT,
            WorkflowTaskKind::Speculative => &table::STARTED_SPECULATIVE,
        });
        task.phase = WorkflowTaskPhase::Started { at: now, claim };
        identity.clone_into(&mut task.identity);
        task.poll = poll;
        task.history_bytes = self.history_bytes();
        task.suggest_continue_as_new = self.suggests_continue_as_new(task.history_bytes);
        let stored_until;
        let tail = match task.kind {
            WorkflowTaskKind::Normal => {
                task.started_event_id = self.add_event(self.started_attributes(&task));
                stored_until = task.started_event_id;
                Bytes::new()
            }
            WorkflowTaskKind::Transient | WorkflowTaskKind::Speculative => {
                self.leaves_no_trace |= task.kind == WorkflowTaskKind::Speculative;
                task.started_event_id = task.scheduled_event_id + 1;
                stored_until = task.scheduled_event_id - 1;
                let events = self.virtual_events(&task);
                Bytes::from(History { events }.encode_to_vec())
            }
        };
        if !task.schedule_to_start.is_zero() {
            let at = task.scheduled_at.after(task.schedule_to_start);
            self.remove_due(
                at,
                &DueKind::WorkflowTaskScheduleToStart { task: task.number },
            );
        }
        self.add_due(
            now.after(task.timeout),
            DueKind::WorkflowTaskStartToClose { task: task.number },
        );
        self.send_updates(task.number, sends_again)?;
        let assigned = self.assigned(&task, claim, stored_until, tail)?;
        self.run.workflow_task = Some(task);
        Ok(assigned)
    }

    /// A transient task becomes an ordinary first attempt when events came since it was scheduled.
    fn make_ordinary(&mut self, task: &mut WorkflowTask) {
        if task.kind != WorkflowTaskKind::Transient
            || task.scheduled_event_id == self.run.next_event_id
        {
            return;
        }
        self.run.workflow_task_attempt = 1;
        task.kind = WorkflowTaskKind::Normal;
        task.attempt = 1;
        task.timeout = self.run.times.task_timeout;
        task.scheduled_event_id = self.add_event(self.scheduled_attributes(task));
    }

    fn suggests_continue_as_new(&self, bytes: i64) -> bool {
        self.suggest_reasons(bytes).next().is_some()
    }

    fn suggest_reasons(&self, bytes: i64) -> impl Iterator<Item = SuggestContinueAsNewReason> {
        let limits = self.set.limits();
        let by_size = bytes >= limits.history_bytes_suggest;
        let by_count = self.run.next_event_id > limits.history_count_suggest;
        let size = by_size.then_some(SuggestContinueAsNewReason::HistorySizeTooLarge);
        let count = by_count.then_some(SuggestContinueAsNewReason::TooManyHistoryEvents);
        let updates = self
            .has_many_updates()
            .then_some(SuggestContinueAsNewReason::TooManyUpdates);
        size.into_iter().chain(count).chain(updates)
    }

    fn started_attributes(&self, task: &WorkflowTask) -> Attributes {
        let reasons = if task.suggest_continue_as_new {
            self.suggest_reasons(task.history_bytes)
                .map(i32::from)
                .collect()
        } else {
            Vec::new()
        };
        Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            identity: task.identity.clone(),
            request_id: task
                .poll
                .map_or_else(|| INLINE_REQUEST_ID.to_owned(), poll_text),
            suggest_continue_as_new: task.suggest_continue_as_new,
            suggest_continue_as_new_reasons: reasons,
            history_size_bytes: task.history_bytes,
            ..WorkflowTaskStartedEventAttributes::default()
        })
    }

    /// The scheduled and started events of a task that are not in the history.
    fn virtual_events(&self, task: &WorkflowTask) -> Vec<HistoryEvent> {
        let event = |attributes: Attributes, id, at| {
            crate::event::NewEvent::from(attributes).into_event(id, at)
        };
        let scheduled = self.scheduled_attributes(task);
        let mut events = vec![event(scheduled, task.scheduled_event_id, task.scheduled_at)];
        if let WorkflowTaskPhase::Started { at, .. } = task.phase {
            events.push(event(
                self.started_attributes(task),
                task.started_event_id,
                at,
            ));
        }
        events
    }

    fn assigned(
        &self,
        task: &WorkflowTask,
        claim: u64,
        stored_until: i64,
        tail: Bytes,
    ) -> Result<AssignedWorkflowTask, Fault> {
        let token = TaskToken {
            kind: TaskKind::Workflow,
            run: self.run.run.clone(),
            run_id: self.run.run_id.clone(),
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            claim,
        };
        Ok(AssignedWorkflowTask {
            messages: self.update_messages(task)?,
            token,
            workflow_type: self.run.workflow_type.clone(),
            previous_started_event_id: self.run.last_completed_started_event_id,
            sticky: task.sticky,
            normal_queue: self.run.task_queue.clone(),
            scheduled_at: task.scheduled_at,
            started_at: match task.phase {
                WorkflowTaskPhase::Started { at, .. } => at,
                WorkflowTaskPhase::Scheduled { .. } => task.scheduled_at,
            },
            stored_until,
            tail,
        })
    }

    /// The started workflow task as its poll got it, for an answer that is repeated.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn assigned_again(&self) -> Result<Option<AssignedWorkflowTask>, Fault> {
        let Some(task) = self.run.workflow_task.as_ref() else {
            return Ok(None);
        };
        let WorkflowTaskPhase::Started { claim, .. } = task.phase else {
            return Ok(None);
        };
        let assigned = match task.kind {
            WorkflowTaskKind::Normal => {
                self.assigned(task, claim, task.started_event_id, Bytes::new())
            }
            WorkflowTaskKind::Transient | WorkflowTaskKind::Speculative => {
                let events = self.virtual_events(task);
                let tail = Bytes::from(History { events }.encode_to_vec());
                self.assigned(task, claim, task.scheduled_event_id - 1, tail)
            }
        };
        assigned.map(Some)
    }
}

/// A poll's id as the request id of started events.
#[must_use]
pub(crate) fn poll_text(poll: PollId) -> String {
    let mut bytes = [0_u8; 16];
    bytes[..8].copy_from_slice(&poll.boot.to_be_bytes());
    bytes[8..].copy_from_slice(&poll.sequence.to_be_bytes());
    uuid_text(&bytes)
}
