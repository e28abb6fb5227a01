//! Updates: callers who ask, workers who answer, and how far one is.

use super::workflow::{execution, start_request};
use super::{Args, Script, payloads_text};
use prost::{Message as _, Name};
use steadfast_engine::Reply;
use steadfast_engine::effect::UpdateEnd;
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_engine::read::update::{UpdateStage, find};
use steadfast_proto::temporal::command::v1::ProtocolMessageCommandAttributes;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::protocol::v1::message::SequencingId;
use steadfast_proto::temporal::update::v1::outcome::Value;
use steadfast_proto::temporal::update::v1::{
    Acceptance, Input, Meta, Outcome, Rejection, Request, Response,
};
use steadfast_proto::temporal::workflowservice::v1::UpdateWorkflowExecutionRequest;

/// `update [ID] id= name= input= run= first_run=`
pub(super) fn update(script: &mut Script, args: &Args) {
    let request = Proto(update_request(args));
    if script
        .apply(Mutation::UpdateWorkflowExecution(request))
        .is_some()
    {
        script.say("known");
    }
}

/// As `start`, with `id=`, `name=` of the update.
pub(super) fn update_with_start(script: &mut Script, args: &Args) {
    let update = Proto(update_request(args));
    let start = Proto(start_request(script, args));
    let reply = script.apply(Mutation::ExecuteMultiOperation { start, update });
    if let Some(Reply::MultiOperation { start, .. }) = reply
        && let Reply::Started {
            started, status, ..
        } = *start
    {
        script.say(format!("started={started} status={status}"));
    }
}

fn update_request(args: &Args) -> UpdateWorkflowExecutionRequest {
    UpdateWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_execution: execution(args),
        first_execution_run_id: args.get_or("first_run", ""),
        request: Some(request(&args.get_or("id", "u"), args)),
        ..Default::default()
    }
}

fn request(update_id: &str, args: &Args) -> Request {
    Request {
        meta: Some(Meta {
            update_id: update_id.to_owned(),
            identity: "client".to_owned(),
        }),
        input: Some(Input {
            name: args.get_or("name", "set"),
            args: args.payloads("input"),
            header: None,
        }),
        ..Default::default()
    }
}

/// `show_update [ID] id=`: how far it is, for the newest run.
pub(super) fn show(script: &mut Script, args: &Args) {
    let (workflow_id, update_id) = (args.name_or("wf"), args.get_or("id", "u"));
    let runs = script.world.runs();
    let run = runs
        .iter()
        .rev()
        .find(|run| run.run.workflow_id == workflow_id)
        .unwrap();
    let found = find(&script.world.memory, run, &update_id).unwrap();
    script.say(match found.map(|found| found.stage) {
        None => "no trace of it".to_owned(),
        Some(UpdateStage::Admitted) => "admitted".to_owned(),
        Some(UpdateStage::Accepted) => "accepted".to_owned(),
        Some(UpdateStage::Completed(outcome)) => format!("completed: {}", outcome_text(&outcome)),
    });
}

pub(super) fn outcome_text(outcome: &Outcome) -> String {
    match &outcome.value {
        Some(Value::Success(payloads)) => payloads_text(Some(payloads)),
        Some(Value::Failure(failure)) => super::event_text::failure_text(Some(failure)),
        None => "nothing".to_owned(),
    }
}

pub(super) fn end_text(end: Option<&UpdateEnd>) -> String {
    match end {
        None => " moved".to_owned(),
        Some(UpdateEnd::Rejected(failure)) => {
            format!(
                " rejected: {}",
                super::event_text::failure_text(Some(failure))
            )
        }
        Some(other) => format!(" aborted: {other:?}"),
    }
}

/// What a claimed task carries.
pub(super) fn messages_text(messages: &[Message]) -> String {
    let text = |message: &Message| {
        let Some(SequencingId::EventId(id)) = message.sequencing_id else {
            panic!("{message:?}")
        };
        format!(", {} after event {id}", message.id)
    };
    messages.iter().map(text).collect()
}

/// Below `complete_workflow`: `accept ID at=`, `respond ID result= | error=`, `reject ID message=`.
/// `bare` sends the message without its command, `for=` names another update in the response,
/// `whole` adds the request.
pub(super) fn answer(line: &str) -> Option<Message> {
    let args = Args::parse(line, line);
    let update_id = args.name_or("u");
    let whole = args.has("whole").then(|| request(&update_id, &args));
    let (kind, type_url, value) = match args.verb.as_str() {
        "accept" => {
            let acceptance = Acceptance {
                accepted_request_message_id: format!("{update_id}/request"),
                accepted_request_sequencing_event_id: args.number("at"),
                accepted_request: whole,
            };
            (
                "accept",
                Acceptance::full_name(),
                acceptance.encode_to_vec(),
            )
        }
        "reject" => {
            let rejection = Rejection {
                rejected_request_message_id: format!("{update_id}/request"),
                rejected_request: whole,
                failure: Some(failure(args.get_or("message", "no"))),
                ..Default::default()
            };
            ("reject", Rejection::full_name(), rejection.encode_to_vec())
        }
        "respond" => {
            let update_id = args.get_or("for", &update_id);
            let value = match args.get("error") {
                Some(message) => Value::Failure(failure(message)),
                None => Value::Success(args.payloads("result").unwrap_or_default()),
            };
            let identity = "client".to_owned();
            let response = Response {
                meta: Some(Meta {
                    update_id,
                    identity,
                }),
                outcome: Some(Outcome { value: Some(value) }),
            };
            ("respond", Response::full_name(), response.encode_to_vec())
        }
        _ => return None,
    };
    args.finish();
    Some(Message {
        id: format!("{update_id}/{kind}"),
        protocol_instance_id: update_id,
        body: Some(prost_types::Any {
            type_url: format!("type.googleapis.com/{type_url}"),
            value,
        }),
        sequencing_id: None,
    })
}

/// The command that places an answer; `None` when it has none.
pub(super) fn command(args: &Args) -> Option<ProtocolMessageCommandAttributes> {
    let message_id = match args.verb.as_str() {
        "accept" | "respond" if !args.has("bare") => {
            format!("{}/{}", args.name_or("u"), args.verb)
        }
        "protocol_message" => args.name_or(""),
        _ => return None,
    };
    Some(ProtocolMessageCommandAttributes { message_id })
}

fn failure(message: String) -> Failure {
    Failure {
        message,
        ..Failure::default()
    }
}
