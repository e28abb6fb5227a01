//! A client and a worker that find the leader themselves, as the forward layer does for real ones.

use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::shard::{Class, Poll, Polled, Shard, View};
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::{NamespaceNumber, QueueKey, TaskKind, WorkerVersion};
use steadfast_engine::mutation::{ActivityTarget, TaskToken};
use steadfast_engine::read::history::{PAGE_BATCHES_MAX, forward};
use steadfast_engine::read::{StoredRun, namespace, resolve, run};
use steadfast_engine::{Mutation, Refusal, Reply};
use steadfast_jepsen::simulation::{Doors, Trace};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{ActivityType, WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::{CommandType, EventType, TaskQueueKind};
use steadfast_proto::temporal::history::v1::History;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::{Instant, sleep};

/// How long an activity works.
const WORK: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue {
        name: "orders".into(),
        kind: TaskQueueKind::Normal.into(),
        ..TaskQueue::default()
    })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// The number of the namespace `default`; `None` before there is one.
fn default_namespace(view: &View) -> Option<NamespaceNumber> {
    Some(namespace::by_name(view, "default").unwrap()?.number)
}

fn history_of(view: &View, run: &StoredRun) -> bytes::Bytes {
    let last = run.next_event_id - 1;
    let page = forward(view, run, 1, last, PAGE_BATCHES_MAX).unwrap();
    assert_eq!(page.next, None, "one page");
    page.events
}

/// The encoded history of a workflow on one replica, whether that leads or not.
pub(crate) fn history(shard: &Shard, workflow_id: &str) -> Option<bytes::Bytes> {
    let view = shard.view();
    let namespace = default_namespace(&view)?;
    let run = resolve(&view, namespace, workflow_id, "").unwrap().ok()?;
    Some(history_of(&view, &run))
}

/// The types of the events of an encoded history.
pub(crate) fn event_types(history: &[u8]) -> Vec<EventType> {
    let history = History::decode(history).unwrap();
    history
        .events
        .iter()
        .map(|event| event.event_type())
        .collect()
}

/// What the worker has done, by activity id.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Attempts that began.
    pub(crate) begun: BTreeMap<String, u32>,
    /// Completions that were acknowledged.
    pub(crate) acknowledged: BTreeMap<String, u32>,
}

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Client {
    doors: Doors,
    trace: Trace,
    pub(crate) done: Arc<Mutex<Done>>,
}

impl Client {
    pub(crate) fn new(doors: Doors, trace: &Trace) -> Client {
        Client {
            doors,
            trace: trace.clone(),
            done: Arc::default(),
        }
    }

    fn leader(&self) -> Option<Shard> {
        self.doors.leader()
    }

    async fn propose(&self, class: Class, mutation: Mutation) -> Result<Reply, Refusal> {
        loop {
            if let Some(leader) = self.leader() {
                match leader.propose(class, mutation.clone()).await {
                    Ok(answer) => return answer,
                    Err(unavailable) => self.trace.line(|| format!("client: {unavailable}")),
                }
            }
            sleep(PAUSE).await;
        }
    }

