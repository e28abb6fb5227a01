//! What a worker says of an update: Acceptance, Rejection, Response.

use super::super::Execution;
use super::{Update, request_message_id, table};
use crate::effect::UpdateEnd;
use crate::event::{Attributes, NewEvent};
use crate::proto::Proto;
use crate::reply::{Fault, Refusal};
use crate::tables::{UpdateState, keys};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::{
    WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes,
};
use steadfast_proto::temporal::update::v1::{Acceptance, Rejection, Request, Response};

/// Why an answer is not taken; the workflow task fails by it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The answer has no meaning where the update stands.
    #[error("{0}")]
    Bad(String),
    /// Storage is broken.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Execution<'_, '_> {
    /// An update that a worker answers though nobody asks for it here: it was asked before its
    /// caller's node or an earlier task went. It is admitted by the answer, which holds the request.
    ///
    /// # Errors
    /// [`AnswerError::Bad`] when the answer holds no request or there are too many updates.
    pub(crate) fn resurrect_update(
        &mut self,
        update_id: &str,
        request: Option<Request>,
    ) -> Result<(), AnswerError> {
        let Some(request) = request else {
            return Err(AnswerError::Bad(format!(
                "update {update_id} wasn't found on the server. This is most likely a transient error which will be resolved automatically by retries"
            )));
        };
        let bad = |refusal: Refusal| AnswerError::Bad(refusal.to_string());
        self.check_total_updates().map_err(bad)?;
        self.set.took(&table::ADMITTED_BY_ANSWER);
        self.admit_update(update_id, request);
        Ok(())
    }

    /// The workflow accepts an update: the accepted event, with the request.
    ///
    /// # Errors
    /// [`AnswerError::Bad`] when it was answered before.
    pub(crate) fn accept_update(
        &mut self,
        update_id: &str,
        acceptance: &Acceptance,
        in_this_task: bool,
    ) -> Result<(), AnswerError> {
        let mut update = self.answered(update_id, in_this_task, "Acceptance", |state| {
            state.is_unanswered()
        })?;
        self.set.took(&table::ACCEPTED);
        self.forget_request_bytes(&update);
        let request = update.request.take().map(|request| request.0);
        let links = request
            .as_ref()
            .map(|request| request.links.clone())
            .unwrap_or_default();
        let attributes = WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: update_id.to_owned(),
            accepted_request_message_id: request_message_id(update_id),
            accepted_request_sequencing_event_id: acceptance.accepted_request_sequencing_event_id,
            accepted_request: request,
        };
        let event = Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(attributes);
        let event_id = self.add_event(NewEvent::from(event).with_links(links));
        let made = EventType::WorkflowExecutionUpdateAccepted;
        self.remember_request(&update.request_id, made, event_id);
        update.state = UpdateState::Accepted { event_id };
        self.tell_update(update_id, &update, None);
        self.put_update(update_id, update);
        Ok(())
    }

    /// The workflow rejects an update: it leaves no trace.
    ///
    /// # Errors
    /// [`AnswerError::Bad`] when it was answered before.
    pub(crate) fn reject_update(
        &mut self,
        update_id: &str,
        rejection: Rejection,
        in_this_task: bool,
    ) -> Result<(), AnswerError> {
        let update = self.answered(update_id, in_this_task, "Rejection", |state| {
            state.is_unanswered()
        })?;
        self.set.took(&table::REJECTED);
        let failure: Failure = rejection.failure.unwrap_or_default();
        let end = UpdateEnd::Rejected(Box::new(Proto::detached(&failure).0));
        let key = keys::open_update_key(&self.run.run, update.sequence);
        self.drop_update(key, update_id, &update, end);
        Ok(())
    }

    /// The workflow is done with an update: the completed event holds the outcome.
    ///
    /// # Errors
    /// [`AnswerError::Bad`] when it was not accepted, is completed, or the answer is incomplete.
    pub(crate) fn complete_update(
        &mut self,
        update_id: &str,
        response: Response,
        in_this_task: bool,
    ) -> Result<(), AnswerError> {
        let mut update = self.answered(update_id, in_this_task, "Response", |state| {
            matches!(state, UpdateState::Accepted { .. })
        })?;
        let UpdateState::Accepted { event_id } = update.state else {
            return Ok(());
        };
        check_response(update_id, &response)?;
        let attributes = WorkflowExecutionUpdateCompletedEventAttributes {
            meta: response.meta,
            accepted_event_id: event_id,
            outcome: response.outcome,
        };
        let completed_event_id = self.add_event(
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(attributes),
        );
        update.state = UpdateState::Completed {
            accepted_event_id: event_id,
            event_id: completed_event_id,
        };
        self.set
            .delete(keys::open_update_key(&self.run.run, update.sequence));
        self.run.updates.open -= 1;
        self.run.updates.completed += 1;
        self.set.took(&table::COMPLETED);
        self.tell_update(update_id, &update, None);
        self.put_update(update_id, update);
        Ok(())
    }

    /// The update, when it may get this kind of answer where it stands.
    fn answered(
        &self,
        update_id: &str,
        in_this_task: bool,
        kind: &str,
        may: impl Fn(UpdateState) -> bool,
    ) -> Result<Update, AnswerError> {
        let update = self.update(update_id)?;
        let state = update.as_ref().map(|update| update.state);
        match update {
            Some(update) if may(update.state) => Ok(update),
            Some(_) | None => Err(AnswerError::Bad(format!(
                "invalid state transition attempted for Update {update_id}: received *update.{kind} message while in state {}",
                state_name(state, in_this_task)
            ))),
        }
    }
}

/// A state as Temporal's text names it. What the task itself did is provisional.
fn state_name(state: Option<UpdateState>, in_this_task: bool) -> &'static str {
    match (state, in_this_task) {
        (Some(UpdateState::Admitted), _) => "Admitted",
        (Some(UpdateState::Sent { .. }), _) => "Sent",
        (Some(UpdateState::Accepted { .. }), true) => "ProvisionallyAccepted",
        (Some(UpdateState::Accepted { .. }), false) => "Accepted",
        (Some(UpdateState::Completed { .. }), false) => "Completed",
        (Some(UpdateState::Completed { .. }), true) | (None, _) => "ProvisionallyCompleted",
    }
}

fn check_response(update_id: &str, response: &Response) -> Result<(), AnswerError> {
    let bad = |text: &str| {
        Err(AnswerError::Bad(format!(
            "invalid *update.Response: {text}"
        )))
    };
    let Some(meta) = &response.meta else {
        return bad("meta is not set");
    };
    if meta.update_id.is_empty() {
        return bad("meta.update_id is not set");
    }
    if meta.update_id != update_id {
        return bad(&format!("meta.update_id != {update_id}"));
    }
    if response.outcome.is_none() {
        return bad("outcome is not set");
    }
    Ok(())
}
