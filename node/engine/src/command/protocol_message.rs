//! PROTOCOL_MESSAGE, and the messages of a completion: what the worker says of updates. A command
//! says at which place among the others its message takes effect; messages without a command come
//! after all commands.

use super::{CommandError, Completion};
use crate::execution::{AnswerError, Execution};
use crate::reply::Refusal;
use prost::{Message as _, Name};
use steadfast_proto::temporal::command::v1::ProtocolMessageCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::update::v1::{Acceptance, Rejection, Response};

const CAUSE: WorkflowTaskFailedCause = WorkflowTaskFailedCause::BadUpdateWorkflowExecutionMessage;
/// The one protocol there is.
const UPDATE_PROTOCOL: &str = "temporal.api.update.v1";

/// What a worker says of an update.
enum Answer {
    Acceptance(Acceptance),
    Rejection(Rejection),
    Response(Response),
}

pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: &ProtocolMessageCommandAttributes,
) -> Result<(), CommandError> {
    let id = &attributes.message_id;
    if id.is_empty() {
        let text = "MessageID is not set on ProtocolMessageCommand.";
        return Err(CommandError::bad(CAUSE, text));
    }
    let messages = &completion.request.messages;
    let position = (0..messages.len())
        .find(|index| messages[*index].id == *id && !completion.taken_messages.contains(index));
    let Some(index) = position else {
        let text = format!("ProtocolMessageCommand referenced absent message ID {id}");
        return Err(CommandError::bad(CAUSE, text));
    };
    completion.taken_messages.insert(index);
    take(execution, completion, &messages[index])
}

/// The messages that no command names, in their order.
pub(crate) fn apply_remaining(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
) -> Result<(), CommandError> {
    let messages = &completion.request.messages;
    for (index, message) in messages.iter().enumerate() {
        if completion.taken_messages.insert(index) {
            take(execution, completion, message)?;
        }
    }
    Ok(())
}

fn take(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    message: &Message,
) -> Result<(), CommandError> {
    let invalid = |text: &str| CommandError::from(Refusal::InvalidArgument(text.to_owned()));
    let Some(body) = &message.body else {
        return Err(invalid("nil message body"));
    };
    let name = body.type_url.rsplit('/').next().unwrap_or_default();
    let (protocol, kind) = name.rsplit_once('.').unwrap_or(("", name));
    if execution.set.limits().exceeds_blob(body.encoded_len()) {
        let text = format!("Message type {kind} exceeds size limit.");
        return Err(CommandError::too_large(CAUSE, text));
    }
    if protocol != UPDATE_PROTOCOL {
        let text = format!("unsupported protocol type {protocol}");
        return Err(CommandError::bad(CAUSE, text));
    }
    let undecodable = |error| {
        let text = format!("unable to unmarshal request: {error}");
        CommandError::bad(CAUSE, text)
    };
    let bytes = &*body.value;
    let answer = if kind == Acceptance::NAME {
        Answer::Acceptance(Acceptance::decode(bytes).map_err(undecodable)?)
    } else if kind == Rejection::NAME {
        Answer::Rejection(Rejection::decode(bytes).map_err(undecodable)?)
    } else if kind == Response::NAME {
        Answer::Response(Response::decode(bytes).map_err(undecodable)?)
    } else {
        let text = format!("Message type *update.{kind} not supported");
        return Err(CommandError::bad(CAUSE, text));
    };
    let update_id = &message.protocol_instance_id;
    give(execution, completion, update_id, answer).map_err(|error| match error {
        AnswerError::Bad(text) => CommandError::bad(CAUSE, text),
        AnswerError::Fault(fault) => fault.into(),
    })
}

fn give(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    update_id: &str,
    answer: Answer,
) -> Result<(), AnswerError> {
    if !execution.is_open() && !matches!(answer, Answer::Rejection(_)) {
        // Nothing can be written after the closing event: the close decides what becomes of it.
        return Ok(());
    }
    let in_this_task = completion.answered_updates.contains(update_id);
    if !in_this_task && execution.update(update_id)?.is_none() {
        let request = match &answer {
            Answer::Acceptance(acceptance) => acceptance.accepted_request.clone(),
            Answer::Rejection(rejection) => rejection.rejected_request.clone(),
            Answer::Response(_) => None,
        };
        execution.resurrect_update(update_id, request)?;
    }
    match answer {
        Answer::Acceptance(acceptance) => {
            execution.accept_update(update_id, &acceptance, in_this_task)?;
        }
        Answer::Rejection(rejection) => {
            execution.reject_update(update_id, rejection, in_this_task)?;
        }
        Answer::Response(response) => {
            execution.complete_update(update_id, response, in_this_task)?;
        }
    }
    completion.answered_updates.insert(update_id.to_owned());
    Ok(())
}
