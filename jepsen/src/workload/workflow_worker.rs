//! A worker of workflows: runs the script, answers updates and queries.

use super::caller::{Caller, Failed, timed};
use super::script::Past;
use super::{NAMESPACE, payload, queue};
use crate::operation::{Answer, Asked, DeliveredTask, Delivery, SeenTimer, hash};
use prost::{Message as _, Name};
use std::time::Duration;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{Command, ProtocolMessageCommandAttributes};
use steadfast_proto::temporal::enums::v1::{CommandType, QueryResultType};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::query::v1::WorkflowQueryResult;
use steadfast_proto::temporal::update::v1::outcome::Value;
use steadfast_proto::temporal::update::v1::{Acceptance, Meta, Outcome, Rejection, Response};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::sleep;
use tonic::Request;

const POLL: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(50);
const TRIES: u32 = 4;
/// A history has at most so many pages; scripts are short.
const PAGES_MAX: usize = 20;

pub(super) async fn run(caller: Caller) {
    loop {
        let polled_at = caller.now();
        let mut poll = Request::new(wire::PollWorkflowTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: queue(),
            identity: "worker".into(),
            ..Default::default()
        });
        poll.set_timeout(POLL);
        let polled = caller.call(POLL, |node| async move {
            node.poll_workflow_task_queue(poll).await
        });
        match polled.await {
            Ok(task) if !task.task_token.is_empty() => perform(&caller, task, polled_at).await,
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn perform(caller: &Caller, task: wire::PollWorkflowTaskQueueResponse, polled: Duration) {
    let arrived = caller.now();
    let Some(events) = history(caller, &task).await else {
        return;
    };
    let past = Past::of(&events);
    let execution = task.workflow_execution.clone().unwrap_or_default();
    if task.query.is_some() {
        return answer_query(caller, &task, &seen(&execution.run_id, &past)).await;
    }
    let before = &events[..events.len().saturating_sub(2)];
    caller.journal().deliveries.push(Delivery {
        polled,
        at: arrived,
        run_id: execution.run_id.clone(),
        task: DeliveredTask::Workflow {
            token: hash(&task.task_token),
            events: before.len(),
            history: hash_of(before),
        },
        attempt: task.attempt,
    });
    note_fired(caller, &execution.run_id, &past);
    let habits = caller.habits();
    if caller.happens(habits.dies) {
        return;
    }
    if caller.happens(habits.slow) {
        sleep(caller.around(Duration::from_secs(3))).await;
    }
    let (messages, mut commands) = updates(&task);
    commands.extend(past.decide(&execution.workflow_id, &execution.run_id));
    note_asked(caller, &execution.run_id, &commands);
    let answer = payload(&seen(&execution.run_id, &past));
    let result = |id: &String| {
        let result = WorkflowQueryResult {
            result_type: QueryResultType::Answered.into(),
            answer: answer.clone(),
            ..WorkflowQueryResult::default()
        };
        (id.clone(), result)
    };
    let request = wire::RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        commands,
        messages,
        identity: "worker".into(),
        query_results: task.queries.keys().map(result).collect(),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    complete(caller, &execution.run_id, task.started_event_id, request).await;
}

async fn complete(
    caller: &Caller,
    run_id: &str,
    started_event_id: i64,
    request: wire::RespondWorkflowTaskCompletedRequest,
) {
    let (token, decides) = (hash(&request.task_token), !request.commands.is_empty());
    for _ in 0..TRIES {
        let call = caller.asks(Asked::CompleteWorkflowTask {
            run_id: run_id.to_owned(),
            started_event_id,
            token,
            decides,
        });
        let request = request.clone();
        let answer = caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.respond_workflow_task_completed(request).await
        });
        let answer = answer.await;
        let again = matches!(answer, Err(Failed::Unknown(_)));
        caller.answered(call, answer.map(|_| Answer::Done).into());
        if !again {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// All events of a task's history.
async fn history(
    caller: &Caller,
    task: &wire::PollWorkflowTaskQueueResponse,
) -> Option<Vec<HistoryEvent>> {
    let mut events = History::decode(task.history.clone()).ok()?.events;
    let mut next = task.next_page_token.clone();
    for _ in 0..PAGES_MAX {
        if next.is_empty() {
            return Some(events);
        }
        let request = wire::GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.into(),
            execution: task.workflow_execution.clone(),
            next_page_token: next,
            ..Default::default()
        };
        let page = caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.get_workflow_execution_history(request).await
        });
        let page = page.await.ok()?;
        events.extend(History::decode(page.history).ok()?.events);
        next = page.next_page_token;
    }
    None
}

