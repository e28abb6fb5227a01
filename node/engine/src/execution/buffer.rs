//! The buffer of events that arrive while a worker has the workflow task. They get their ids when
//! that task ends: in the order of arrival, but what closes an activity, a child or an operation
//! comes last.

use super::{Execution, child};
use crate::command::timer;
use crate::event::{Attributes, NewEvent};
use crate::reply::Fault;
use crate::tables::{BufferedEvent, Key, Record, RequestRecord, keys};
use crate::time::Timestamp;
use prost::Message;
use std::collections::BTreeMap;
use steadfast_planted::{Bug, planted};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::HistoryEvent;

impl Execution<'_, '_> {
    pub(super) fn buffer(&mut self, event: NewEvent) {
        let now = self.set.now;
        self.buffer_at(event, now);
    }

    /// As [`Execution::buffer`], with a time of its own.
    pub(super) fn buffer_at(&mut self, event: NewEvent, at: Timestamp) {
        self.make_speculative_ordinary();
        let event = event.into_event(0, at);
        let key = keys::buffered_key(&self.run.run, self.run.next_buffered);
        self.run.next_buffered += 1;
        self.run.buffered_count += 1;
        let event = bytes::Bytes::from(event.encode_to_vec());
        self.run.buffered_bytes += event.len() as u64;
        self.set
            .put(key, Record::BufferedEvent(BufferedEvent { event }));
        self.buffered_here = true;
    }

    /// Whether events wait in the buffer.
    #[must_use]
    pub fn has_buffered_events(&self) -> bool {
        self.run.buffered_count > 0
    }

