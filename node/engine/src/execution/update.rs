//! The workflow updates of a run.
//!
//! | event | none | admitted | sent | accepted | completed |
//! |---|---|---|---|---|---|
//! | asked by a caller | admitted | as it is | as it is | as it is | as it is |
//! | workflow task starts | | sent | sent again | | |
//! | Acceptance | admitted by it, accepted | accepted | accepted | bad | bad |
//! | Rejection | admitted by it, rejected | rejected | rejected | bad | bad |
//! | Response | bad | bad | bad | completed | bad |
//! | its task completes without an answer | | as it is | rejected | as it is | |
//! | its task completes badly | | as it is | aborted | as it is | |
//! | its task fails or times out | | as it is | as it is | as it is | |
//! | the run closes | | aborted | aborted | failed | |
//!
//! Rejected and aborted updates have no record and no event; the ends of those are told by
//! [`Effect::UpdateChanged`] alone. An accepted update of a closed run keeps its record: its
//! outcome is the failure [`ACCEPTED_UPDATE_COMPLETED_WORKFLOW`]. "Bad" fails the workflow task.

pub(crate) mod table {
    crate::transition::transitions! { "update":
        ADMITTED: "-" => "admitted", "a caller asks", "";
        ADMITTED_BY_ANSWER: "-" => "admitted", "an answer that holds the request of one that is not known", "";
        REAPPLIED: "-" => "admitted", "a reset, to before it was accepted", "Admitted";
        RESTORED: "-" => "admitted, accepted, completed", "a reset, to after that", "";
        SENT: "admitted" => "sent", "a workflow task starts", "";
        SENT_AGAIN: "sent" => "sent", "another workflow task starts", "";
        ACCEPTED: "admitted, sent" => "accepted", "Acceptance", "Accepted";
        REJECTED: "admitted, sent" => "-", "Rejection", "";
        COMPLETED: "accepted" => "completed", "Response", "Completed";
        UNPROCESSED: "sent" => "-", "its task completes without an answer", "";
        ABORTED: "sent" => "-", "its task is answered badly", "";
        DROPPED: "admitted, sent" => "-", "the run closes", "";
        FAILED: "accepted" => "failed", "the run closes", "";
    }
}

mod answer;
mod reapply;

pub(crate) use answer::AnswerError;
pub use reapply::{ReappliedUpdate, updates_to_reapply};

use super::Execution;
use crate::effect::{Effect, UpdateEnd};
use crate::proto::Proto;
use crate::reply::{Fault, Refusal};
use crate::tables::{Key, Record, Update, UpdateState, WorkflowTask, keys, wrong_record};
use prost::{Message as _, Name};
use steadfast_proto::temporal::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{ApplicationFailureInfo, Failure};
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::protocol::v1::message::SequencingId;
use steadfast_proto::temporal::update::v1::Request;

/// Type of the failure that is the outcome of an accepted update of a closed run.
pub const ACCEPTED_UPDATE_COMPLETED_WORKFLOW: &str = "AcceptedUpdateCompletedWorkflow";
/// Type of the failure of an update that the worker left without an answer.
const UNPROCESSED_UPDATE: &str = "UnprocessedUpdate";
/// Open updates that are looked at at once; far above any sensible limit of open ones.
const OPEN_MAX: usize = 5_000;

/// An open update, its id and the key of its entry in the order of admission.
struct Open {
    key: Key,
    update_id: String,
    update: Update,
}