    pub(crate) async fn start(&self, workflow_id: &str, workflow_type: &str) {
        let request = wire::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: workflow_id.into(),
            workflow_type: Some(WorkflowType {
                name: workflow_type.into(),
            }),
            task_queue: queue(),
            request_id: format!("start {workflow_id}"),
            identity: "client".into(),
            ..Default::default()
        };
        let mutation = Mutation::StartWorkflowExecution(request.into());
        self.propose(Class::Fills, mutation).await.unwrap();
    }

    /// One signal, whatever comes of it.
    pub(crate) fn signal(&self, workflow_id: &str, number: u32) {
        let Some(leader) = self.leader() else { return };
        let request = wire::SignalWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: workflow_id.into(),
                run_id: String::new(),
            }),
            signal_name: format!("signal {number}"),
            request_id: format!("signal {number}"),
            ..Default::default()
        };
        tokio::spawn(async move {
            let mutation = Mutation::SignalWorkflowExecution(request.into());
            drop(leader.propose(Class::Fills, mutation).await);
        });
    }

    /// Works for ever, in two tasks.
    pub(crate) fn work(&self) {
        for kind in [TaskKind::Workflow, TaskKind::Activity] {
            let client = self.clone();
            tokio::spawn(async move {
                loop {
                    client.one(kind).await;
                }
            });
        }
    }

    async fn one(&self, kind: TaskKind) {
        let leader = self.leader();
        let namespace = leader
            .as_ref()
            .and_then(|leader| default_namespace(&leader.view()));
        let (Some(leader), Some(namespace)) = (leader, namespace) else {
            return sleep(PAUSE).await;
        };
        let poll = Poll {
            id: leader.next_poll_id(),
            queue: QueueKey {
                namespace,
                kind,
                name: "orders".into(),
            },
            sticky: false,
            identity: "worker".into(),
            worker: WorkerVersion::default(),
        };
        match leader.poll(poll, Instant::now() + POLL).await {
            Ok(Some(Polled::Task(AssignedTask::Workflow(task)))) => {
                let view = leader.view();
                if let Some(run) = run(&view, &task.token.run).unwrap() {
                    let events = event_types(&history_of(&view, &run));
                    self.complete_workflow_task(task.token, &task.workflow_type, &events)
                        .await;
                }
            }
            Ok(Some(Polled::Task(AssignedTask::Activity(task)))) => {
                self.activity(&leader, task.token).await
            }
            // A node that is on its way out answers at once: never without a pause.
            Ok(Some(Polled::Query(_)) | None) => sleep(PAUSE).await,
            Err(unavailable) => {
                self.trace.line(|| format!("worker: {unavailable}"));
                sleep(PAUSE).await;
            }
        }
    }

    async fn complete_workflow_task(
        &self,
        token: TaskToken,
        workflow_type: &str,
        events: &[EventType],
    ) {
        let request = wire::RespondWorkflowTaskCompletedRequest {
            commands: decide(workflow_type, events),
            identity: "worker".into(),
            namespace: "default".into(),
            ..Default::default()
        };
        let mutation = Mutation::RespondWorkflowTaskCompleted {
            token,
            request: request.into(),
        };
        if let Err(refusal) = self.propose(Class::Drains, mutation).await {
            self.trace.line(|| format!("worker: {refusal}"));
        }
    }

    async fn activity(&self, leader: &Shard, token: TaskToken) {
        let id = {
            let view = leader.view();
            let activity = steadfast_engine::read::target::activity(
                &view,
                &token.run,
                token.scheduled_event_id,
            );
            let Some(activity) = activity.unwrap() else {
                return;
            };
            // Ids are those of the code, the same in each workflow of a type.
            format!(
                "{}/{}",
                token.run.workflow_id, activity.scheduled.activity_id
            )
        };
        {
            let mut done = self.done.lock().unwrap();
            let acknowledged = done.acknowledged.contains_key(&id);
            assert!(
                !acknowledged,
                "activity {id} runs again after it had completed"
            );
            *done.begun.entry(id.clone()).or_default() += 1;
        }
        self.trace
            .line(|| format!("worker: activity {id}, attempt {}", token.attempt));
        sleep(WORK).await;
        let request = wire::RespondActivityTaskCompletedRequest {
            identity: "worker".into(),
            namespace: "default".into(),
            ..Default::default()
        };
        let mutation = Mutation::RespondActivityTaskCompleted {
            target: ActivityTarget::Token(token),
            request: request.into(),
        };
        match self.propose(Class::Drains, mutation).await {
            Ok(_) => {
                *self
                    .done
                    .lock()
                    .unwrap()
                    .acknowledged
                    .entry(id)
                    .or_default() += 1
            }
            Err(refusal) => self.trace.line(|| format!("worker: {refusal}")),
        }
    }
}

/// The workflows: an order is two activities, one after the other; a timer is one of five seconds.
fn decide(workflow_type: &str, events: &[EventType]) -> Vec<Command> {
    let count = |kind| events.iter().filter(|event| **event == kind).count();
    let (kind, attributes) = if workflow_type == "timer" {
        match (count(EventType::TimerStarted), count(EventType::TimerFired)) {
            (0, _) => (CommandType::StartTimer, start_timer()),
            (_, 0) => return Vec::new(),
            _ => (CommandType::CompleteWorkflowExecution, complete()),
        }
    } else {
        let scheduled = count(EventType::ActivityTaskScheduled);
        match count(EventType::ActivityTaskCompleted) {
            2 => (CommandType::CompleteWorkflowExecution, complete()),
            completed if completed == scheduled => (
                CommandType::ScheduleActivityTask,
                schedule_activity(scheduled + 1),
            ),
            _ => return Vec::new(),
        }
    };
    vec![Command {
        command_type: kind.into(),
        attributes: Some(attributes),
        ..Command::default()
    }]
}

fn schedule_activity(number: usize) -> Attributes {
    Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
        activity_id: number.to_string(),
        activity_type: Some(ActivityType {
            name: "step".into(),
        }),
        task_queue: queue(),
        start_to_close_timeout: seconds(10),
        ..Default::default()
    })
}

fn start_timer() -> Attributes {
    Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
        timer_id: "t".into(),
        start_to_fire_timeout: seconds(5),
    })
}

fn complete() -> Attributes {
    Attributes::CompleteWorkflowExecutionCommandAttributes(
        CompleteWorkflowExecutionCommandAttributes::default(),
    )
}