    /// Moves the buffered events into this transaction's batch.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn flush_buffered(&mut self) -> Result<(), Fault> {
        if self.run.buffered_count == 0 {
            return Ok(());
        }
        let buffered = self.buffered()?;
        let (closing, other): (Vec<_>, Vec<_>) = buffered
            .into_iter()
            .partition(|(_, event)| closes_child_of_run(event));
        let mut started_ids = BTreeMap::new();
        for (key, event) in other.into_iter().chain(closing) {
            self.set.delete(key);
            self.add_flushed(event, &mut started_ids)?;
        }
        self.run.buffered_count = 0;
        self.run.buffered_bytes = 0;
        self.run.next_event_id += i64::from(planted(Bug::EventIdSkippedAfterBuffer));
        Ok(())
    }

    /// Forgets the buffered events: nothing follows a run's closing event. Only what the closing
    /// completion's own commands added can be left here.
    pub(super) fn drop_buffered(&mut self) -> Result<(), Fault> {
        if self.run.buffered_count > 0 {
            for (key, _) in self.buffered()? {
                self.set.delete(key);
            }
            self.run.buffered_count = 0;
            self.run.buffered_bytes = 0;
        }
        Ok(())
    }

    /// Takes the buffered TimerFired event of a timer back; its started event id when there was one.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn take_buffered_timer_fired(&mut self, timer_id: &str) -> Result<Option<i64>, Fault> {
        if self.run.buffered_count == 0 {
            return Ok(None);
        }
        for (key, event) in self.buffered()? {
            if let Some(Attributes::TimerFiredEventAttributes(fired)) = &event.attributes
                && fired.timer_id == timer_id
            {
                self.set.delete(key);
                self.run.buffered_count -= 1;
                self.run.buffered_bytes -= event.encoded_len() as u64;
                return Ok(Some(fired.started_event_id));
            }
        }
        Ok(None)
    }

    /// Whether an event that closes this activity waits in the buffer.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn has_buffered_activity_end(&self, scheduled_event_id: i64) -> Result<bool, Fault> {
        if self.run.buffered_count == 0 {
            return Ok(false);
        }
        let ends = |event: &HistoryEvent| match event.attributes.as_ref() {
            Some(Attributes::ActivityTaskCompletedEventAttributes(end)) => end.scheduled_event_id,
            Some(Attributes::ActivityTaskFailedEventAttributes(end)) => end.scheduled_event_id,
            Some(Attributes::ActivityTaskTimedOutEventAttributes(end)) => end.scheduled_event_id,
            Some(Attributes::ActivityTaskCanceledEventAttributes(end)) => end.scheduled_event_id,
            Some(_) | None => 0,
        };
        Ok(self
            .buffered()?
            .iter()
            .any(|(_, event)| ends(event) == scheduled_event_id))
    }

    fn buffered(&self) -> Result<Vec<(Key, HistoryEvent)>, Fault> {
        // All of them: the number is bounded by the limit that the configuration may set.
        let count = usize::try_from(self.run.buffered_count).unwrap_or(usize::MAX);
        let prefix = keys::buffered_prefix(&self.run.run);
        let records = self.set.scan_prefix(&prefix, count, false)?;
        let decode = |(key, record): (Key, std::sync::Arc<Record>)| match record.as_ref() {
            Record::BufferedEvent(buffered) => HistoryEvent::decode(buffered.event.clone())
                .map(|event| (key, event))
                .map_err(|error| Fault::Decode(error.to_string())),
            other => Err(crate::tables::wrong_record(other)),
        };
        records.into_iter().map(decode).collect()
    }

    fn add_flushed(
        &mut self,
        mut event: HistoryEvent,
        started: &mut BTreeMap<i64, i64>,
    ) -> Result<(), Fault> {
        let event_id = self.run.next_event_id;
        self.run.next_event_id += 1;
        event.event_id = event_id;
        event.task_id = event_id;
        match event.attributes.as_mut() {
            Some(Attributes::ActivityTaskStartedEventAttributes(attributes)) => {
                started.insert(attributes.scheduled_event_id, event_id);
            }
            Some(Attributes::ActivityTaskCompletedEventAttributes(attributes)) => {
                rewire(
                    &mut attributes.started_event_id,
                    attributes.scheduled_event_id,
                    started,
                );
            }
            Some(Attributes::ActivityTaskFailedEventAttributes(attributes)) => {
                rewire(
                    &mut attributes.started_event_id,
                    attributes.scheduled_event_id,
                    started,
                );
            }
            Some(Attributes::ActivityTaskTimedOutEventAttributes(attributes)) => {
                rewire(
                    &mut attributes.started_event_id,
                    attributes.scheduled_event_id,
                    started,
                );
            }
            Some(Attributes::ActivityTaskCanceledEventAttributes(attributes)) => {
                rewire(
                    &mut attributes.started_event_id,
                    attributes.scheduled_event_id,
                    started,
                );
            }
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(attributes)) => {
                started.insert(attributes.initiated_event_id, event_id);
                let initiated_event_id = attributes.initiated_event_id;
                self.note_child_started(initiated_event_id, event_id)?;
            }
            Some(Attributes::TimerFiredEventAttributes(_)) => self.set.took(&timer::table::SEEN),
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(attributes)) => {
                let request_id = attributes.request_id.clone();
                self.remember_request(&request_id, EventType::WorkflowExecutionSignaled, event_id);
            }
            Some(attributes) => {
                if let Some(initiated_event_id) = child::initiated_event_id_of(attributes)
                    && let Some(started_event_id) = child::started_event_id_of(attributes)
                {
                    rewire(started_event_id, initiated_event_id, started);
                }
            }
            None => {}
        }
        self.batch.push(event);
        Ok(())
    }

    /// Remembers what a request id did, for the dedup of repeated calls. 0: still buffered.
    pub(crate) fn remember_request(&mut self, request_id: &str, made: EventType, event_id: i64) {
        if request_id.is_empty() {
            return;
        }
        let record = RequestRecord {
            event_type: made.into(),
            event_id,
        };
        self.set.put(
            keys::request_key(&self.run.run, request_id),
            Record::Request(record),
        );
    }

    /// What a request id did in this run.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn request(&self, request_id: &str) -> Result<Option<RequestRecord>, Fault> {
        if request_id.is_empty() {
            return Ok(None);
        }
        match self
            .set
            .get(&keys::request_key(&self.run.run, request_id))?
            .as_deref()
        {
            Some(Record::Request(record)) => Ok(Some(*record)),
            Some(other) => Err(crate::tables::wrong_record(other)),
            None => Ok(None),
        }
    }
}

fn rewire(started_event_id: &mut i64, scheduled_event_id: i64, started: &BTreeMap<i64, i64>) {
    if *started_event_id == 0
        && let Some(id) = started.get(&scheduled_event_id)
    {
        *started_event_id = *id;
    }
}

fn closes_child_of_run(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type(),
        EventType::ActivityTaskCompleted
            | EventType::ActivityTaskFailed
            | EventType::ActivityTaskTimedOut
            | EventType::ActivityTaskCanceled
            | EventType::ChildWorkflowExecutionCompleted
            | EventType::ChildWorkflowExecutionFailed
            | EventType::ChildWorkflowExecutionCanceled
            | EventType::ChildWorkflowExecutionTimedOut
            | EventType::ChildWorkflowExecutionTerminated
            | EventType::NexusOperationCompleted
            | EventType::NexusOperationFailed
            | EventType::NexusOperationCanceled
            | EventType::NexusOperationTimedOut
    )
}
