//! Updates of random walks: callers who ask, workers who answer, mostly well.

use crate::memory::Memory;
use prost::{Message as _, Name};
use steadfast_engine::mutation::{Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{Record, Tables, UpdateState, keys};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{Command, ProtocolMessageCommandAttributes};
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::update::v1::{
    Acceptance, Input, Meta, Outcome, Rejection, Request, Response,
};
use steadfast_proto::temporal::workflowservice::v1::{
    StartWorkflowExecutionRequest as StartRequest, UpdateWorkflowExecutionRequest as UpdateRequest,
};

fn request(update_id: &str) -> Request {
    Request {
        meta: Some(Meta {
            update_id: update_id.to_owned(),
            identity: "c".to_owned(),
        }),
        input: Some(Input {
            name: "set".to_owned(),
            ..Input::default()
        }),
        ..Request::default()
    }
}

/// An update of a workflow's current run.
pub(crate) fn update(namespace: &str, workflow_id: &str, update_id: &str) -> UpdateRequest {
    UpdateRequest {
        namespace: namespace.to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: String::new(),
        }),
        request: Some(request(update_id)),
        ..Default::default()
    }
}

/// An update with a start, which may have neither cron nor delay, nor be eager.
pub(crate) fn with_start(mut start: StartRequest, update_id: &str) -> Mutation {
    start.request_eager_execution = false;
    start.cron_schedule = String::new();
    start.workflow_start_delay = None;
    start.completion_callbacks = Vec::new();
    let update = update(&start.namespace, &start.workflow_id, update_id);
    Mutation::ExecuteMultiOperation {
        start: Proto(start),
        update: Proto(update),
    }
}

/// What a worker says of the updates that its run has open.
pub(crate) fn answers(
    memory: &Memory,
    token: &TaskToken,
    draw: &mut dyn FnMut(u64) -> u64,
) -> (Vec<Message>, Vec<Command>) {
    let prefix = keys::update_prefix(&token.run);
    let end = keys::prefix_end(&prefix);
    let records = memory.scan(&prefix, &end, 100, false).unwrap();
    let (mut messages, mut commands) = (Vec::new(), Vec::new());
    for (key, record) in records {
        let Record::Update(update) = &*record else {
            panic!("{record:?}")
        };
        let id = String::from_utf8_lossy(&key[prefix.len() + 2..]).into_owned();
        let kinds: &[&str] = match (update.state, draw(20)) {
            (UpdateState::Completed { .. }, _) => &[],
            (_, 0) => &["respond", "accept"],
            (UpdateState::Sent { .. }, 1..=6) => &["accept"],
            (UpdateState::Sent { .. }, 7..=12) => &["accept", "respond"],
            (UpdateState::Sent { .. }, 13..=17) => &["reject"],
            (UpdateState::Accepted { .. }, 1..=9) => &["respond"],
            _ => &[],
        };
        for kind in kinds {
            messages.push(message(&id, kind));
            if *kind != "reject" && draw(10) > 0 {
                commands.push(placing(&id, kind));
            }
        }
    }
    (messages, commands)
}

fn message(update_id: &str, kind: &str) -> Message {
    let (name, value) = match kind {
        "accept" => {
            let acceptance = Acceptance {
                accepted_request_sequencing_event_id: 1,
                accepted_request: Some(request(update_id)),
                ..Acceptance::default()
            };
            (Acceptance::full_name(), acceptance.encode_to_vec())
        }
        "respond" => {
            let response = Response {
                meta: request(update_id).meta,
                outcome: Some(Outcome::default()),
            };
            (Response::full_name(), response.encode_to_vec())
        }
        _ => (Rejection::full_name(), Rejection::default().encode_to_vec()),
    };
    Message {
        id: format!("{update_id}/{kind}"),
        protocol_instance_id: update_id.to_owned(),
        body: Some(prost_types::Any {
            type_url: format!("type.googleapis.com/{name}"),
            value,
        }),
        sequencing_id: None,
    }
}

fn placing(update_id: &str, kind: &str) -> Command {
    Command {
        command_type: CommandType::ProtocolMessage.into(),
        attributes: Some(Attributes::ProtocolMessageCommandAttributes(
            ProtocolMessageCommandAttributes {
                message_id: format!("{update_id}/{kind}"),
            },
        )),
        ..Command::default()
    }
}
