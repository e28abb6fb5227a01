//! Short ways to tell a story of one workflow, and its history as text.

use crate::world::World;
use prost_types::Duration;
use std::fmt::Write;
use steadfast_engine::effect::{AssignedTask, AssignedWorkflowTask, Effect};
use steadfast_engine::id::{
    NamespaceNumber, PollId, QueueKey, Reservation, TaskKind, WorkerVersion,
};
use steadfast_engine::mutation::{Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::Run;
use steadfast_engine::{Refusal, Reply};
use steadfast_proto::temporal::command::v1::command::Attributes as CommandAttributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
    StartTimerCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::{CommandType, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use steadfast_proto::temporal::workflowservice::v1 as wire;

pub(crate) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub(crate) fn start_request() -> wire::StartWorkflowExecutionRequest {
    wire::StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "main".into(),
        workflow_type: Some(WorkflowType { name: "W".into() }),
        task_queue: Some(TaskQueue {
            name: "q".into(),
            ..Default::default()
        }),
        request_id: "start".into(),
        identity: "client".into(),
        ..Default::default()
    }
}

pub(crate) fn command(command_type: CommandType, attributes: CommandAttributes) -> Command {
    Command {
        command_type: command_type.into(),
        attributes: Some(attributes),
        ..Default::default()
    }
}

pub(crate) fn complete_workflow() -> Command {
    command(
        CommandType::CompleteWorkflowExecution,
        CommandAttributes::CompleteWorkflowExecutionCommandAttributes(
            CompleteWorkflowExecutionCommandAttributes::default(),
        ),
    )
}

pub(crate) fn marker(name: &str) -> Command {
    command(
        CommandType::RecordMarker,
        CommandAttributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
            marker_name: name.into(),
            ..Default::default()
        }),
    )
}

pub(crate) fn timer(id: &str, after: i64) -> Command {
    command(
        CommandType::StartTimer,
        CommandAttributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
            timer_id: id.into(),
            start_to_fire_timeout: seconds(after),
        }),
    )
}

pub(crate) fn workflow_queue(name: &str) -> QueueKey {
    QueueKey {
        namespace: NamespaceNumber(2),
        kind: TaskKind::Workflow,
        name: name.into(),
    }
}

pub(crate) fn poll(queue: &str) -> Reservation {
    Reservation {
        queue: workflow_queue(queue),
        poll: PollId {
            boot: 1,
            sequence: 1,
        },
        identity: "worker".into(),
        worker: WorkerVersion::default(),
    }
}

impl World {
    pub(crate) fn call(&mut self, mutation: Mutation) -> Result<Reply, Refusal> {
        self.apply(mutation, Vec::new()).0
    }

    pub(crate) fn start(&mut self) -> Reply {
        self.call(Mutation::StartWorkflowExecution(Proto(start_request())))
            .unwrap()
    }

    pub(crate) fn execution(&self) -> Option<WorkflowExecution> {
        Some(WorkflowExecution {
            workflow_id: "main".into(),
            run_id: String::new(),
        })
    }

    pub(crate) fn signal(&mut self, name: &str) -> Result<Reply, Refusal> {
        let workflow_execution = self.execution();
        self.call(Mutation::SignalWorkflowExecution(Proto(
            wire::SignalWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_execution,
                signal_name: name.into(),
                request_id: format!("signal {name}"),
                ..Default::default()
            },
        )))
    }

    /// A poll that finds a workflow task at once.
    pub(crate) fn task(&mut self, queue: &str) -> AssignedWorkflowTask {
        match self.call(Mutation::ClaimTask(poll(queue))).unwrap() {
            Reply::Claimed(Some(task)) => match *task {
                AssignedTask::Workflow(task) => task,
                AssignedTask::Activity(task) => panic!("{task:?}"),
            },
            other => panic!("no task on {queue}: {other:?}"),
        }
    }

    pub(crate) fn complete(
        &mut self,
        token: &TaskToken,
        commands: Vec<Command>,
    ) -> Result<Reply, Refusal> {
        let request = wire::RespondWorkflowTaskCompletedRequest {
            commands,
            identity: "worker".into(),
            ..Default::default()
        };
        self.complete_with(token, request)
    }

    pub(crate) fn complete_sticky(&mut self, token: &TaskToken, commands: Vec<Command>) {
        let sticky = StickyExecutionAttributes {
            worker_task_queue: Some(TaskQueue {
                name: "sticky".into(),
                ..Default::default()
            }),
            schedule_to_start_timeout: seconds(5),
        };
        let request = wire::RespondWorkflowTaskCompletedRequest {
            commands,
            identity: "worker".into(),
            sticky_attributes: Some(sticky),
            ..Default::default()
        };
        self.complete_with(token, request).unwrap();
    }

    pub(crate) fn complete_with(
        &mut self,
        token: &TaskToken,
        request: wire::RespondWorkflowTaskCompletedRequest,
    ) -> Result<Reply, Refusal> {
        let (token, request) = (token.clone(), Proto(request));
        self.call(Mutation::RespondWorkflowTaskCompleted { token, request })
    }

    pub(crate) fn fail(&mut self, token: &TaskToken) -> Result<Reply, Refusal> {
        let request = wire::RespondWorkflowTaskFailedRequest {
            cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure.into(),
            identity: "worker".into(),
            ..Default::default()
        };
        let (token, request) = (token.clone(), Proto(request));
        self.call(Mutation::RespondWorkflowTaskFailed { token, request })
    }

    /// Lets what is due next come due.
    pub(crate) fn fire(&mut self) -> Vec<Effect> {
        let (key, at) = self.next_due().unwrap();
        self.now = self.now.max(at);
        let (reply, effects) = self.apply(Mutation::FireDue(key), Vec::new());
        reply.unwrap();
        effects
    }

    /// All runs with their histories, oldest first; run ids by their place.
    pub(crate) fn told(&self) -> String {
        let mut runs = self.runs();
        runs.sort_by_key(|run| run.run.number);
        let mut text = String::new();
        for run in &runs {
            writeln!(text, "{} {:?}", run.run.workflow_id, status(run)).unwrap();
            for event in self.history(&run.run).0 {
                writeln!(
                    text,
                    "  {} {:?}{}",
                    event.event_id,
                    event.event_type(),
                    facts(&event)
                )
                .unwrap();
            }
        }
        for (place, run) in runs.iter().enumerate() {
            text = text.replace(&run.run_id, &format!("<run{}>", place + 1));
        }
        text
    }
}

