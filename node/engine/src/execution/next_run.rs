//! The next run of a chain: by retry, cron or continue-as-new.

use super::open::new_run_id;
use super::{Execution, Opening, child};
use crate::cron::Cron;
use crate::event::Attributes;
use crate::id::{RunRef, run_number};
use crate::reply::Fault;
use crate::retry;
use crate::tables::{Record, WriteSet, keys};
use crate::time::{Span, Timestamp};
use prost::Message;
use steadfast_proto::temporal::common::v1::Payloads;
use steadfast_proto::temporal::enums::v1::{ContinueAsNewInitiator, RetryState};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::{History, WorkflowExecutionStartedEventAttributes};

/// A run that is opened once its predecessor has been written.
#[derive(Debug)]
pub struct NextRun(Opening);

impl NextRun {
    /// Its id.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.0.run_id
    }

    /// Opens it, with its first workflow task when there is no back-off.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn open(self, set: &mut WriteSet<'_>) -> Result<(), Fault> {
        let mut execution = Execution::open(set, self.0);
        execution.schedule_workflow_task()?;
        execution.finish()
    }
}

/// What differs between the ways to go on.
#[derive(Debug)]
pub(crate) struct Continuation {
    pub(crate) initiator: ContinueAsNewInitiator,
    pub(crate) attempt: i32,
    pub(crate) backoff: Span,
    pub(crate) failure: Option<Failure>,
    pub(crate) last_completion_result: Option<Payloads>,
}

impl Execution<'_, '_> {
    /// The attributes of the run's own started event.
    ///
    /// # Errors
    /// [`Fault`] when the history can't be read.
    pub fn started_attributes_of_run(
        &self,
    ) -> Result<WorkflowExecutionStartedEventAttributes, Fault> {
        if let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = self
            .batch
            .first()
            .and_then(|event| event.attributes.as_ref())
        {
            return Ok(started.clone());
        }
        let branch = self
            .run
            .branches
            .first()
            .map_or(self.run.run.number, |part| part.branch);
        let branch = RunRef {
            number: branch,
            ..self.run.run.clone()
        };
        let record = self.set.get(&keys::history_key(&branch, 1))?;
        let Some(Record::HistoryBatch(batch)) = record.as_deref() else {
            return Err(Fault::Decode("a run has no first history batch".to_owned()));
        };
        let history = History::decode(batch.events.clone())
            .map_err(|error| Fault::Decode(error.to_string()))?;
        match history
            .events
            .into_iter()
            .next()
            .and_then(|event| event.attributes)
        {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => Ok(started),
            _ => Err(Fault::Decode(
                "a history begins with a started event".to_owned(),
            )),
        }
    }

    /// A run that failed or timed out goes on by its retry policy, else by its cron schedule.
    /// Answers what the closing event says of retries, and the next run.
    ///
    /// # Errors
    /// [`Fault`] when the history can't be read.
    pub(crate) fn next_run_after_failure(
        &mut self,
        failure: Failure,
    ) -> Result<(RetryState, Option<NextRun>), Fault> {
        let expires_at = self.run.times.execution_expires_at;
        let result = self
            .run
            .last_completion_result
            .as_ref()
            .map(|result| result.0.clone());
        let state = match self.run.retry.as_ref() {
            None => RetryState::RetryPolicyNotSet,
            Some(retry) => {
                let (now, attempt) = (self.set.now, retry.attempt);
                match retry::next_backoff(&retry.policy, attempt, Some(&failure), now, expires_at) {
                    Ok(interval) => {
                        let continuation = Continuation {
                            initiator: ContinueAsNewInitiator::Retry,
                            attempt: attempt.saturating_add(1),
                            backoff: self.throttled(interval),
                            failure: Some(failure),
                            last_completion_result: result,
                        };
                        let next = self.next_run_like_this(continuation)?;
                        return Ok((RetryState::InProgress, Some(next)));
                    }
                    Err(state) => state,
                }
            }
        };
        Ok((state, self.next_run_by_cron(Some(failure), result)?))
    }

    /// The next run by the cron schedule; `None` when there is none or no time is left.
    ///
    /// # Errors
    /// [`Fault`] when the history can't be read.
    pub(crate) fn next_run_by_cron(
        &mut self,
        failure: Option<Failure>,
        last_completion_result: Option<Payloads>,
    ) -> Result<Option<NextRun>, Fault> {
        if self.run.cron_schedule.is_empty() {
            return Ok(None);
        }
        let times = self.run.times;
        let backoff = Cron::parse(&self.run.cron_schedule)
            .ok()
            .and_then(|cron| cron.backoff(times.execution_at, self.set.now));
        let Some(backoff) = backoff else {
            return Ok(None);
        };
        let expires_at = times.execution_expires_at;
        if expires_at != Timestamp(0) && self.set.now.after(backoff) > expires_at {
            return Ok(None);
        }
        let initiator = ContinueAsNewInitiator::CronSchedule;
        let continuation = Continuation {
            initiator,
            attempt: 1,
            backoff,
            failure,
            last_completion_result,
        };
        self.next_run_like_this(continuation).map(Some)
    }

    fn next_run_like_this(&mut self, continuation: Continuation) -> Result<NextRun, Fault> {
        let started = self.started_attributes_of_run()?;
        self.next_run(started, continuation)
    }

    /// The next run, from its started event but for the chain.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn next_run(
        &mut self,
        mut started: WorkflowExecutionStartedEventAttributes,
        continuation: Continuation,
    ) -> Result<NextRun, Fault> {
        let (number, run_id) = new_run_id(self.set);
        debug_assert_eq!(run_number(&run_id), Some(number));
        started
            .continued_execution_run_id
            .clone_from(&self.run.run_id);
        started
            .first_execution_run_id
            .clone_from(&self.run.first_execution_run_id);
        started.original_execution_run_id.clone_from(&run_id);
        started.initiator = continuation.initiator.into();
        started.attempt = continuation.attempt;
        started.first_workflow_task_backoff = continuation.backoff.to_proto_if_set();
        started.continued_failure = continuation.failure;
        started.last_completion_result = continuation.last_completion_result;
        started.workflow_id.clone_from(&self.run.run.workflow_id);
        started.prev_auto_reset_points = self.reset_points_for_next_run()?;
        started.identity = String::new();
        if let Some(parent) = self.run.parent.as_ref() {
            child::name_parent(self.set, parent, &mut started)?;
        }
        started.eager_execution_accepted = false;
        let run = RunRef {
            number,
            ..self.run.run.clone()
        };
        // The request id names the new run's start in the error that a second start gets.
        let request_id = crate::id::uuid_text(&self.set.draw());
        let (user_metadata, links) = (None, Vec::new());
        Ok(NextRun(Opening {
            run,
            run_id,
            request_id,
            started,
            user_metadata,
            links,
            parent: self.run.parent.clone(),
        }))
    }

    /// A back-off, at least what is missing from the run's life to the least interval between two
    /// runs of one workflow id.
    pub(crate) fn throttled(&self, backoff: Span) -> Span {
        let lifetime = self.set.now.since(self.run.times.started_at);
        let least = self.set.limits().workflow_id_reuse_interval;
        backoff.max(Span((least.0 - lifetime.0).max(0)))
    }
}
