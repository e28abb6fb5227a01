//! Workflow code of the client's tests, driven by hand: it looks at the whole history of each
//! task.

use prost::{Message as _, Name};
use prost_types::Any;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_proto::temporal::command::v1 as command;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::command::v1::command::Attributes as Do;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::enums::v1::{CommandType, QueryResultType};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::WorkflowExecutionStartedEventAttributes;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::query::v1::WorkflowQueryResult;
use steadfast_proto::temporal::update::v1 as update;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::client::command::{command, complete_workflow, schedule_activity};
use steadfast_sdk::client::{RawWorker, WorkflowTask};
use steadfast_sdk::{DataConverter, Failure as SdkFailure, RawClient};
use tokio::task::JoinHandle;

/// A worker of a task queue, until it is dropped.
pub(crate) struct Worker(JoinHandle<()>);

impl Worker {
    pub(crate) fn start(client: &RawClient, task_queue: &str) -> Self {
        let (client, task_queue) = (client.clone(), task_queue.to_string());
        Self(tokio::spawn(async move {
            let mut worker = RawWorker::new(&client, 0, &task_queue, None);
            loop {
                match worker.poll_workflow_task().await {
                    Ok(Some(task)) => answer(&client, task, &task_queue).await,
                    Ok(None) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A query of the number of signals that came, and an update of the same.
async fn answer(client: &RawClient, task: WorkflowTask, task_queue: &str) {
    let mut service = client.service(0);
    let signals = inputs(&task).len();
    if let Some(query) = &task.response.query {
        let result = query_result(&query.query_type, signals);
        let request = wire::RespondQueryTaskCompletedRequest {
            task_token: task.token(),
            completed_type: result.result_type,
            query_result: result.answer,
            error_message: result.error_message,
            failure: result.failure,
            namespace: client.namespace().to_string(),
            ..Default::default()
        };
        // A query that nobody waits for any more may be refused.
        service.respond_query_task_completed(request).await.ok();
        return;
    }
    let (messages, mut commands) = updates(&task);
    commands.extend(decide(&task, task_queue));
    let queries = task.response.queries.iter();
    let request = wire::RespondWorkflowTaskCompletedRequest {
        task_token: task.token(),
        namespace: client.namespace().to_string(),
        commands,
        messages,
        query_results: queries
            .map(|(id, query)| (id.clone(), query_result(&query.query_type, signals)))
            .collect::<BTreeMap<_, _>>(),
        ..Default::default()
    };
    // A task that was lost comes again.
    service.respond_workflow_task_completed(request).await.ok();
}

fn query_result(query_type: &str, signals: usize) -> WorkflowQueryResult {
    match query_type {
        "count" => WorkflowQueryResult {
            result_type: QueryResultType::Answered as i32,
            answer: Some(number(signals)),
            ..Default::default()
        },
        _ => WorkflowQueryResult {
            result_type: QueryResultType::Failed as i32,
            error_message: "no such query".to_string(),
            failure: Some(failure(SdkFailure::application("Unknown", "no such query"))),
            ..Default::default()
        },
    }
}

fn number(number: usize) -> Payloads {
    let converter = DataConverter::default();
    Payloads {
        payloads: vec![converter.converter().to_payload(&number).unwrap()],
    }
}

fn failure(failure: SdkFailure) -> Failure {
    DataConverter::default().to_wire(&failure)
}

/// The inputs of the signals.
fn inputs(task: &WorkflowTask) -> Vec<Option<Payloads>> {
    let events = task.events.iter();
    events
        .filter_map(|event| match &event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => {
                Some(signal.input.clone())
            }
            _ => None,
        })
        .collect()
}

fn started(task: &WorkflowTask) -> &WorkflowExecutionStartedEventAttributes {
    match &task.events[0].attributes {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => started,
        other => panic!("no start: {other:?}"),
    }
}

/// Accepts and completes updates with what they were given; rejects those without input.
fn updates(task: &WorkflowTask) -> (Vec<Message>, Vec<Command>) {
    let (mut messages, mut commands) = (Vec::new(), Vec::new());
    for message in &task.response.messages {
        let body = message.body.as_ref().unwrap();
        let request = update::Request::decode(body.value.as_slice()).unwrap();
        let args = request.input.as_ref().and_then(|input| input.args.clone());
        let mut say = |kind: &str, body: Any, as_command: bool| {
            let id = format!("{}/{kind}", message.id);
            messages.push(Message {
                id: id.clone(),
                protocol_instance_id: message.protocol_instance_id.clone(),
                body: Some(body),
                sequencing_id: None,
            });
            if as_command {
                let attributes = command::ProtocolMessageCommandAttributes { message_id: id };
                commands.push(command(
                    CommandType::ProtocolMessage,
                    Do::ProtocolMessageCommandAttributes(attributes),
                ));
            }
        };
        let Some(args) = args else {
            let rejection = update::Rejection {
                rejected_request_message_id: message.id.clone(),
                rejected_request: Some(request),
                failure: Some(failure(SdkFailure::application("Rejected", "no input"))),
                ..Default::default()
            };
            say("reject", any(&rejection), false);
            continue;
        };
        let response = update::Response {
            meta: request.meta.clone(),
            outcome: Some(update::Outcome {
                value: Some(update::outcome::Value::Success(args)),
            }),
        };
        let acceptance = update::Acceptance {
            accepted_request_message_id: message.id.clone(),
            accepted_request: Some(request),
            ..Default::default()
        };
        say("accept", any(&acceptance), true);
        say("complete", any(&response), true);
    }
    (messages, commands)
}

fn any<M: prost::Message + Name>(message: &M) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: message.encode_to_vec(),
    }
}

fn decide(task: &WorkflowTask, task_queue: &str) -> Vec<Command> {
    let started = started(task);
    let input = started.input.clone();
    let workflow_type = started.workflow_type.as_ref().unwrap().name.as_str();
    let canceled = task.events.iter().any(|event| {
        matches!(
            event.attributes,
            Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(
                _
            ))
        )
    });
    if canceled && workflow_type != "Outside" {
        let attributes = command::CancelWorkflowExecutionCommandAttributes { details: input };
        return vec![command(
            CommandType::CancelWorkflowExecution,
            Do::CancelWorkflowExecutionCommandAttributes(attributes),
        )];
    }
    match workflow_type {
        "Echo" => vec![complete_workflow(input)],
        "Fail" => {
            let cause = SdkFailure::non_retryable("Bank", "no money");
            let refused = SdkFailure::application("Refused", "card refused").with_cause(cause);
            vec![fail(failure(refused))]
        }
        "Again" => again(input),
        "Signaled" => {
            let first = inputs(task).into_iter().next();
            first.map(complete_workflow).into_iter().collect()
        }
        "Waiting" => Vec::new(),
        "Outside" => outside(task, task_queue, input),
        other => panic!("{other} is not known"),
    }
}

fn fail(failure: Failure) -> Command {
    let attributes = command::FailWorkflowExecutionCommandAttributes {
        failure: Some(failure),
    };
    command(
        CommandType::FailWorkflowExecution,
        Do::FailWorkflowExecutionCommandAttributes(attributes),
    )
}

/// Continues as new until its number is 0.
fn again(input: Option<Payloads>) -> Vec<Command> {
    let data = DataConverter::default();
    let left: usize = data.converter().from_result(input).unwrap();
    if left == 0 {
        return vec![complete_workflow(Some(number(7)))];
    }
    let attributes = command::ContinueAsNewWorkflowExecutionCommandAttributes {
        input: Some(number(left - 1)),
        ..Default::default()
    };
    vec![command(
        CommandType::ContinueAsNewWorkflowExecution,
        Do::ContinueAsNewWorkflowExecutionCommandAttributes(attributes),
    )]
}

/// Schedules an activity that someone else completes, and ends as it does; asked to cancel, it
/// cancels the activity.
fn outside(task: &WorkflowTask, task_queue: &str, input: Option<Payloads>) -> Vec<Command> {
    let mut scheduled = None;
    let mut asked = false;
    for event in &task.events {
        match event.attributes.as_ref().unwrap() {
            Attributes::ActivityTaskScheduledEventAttributes(_) => scheduled = Some(event.event_id),
            Attributes::ActivityTaskCancelRequestedEventAttributes(_) => asked = true,
            Attributes::ActivityTaskCompletedEventAttributes(completed) => {
                return vec![complete_workflow(completed.result.clone())];
            }
            Attributes::ActivityTaskFailedEventAttributes(failed) => {
                return vec![fail(failed.failure.clone().unwrap())];
            }
            Attributes::ActivityTaskCanceledEventAttributes(canceled) => {
                return vec![complete_workflow(canceled.details.clone())];
            }
            _ => {}
        }
    }
    let canceled = task.events.iter().any(|event| {
        matches!(
            event.attributes,
            Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(
                _
            ))
        )
    });
    match scheduled {
        None => vec![schedule_activity(
            "charge",
            "Charge",
            task_queue,
            input.unwrap_or_default(),
            60,
        )],
        Some(scheduled_event_id) if canceled && !asked => {
            let attributes =
                command::RequestCancelActivityTaskCommandAttributes { scheduled_event_id };
            vec![command(
                CommandType::RequestCancelActivityTask,
                Do::RequestCancelActivityTaskCommandAttributes(attributes),
            )]
        }
        Some(_) => Vec::new(),
    }
}

/// Bits turned, as a codec of a user would.
pub(crate) fn turned(mut payload: Payload) -> Payload {
    payload.data = payload.data.iter().map(|byte| byte ^ 0xff).collect();
    payload
}
