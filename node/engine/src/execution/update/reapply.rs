//! Updates that a reset takes over: the events of the base run are their source.

use super::super::Execution;
use super::table;
use crate::event::Attributes;
use crate::reply::Fault;
use crate::tables::{UpdateState, keys};
use steadfast_proto::temporal::enums::v1::{EventType, UpdateAdmittedEventOrigin};
use steadfast_proto::temporal::history::v1::{
    HistoryEvent, WorkflowExecutionUpdateAcceptedEventAttributes,
    WorkflowExecutionUpdateAdmittedEventAttributes,
    WorkflowExecutionUpdateCompletedEventAttributes,
};
use steadfast_proto::temporal::update::v1::Request;

/// An update that was admitted or accepted in some events.
#[derive(Debug, Clone, PartialEq)]
pub struct ReappliedUpdate {
    /// Its id.
    pub update_id: String,
    /// What was asked.
    pub request: Request,
}

/// The updates that these events admit or accept, in their order, each once. An accepted event
/// without a request belongs to an admitted one before it, perhaps outside of these events.
#[must_use]
pub fn updates_to_reapply(events: &[HistoryEvent]) -> Vec<ReappliedUpdate> {
    let mut updates: Vec<ReappliedUpdate> = Vec::new();
    for event in events {
        let (update_id, request) = match event.attributes.as_ref() {
            Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(admitted)) => {
                let id = admitted
                    .request
                    .as_ref()
                    .and_then(|request| request.meta.as_ref())
                    .map(|meta| meta.update_id.clone());
                (id.unwrap_or_default(), admitted.request.clone())
            }
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted)) => (
                accepted.protocol_instance_id.clone(),
                accepted.accepted_request.clone(),
            ),
            Some(_) | None => continue,
        };
        let Some(request) = request else { continue };
        if !updates.iter().any(|known| known.update_id == update_id) {
            updates.push(ReappliedUpdate { update_id, request });
        }
    }
    updates
}

impl Execution<'_, '_> {
    /// The shared history of a reset admits an update.
    pub(in crate::execution) fn replay_update_admitted(
        &mut self,
        admitted: WorkflowExecutionUpdateAdmittedEventAttributes,
    ) {
        let request = admitted.request.unwrap_or_default();
        let update_id = request.meta.unwrap_or_default().update_id;
        self.set.took(&table::RESTORED);
        self.add_update(&update_id, None, request.request_id);
    }

    /// The shared history of a reset accepts an update.
    pub(in crate::execution) fn replay_update_accepted(
        &mut self,
        event_id: i64,
        accepted: WorkflowExecutionUpdateAcceptedEventAttributes,
    ) -> Result<(), Fault> {
        let update_id = accepted.protocol_instance_id;
        self.set.took(&table::RESTORED);
        let request = accepted.accepted_request;
        let mut known = self.update(&update_id)?;
        if let Some(request) = request {
            match &mut known {
                // An earlier reset admitted it, its worker gave no answer, and it was asked for
                // again: it is the same update.
                Some(update) => update.request_id = request.request_id,
                None => {
                    self.add_update(&update_id, None, request.request_id);
                    known = self.update(&update_id)?;
                }
            }
        }
        let Some(mut update) = known else {
            return Err(Fault::Decode(
                "an accepted update has no request".to_owned(),
            ));
        };
        let made = EventType::WorkflowExecutionUpdateAccepted;
        self.remember_request(&update.request_id, made, event_id);
        update.state = UpdateState::Accepted { event_id };
        self.put_update(&update_id, update);
        Ok(())
    }

    /// The shared history of a reset completes an update.
    pub(in crate::execution) fn replay_update_completed(
        &mut self,
        event_id: i64,
        completed: WorkflowExecutionUpdateCompletedEventAttributes,
    ) -> Result<(), Fault> {
        let update_id = completed.meta.unwrap_or_default().update_id;
        let Some(mut update) = self.update(&update_id)? else {
            return Err(Fault::Decode("a completed update has no start".to_owned()));
        };
        update.state = UpdateState::Completed {
            accepted_event_id: completed.accepted_event_id,
            event_id,
        };
        self.set
            .delete(keys::open_update_key(&self.run.run, update.sequence));
        self.run.updates.open -= 1;
        self.run.updates.completed += 1;
        self.put_update(&update_id, update);
        Ok(())
    }

    /// Takes an update of the base run over: an admitted event tells the worker of it, so that no
    /// message does. One that this run knows already is left as it is; false then.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn reapply_update(&mut self, reapplied: ReappliedUpdate) -> Result<bool, Fault> {
        let ReappliedUpdate { update_id, request } = reapplied;
        if self.update(&update_id)?.is_some() {
            return Ok(false);
        }
        let request_id = request.request_id.clone();
        let attributes = WorkflowExecutionUpdateAdmittedEventAttributes {
            request: Some(request),
            origin: UpdateAdmittedEventOrigin::Reapply.into(),
        };
        let event = Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(attributes);
        self.add_or_buffer(event)?;
        self.set.took(&table::REAPPLIED);
        self.add_update(&update_id, None, request_id);
        Ok(true)
    }
}
