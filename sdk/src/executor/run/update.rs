//! Updates: requests come as messages, answers go as messages and commands that point at them.

use super::{Run, TaskFailure, UpdateRequest};
use crate::executor::context::Context;
use crate::failure::{Failure, Result};
use crate::workflow::definition::AnyHandlers;
use prost::Message as _;
use prost::Name;
use std::rc::Rc;
use steadfast_proto::temporal::command::v1::ProtocolMessageCommandAttributes;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::protocol::v1::message::SequencingId;
use steadfast_proto::temporal::sdk::v1::EventGroupMarker;
use steadfast_proto::temporal::sdk::v1::event_group_marker::{InboundUpdate, Variant};
use steadfast_proto::temporal::update::v1::{
    Acceptance, Outcome, Rejection, Request, Response, outcome,
};

impl Run {
    /// Keeps the request of an update that a reset brought along.
    pub(super) fn admit(&mut self, event: &HistoryEvent) {
        if let Some(Event::WorkflowExecutionUpdateAdmittedEventAttributes(found)) =
            &event.attributes
            && let Some(request) = &found.request
        {
            let meta = request.meta.clone().unwrap_or_default();
            self.admitted.insert(meta.update_id, request.clone());
        }
    }

    /// Reads the requests that came with a task.
    pub(super) fn requested(
        &self,
        messages: &[Message],
    ) -> Result<Vec<UpdateRequest>, TaskFailure> {
        let mut requests = Vec::new();
        for message in messages {
            let body = message.body.clone().unwrap_or_default();
            if body.type_url != type_url::<Request>() {
                let url = body.type_url;
                return Err(TaskFailure::code(format!(
                    "a message of an unknown type, {url}"
                )));
            }
            let request = Request::decode(&body.value[..]).map_err(|error| {
                TaskFailure::code(format!("the request of an update cannot be read: {error}"))
            })?;
            let after = match message.sequencing_id {
                Some(SequencingId::EventId(id)) => id,
                Some(SequencingId::CommandIndex(_)) | None => i64::MAX,
            };
            requests.push(UpdateRequest {
                after,
                message_id: message.id.clone(),
                request,
                accepted: false,
            });
        }
        Ok(requests)
    }

    /// Begins the handler of an update.
    pub(super) fn update(&mut self, update: UpdateRequest) -> Result<(), TaskFailure> {
        let meta = update.request.meta.clone().unwrap_or_default();
        if !self.updates_seen.insert(meta.update_id.clone()) && !update.accepted {
            return Ok(());
        }
        let handlers = self
            .handlers
            .clone()
            .expect("code is there with its context");
        let marker = EventGroupMarker {
            variant: Some(Variant::InboundUpdate(InboundUpdate {
                inbound_update_id: meta.update_id,
            })),
        };
        self.push_handler(marker, Box::pin(handle(handlers, update)));
        Ok(())
    }
}

/// Validates, accepts and runs one update.
async fn handle(handlers: Rc<dyn AnyHandlers>, update: UpdateRequest) {
    let context = Context::current();
    let input = update.request.input.clone().unwrap_or_default();
    let arguments = || input.args.clone().unwrap_or_default().payloads;
    if !update.accepted {
        let verdict = {
            context.state.borrow_mut().read_only = Some("a validator");
            let verdict = handlers.validate(&input.name, arguments(), &context.converter);
            context.state.borrow_mut().read_only = None;
            verdict
        };
        if let Err(failure) = verdict {
            reject(&context, update, &failure);
            return;
        }
    }
    accept(&context, &update);
    let result = match handlers.update(&input.name, arguments(), &context.converter) {
        Ok(handler) => handler.await,
        Err(failure) => Err(failure),
    };
    complete(&context, &update, result);
}

fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}

fn body<M: Name>(message: &M) -> prost_types::Any {
    prost_types::Any {
        type_url: type_url::<M>(),
        value: message.encode_to_vec(),
    }
}

fn update_id(update: &UpdateRequest) -> String {
    let meta = update.request.meta.as_ref();
    meta.map(|meta| meta.update_id.clone()).unwrap_or_default()
}

fn answer<M: Name>(context: &Context, update: &UpdateRequest, suffix: &str, message: &M) {
    let protocol_instance_id = update_id(update);
    let id = format!("{protocol_instance_id}/{suffix}");
    context.state.borrow_mut().messages.push(Message {
        id: id.clone(),
        protocol_instance_id,
        body: Some(body(message)),
        sequencing_id: None,
    });
    if suffix != "reject" {
        let attributes = ProtocolMessageCommandAttributes { message_id: id };
        context.issue(
            None,
            Attributes::ProtocolMessageCommandAttributes(attributes),
        );
    }
}

fn sequencing(update: &UpdateRequest) -> i64 {
    match update.after {
        i64::MAX => 0,
        id => id,
    }
}

fn reject(context: &Context, update: UpdateRequest, failure: &Failure) {
    let rejection = Rejection {
        rejected_request_message_id: update.message_id.clone(),
        rejected_request_sequencing_event_id: sequencing(&update),
        rejected_request: Some(update.request.clone()),
        failure: Some(context.data.to_wire(failure)),
    };
    answer(context, &update, "reject", &rejection);
}

fn accept(context: &Context, update: &UpdateRequest) {
    let acceptance = Acceptance {
        accepted_request_message_id: update.message_id.clone(),
        accepted_request_sequencing_event_id: sequencing(update),
        accepted_request: Some(update.request.clone()),
    };
    answer(context, update, "accept", &acceptance);
}

fn complete(context: &Context, update: &UpdateRequest, result: Result<Option<Payload>>) {
    let value = match result {
        Ok(result) => outcome::Value::Success(Payloads {
            payloads: result.into_iter().collect(),
        }),
        Err(failure) => outcome::Value::Failure(context.data.to_wire(&failure)),
    };
    let response = Response {
        meta: update.request.meta.clone(),
        outcome: Some(Outcome { value: Some(value) }),
    };
    answer(context, update, "complete", &response);
}
