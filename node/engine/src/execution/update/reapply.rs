//! Updates that a reset takes over: the events of the base run are their source.

use super::super::Execution;
use crate::event::Attributes;
use crate::reply::Fault;
use steadfast_proto::temporal::enums::v1::UpdateAdmittedEventOrigin;
use steadfast_proto::temporal::history::v1::{
    HistoryEvent, WorkflowExecutionUpdateAdmittedEventAttributes,
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
        self.add_update(&update_id, None, request_id);
        Ok(true)
    }
}