fn status(run: &Run) -> steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus {
    steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus::try_from(run.status).unwrap()
}

#[expect(clippy::too_many_lines, reason = "one match")]
fn facts(event: &HistoryEvent) -> String {
    let mut facts = String::new();
    let mut add = |name: &str, value: String| {
        if !matches!(value.as_str(), "" | "0" | "Unspecified" | "false") {
            write!(facts, " {name}={value}").unwrap();
        }
    };
    match event.attributes.as_ref().unwrap() {
        Attributes::WorkflowExecutionStartedEventAttributes(started) => {
            add("continued", started.continued_execution_run_id.clone());
            add("initiator", format!("{:?}", started.initiator()));
            add("first", started.first_execution_run_id.clone());
            add("attempt", started.attempt.to_string());
            add(
                "backoff",
                span(started.first_workflow_task_backoff.as_ref()),
            );
            add(
                "failure",
                started
                    .continued_failure
                    .clone()
                    .unwrap_or_default()
                    .message,
            );
        }
        Attributes::WorkflowTaskScheduledEventAttributes(scheduled) => {
            let queue = scheduled.task_queue.clone().unwrap();
            add("queue", queue.name);
            add("normal", queue.normal_name);
            add("attempt", scheduled.attempt.to_string());
        }
        Attributes::WorkflowTaskStartedEventAttributes(started) => {
            add("scheduled", started.scheduled_event_id.to_string());
        }
        Attributes::WorkflowTaskCompletedEventAttributes(completed) => {
            add("started", completed.started_event_id.to_string());
        }
        Attributes::WorkflowTaskFailedEventAttributes(failed) => {
            add("cause", format!("{:?}", failed.cause()));
            add(
                "failure",
                failed.failure.clone().unwrap_or_default().message,
            );
            add("by", failed.identity.clone());
        }
        Attributes::WorkflowTaskTimedOutEventAttributes(timed_out) => {
            add("type", format!("{:?}", timed_out.timeout_type()));
        }
        Attributes::WorkflowExecutionSignaledEventAttributes(signaled) => {
            add("name", signaled.signal_name.clone());
        }
        Attributes::MarkerRecordedEventAttributes(marker) => {
            add("name", marker.marker_name.clone())
        }
        Attributes::TimerFiredEventAttributes(fired) => {
            add("timer", fired.timer_id.clone());
            add("started", fired.started_event_id.to_string());
        }
        Attributes::WorkflowExecutionTerminatedEventAttributes(terminated) => {
            add("reason", format!("{:?}", terminated.reason));
            add("by", terminated.identity.clone());
        }
        Attributes::WorkflowExecutionCompletedEventAttributes(completed) => {
            add("next", completed.new_execution_run_id.clone());
        }
        Attributes::WorkflowExecutionFailedEventAttributes(failed) => {
            add("retry", format!("{:?}", failed.retry_state()));
            add("next", failed.new_execution_run_id.clone());
        }
        Attributes::WorkflowExecutionTimedOutEventAttributes(timed_out) => {
            add("retry", format!("{:?}", timed_out.retry_state()));
            add("next", timed_out.new_execution_run_id.clone());
        }
        Attributes::WorkflowExecutionContinuedAsNewEventAttributes(continued) => {
            add("next", continued.new_execution_run_id.clone());
        }
        _ => {}
    }
    facts
}

fn span(duration: Option<&Duration>) -> String {
    let Some(duration) = duration else {
        return String::new();
    };
    format!("{}.{:03}s", duration.seconds, duration.nanos / 1_000_000)
}