pub(crate) fn hash_of(events: &[HistoryEvent]) -> u64 {
    let history = History {
        events: events.to_vec(),
    };
    hash(&history.encode_to_vec())
}

/// The answer of a query: the run, and the signals it has seen.
fn seen(run_id: &str, past: &Past) -> String {
    format!("{run_id}|{}", past.signals.join("|"))
}

async fn answer_query(caller: &Caller, task: &wire::PollWorkflowTaskQueueResponse, answer: &str) {
    let request = wire::RespondQueryTaskCompletedRequest {
        task_token: task.task_token.clone(),
        completed_type: QueryResultType::Answered.into(),
        query_result: payload(answer),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    let answered = caller.call(ANSWER, |node| async move {
        let request = timed(request, ANSWER);
        node.respond_query_task_completed(request).await
    });
    drop(answered.await);
}

fn note_fired(caller: &Caller, run_id: &str, past: &Past) {
    let now = caller.now();
    let mut journal = caller.journal();
    for timer in &past.fired {
        let key = (run_id.to_owned(), timer.clone());
        if let Some(seen) = journal.timers.get_mut(&key) {
            seen.fired.get_or_insert(now);
        }
    }
}

fn note_asked(caller: &Caller, run_id: &str, commands: &[Command]) {
    let asked = caller.now();
    let mut journal = caller.journal();
    for command in commands {
        if let Some(Attributes::StartTimerCommandAttributes(timer)) = &command.attributes {
            let takes = timer.start_to_fire_timeout.unwrap_or_default();
            let takes = Duration::try_from(takes).unwrap_or_default();
            let key = (run_id.to_owned(), timer.timer_id.clone());
            journal.timers.entry(key).or_insert(SeenTimer {
                asked,
                takes,
                fired: None,
            });
        }
    }
}

/// What is said of the updates that came with a task: one in eight is rejected.
fn updates(task: &wire::PollWorkflowTaskQueueResponse) -> (Vec<Message>, Vec<Command>) {
    let (mut messages, mut commands) = (Vec::new(), Vec::new());
    for request in &task.messages {
        let update_id = &request.protocol_instance_id;
        if hash(update_id.as_bytes()).is_multiple_of(8) {
            let rejection = Rejection {
                rejected_request_message_id: request.id.clone(),
                failure: Some(Failure {
                    message: "no".into(),
                    ..Failure::default()
                }),
                ..Rejection::default()
            };
            messages.push(message(update_id, &rejection));
            continue;
        }
        let acceptance = Acceptance {
            accepted_request_message_id: request.id.clone(),
            ..Acceptance::default()
        };
        let response = Response {
            meta: Some(Meta {
                update_id: update_id.clone(),
                identity: "worker".into(),
            }),
            outcome: Some(Outcome {
                value: Some(Value::Success(payload("yes").unwrap_or_default())),
            }),
        };
        for message in [
            message(update_id, &acceptance),
            message(update_id, &response),
        ] {
            commands.push(Command {
                command_type: CommandType::ProtocolMessage.into(),
                attributes: Some(Attributes::ProtocolMessageCommandAttributes(
                    ProtocolMessageCommandAttributes {
                        message_id: message.id.clone(),
                    },
                )),
                ..Command::default()
            });
            messages.push(message);
        }
    }
    (messages, commands)
}

fn message<M: prost::Message + Name>(update_id: &str, body: &M) -> Message {
    Message {
        id: format!("{update_id}/{}", M::NAME),
        protocol_instance_id: update_id.into(),
        body: Some(prost_types::Any {
            type_url: format!("type.googleapis.com/{}", M::full_name()),
            value: body.encode_to_vec(),
        }),
        sequencing_id: None,
    }
}