impl Execution<'_, '_> {
    /// The update with this id, if it has left a trace.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn update(&self, update_id: &str) -> Result<Option<Update>, Fault> {
        match self
            .set
            .get(&keys::update_key(&self.run.run, update_id))?
            .as_deref()
        {
            Some(Record::Update(update)) => Ok(Some((**update).clone())),
            Some(other) => Err(wrong_record(other)),
            None => Ok(None),
        }
    }

    /// Refuses another update when there are too many, or too large ones.
    pub(crate) fn check_update_limits(&self, request: &Request) -> Result<(), Refusal> {
        let (limits, counts) = (self.set.limits(), self.run.updates);
        let exhausted = |message: String| Refusal::ResourceExhausted {
            cause: ResourceExhaustedCause::ConcurrentLimit.into(),
            scope: ResourceExhaustedScope::Namespace.into(),
            message,
        };
        if counts.open >= limits.open_updates_max {
            return Err(exhausted(format!(
                "limit on number of concurrent in-flight updates has been reached ({})",
                limits.open_updates_max
            )));
        }
        let bytes = counts.request_bytes.saturating_add(bytes_of(request));
        if bytes > limits.open_update_bytes_max {
            return Err(exhausted(format!(
                "limit on total payload size of in-flight updates has been reached ({})",
                limits.open_update_bytes_max
            )));
        }
        self.check_total_updates()
    }

    fn check_total_updates(&self) -> Result<(), Refusal> {
        let (max, counts) = (self.set.limits().updates_max, self.run.updates);
        if counts.open.saturating_add(counts.completed) < max {
            return Ok(());
        }
        Err(Refusal::FailedPrecondition(format!(
            "limit on number of total updates has been reached ({max})"
        )))
    }

    /// Whether there are so many updates that the workflow should continue as new.
    pub(super) fn has_many_updates(&self) -> bool {
        let (limits, counts) = (self.set.limits(), self.run.updates);
        let total = counts.open.saturating_add(counts.completed);
        total > 0
            && total.saturating_mul(1_000)
                >= limits
                    .updates_max
                    .saturating_mul(limits.updates_suggest_per_mille)
    }

    /// Admits an update: the next workflow task that starts carries it. The task is the caller's.
    pub(crate) fn admit_update(&mut self, update_id: &str, request: Request) {
        let request_id = request.request_id.clone();
        self.run.updates.request_bytes += bytes_of(&request);
        self.add_update(update_id, Some(Proto(request)), request_id);
    }

    fn add_update(&mut self, update_id: &str, request: Option<Proto<Request>>, request_id: String) {
        let counts = &mut self.run.updates;
        counts.admitted += 1;
        counts.open += 1;
        let sequence = counts.admitted;
        self.set.put(
            keys::open_update_key(&self.run.run, sequence),
            Record::OpenUpdate(update_id.to_owned()),
        );
        let update = Update {
            sequence,
            state: UpdateState::Admitted,
            request,
            request_id,
        };
        self.put_update(update_id, update);
    }

    fn put_update(&mut self, update_id: &str, update: Update) {
        let key = keys::update_key(&self.run.run, update_id);
        self.set.put(key, Record::Update(Box::new(update)));
    }

    fn open_updates(&self) -> Result<Vec<Open>, Fault> {
        if self.run.updates.open == 0 {
            return Ok(Vec::new());
        }
        let prefix = keys::open_update_prefix(&self.run.run);
        let entries = self.set.scan_prefix(&prefix, OPEN_MAX, false)?;
        let open = |(key, record): (Key, std::sync::Arc<Record>)| {
            let Record::OpenUpdate(update_id) = record.as_ref() else {
                return Err(wrong_record(&record));
            };
            let update = self
                .update(update_id)?
                .ok_or_else(|| Fault::Decode("an open update has no record".to_owned()))?;
            let update_id = update_id.clone();
            Ok(Open {
                key,
                update_id,
                update,
            })
        };
        entries.into_iter().map(open).collect()
    }

    /// Whether an update waits for a workflow task.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn has_unanswered_updates(&self) -> Result<bool, Fault> {
        let open = self.open_updates()?;
        Ok(open.iter().any(|open| open.update.state.is_unanswered()))
    }

    /// A workflow task starts: the updates that wait go with it. `again`: those that went with an
    /// earlier task and got no answer, too.
    pub(super) fn send_updates(&mut self, task: u64, again: bool) -> Result<(), Fault> {
        for mut open in self.open_updates()? {
            match open.update.state {
                UpdateState::Admitted => self.set.took(&table::SENT),
                UpdateState::Sent { .. } if again => self.set.took(&table::SENT_AGAIN),
                UpdateState::Sent { .. }
                | UpdateState::Accepted { .. }
                | UpdateState::Completed { .. } => continue,
            }
            open.update.state = UpdateState::Sent { task };
            self.put_update(&open.update_id, open.update);
        }
        Ok(())
    }

    /// The messages that a started workflow task carries. An update whose request is in an event
    /// goes without a message.
    pub(super) fn update_messages(&self, task: &WorkflowTask) -> Result<Vec<Message>, Fault> {
        let sent = UpdateState::Sent { task: task.number };
        let mut messages = Vec::new();
        for open in self.open_updates()? {
            let Some(request) = open.update.request.filter(|_| open.update.state == sent) else {
                continue;
            };
            messages.push(Message {
                id: request_message_id(&open.update_id),
                protocol_instance_id: open.update_id,
                body: Some(prost_types::Any {
                    type_url: format!("type.googleapis.com/{}", Request::full_name()),
                    value: request.encode_to_vec(),
                }),
                // The worker takes it after the last event before the task's own start.
                sequencing_id: Some(SequencingId::EventId(task.started_event_id - 1)),
            });
        }
        Ok(messages)
    }

    /// The task is completed, and what it carried has no answer: the worker knows no updates.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn reject_unprocessed_updates(&mut self) -> Result<(), Fault> {
        for open in self.open_updates()? {
            if matches!(open.update.state, UpdateState::Sent { .. }) {
                let failure = server_failure(
                    UNPROCESSED_UPDATE,
                    "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by the worker.",
                );
                let end = UpdateEnd::Rejected(Box::new(failure));
                self.set.took(&table::UNPROCESSED);
                self.drop_update(open.key, &open.update_id, &open.update, end);
            }
        }
        Ok(())
    }

    /// The worker's completion is bad: what its task carried is given up, so that it is not asked
    /// for ever. False when it carried nothing.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn abort_sent_updates(&mut self) -> Result<bool, Fault> {
        let mut aborted = false;
        for open in self.open_updates()? {
            if matches!(open.update.state, UpdateState::Sent { .. }) {
                let end = UpdateEnd::WorkflowTaskFailed;
                self.set.took(&table::ABORTED);
                self.drop_update(open.key, &open.update_id, &open.update, end);
                aborted = true;
            }
        }
        Ok(aborted)
    }

    /// The run is closed: no update is open any more.
    pub(super) fn end_updates(&mut self) -> Result<(), Fault> {
        let continues = self
            .run
            .close
            .as_ref()
            .is_some_and(|close| !close.new_execution_run_id.is_empty());
        for open in self.open_updates()? {
            if open.update.state.is_unanswered() {
                let end = if continues {
                    UpdateEnd::WorkflowContinuing
                } else {
                    UpdateEnd::WorkflowCompleted
                };
                self.set.took(&table::DROPPED);
                self.drop_update(open.key, &open.update_id, &open.update, end);
            } else {
                self.set.took(&table::FAILED);
                self.set.delete(open.key);
                self.run.updates.open -= 1;
                self.tell_update(&open.update_id, &open.update, None);
            }
        }
        Ok(())
    }

    /// Forgets an update that leaves no trace.
    fn drop_update(&mut self, key: Key, update_id: &str, update: &Update, end: UpdateEnd) {
        self.set.delete(key);
        self.set.delete(keys::update_key(&self.run.run, update_id));
        self.run.updates.open -= 1;
        self.forget_request_bytes(update);
        self.tell_update(update_id, update, Some(end));
    }

    fn forget_request_bytes(&mut self, update: &Update) {
        let bytes = update
            .request
            .as_ref()
            .map_or(0, |request| bytes_of(request));
        let counts = &mut self.run.updates;
        counts.request_bytes = counts.request_bytes.saturating_sub(bytes);
    }

    fn tell_update(&mut self, update_id: &str, update: &Update, end: Option<UpdateEnd>) {
        let (run, update_id) = (self.run.run.clone(), update_id.to_owned());
        self.set.effects.push(Effect::UpdateChanged {
            run,
            update_id,
            sequence: update.sequence,
            end,
        });
    }
}

fn bytes_of(request: &Request) -> u64 {
    u64::try_from(request.encoded_len()).unwrap_or(u64::MAX)
}

/// Id of the message that carries an update to the worker.
fn request_message_id(update_id: &str) -> String {
    format!("{update_id}/request")
}

/// The outcome of an accepted update whose run has closed.
#[must_use]
pub(crate) fn closed_update_failure() -> Failure {
    server_failure(
        ACCEPTED_UPDATE_COMPLETED_WORKFLOW,
        "Workflow Update failed because the Workflow completed before the Update completed.",
    )
}

fn server_failure(kind: &str, message: &str) -> Failure {
    let info = ApplicationFailureInfo {
        r#type: kind.to_owned(),
        non_retryable: true,
        ..ApplicationFailureInfo::default()
    };
    Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Failure::default()
    }
}
