//! The one workflow there is: it follows the script in its input, and decides from its history
//! alone, as workflow code must.
//!
//! A script is words with spaces between them: `a2` two activities at once, `t1500` a timer of
//! 1,500 ms, `x` a timer that is cancelled after an activity, `s3` waits until there were three
//! signals, `c` a child, `e:ID` a signal to another workflow, `n` goes on as a new run, `f` fails;
//! `r` does nothing: it marks what must never run.

use super::{execution, order, payload, queue, seconds, text};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{self as command, Command};
use steadfast_proto::temporal::common::v1::{ActivityType, RetryPolicy};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// What a history tells the workflow.
#[derive(Debug, Default)]
pub struct Past {
    script: String,
    /// Things begun, by their id; true once they have ended.
    things: BTreeMap<String, bool>,
    by_event: BTreeMap<i64, String>,
    /// Names of the signals, in order.
    pub signals: Vec<String>,
    /// Timers that fired.
    pub fired: BTreeSet<String>,
    cancel_requested: bool,
}

/// Another body for a request that was acknowledged with this one.
#[must_use]
pub fn repeated(script: &str) -> String {
    format!("r {script}")
}

/// Whether a body came with a repeated request.
#[must_use]
pub fn is_repeat(script: &str) -> bool {
    script.split_whitespace().next() == Some("r")
}

impl Past {
    /// Reads a history.
    #[must_use]
    pub fn of(events: &[HistoryEvent]) -> Past {
        let mut past = Past::default();
        for event in events {
            if let Some(attributes) = &event.attributes {
                past.add(event.event_id, attributes);
            }
        }
        past
    }

    /// The input.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most events tell a workflow nothing"
    )]
    fn add(&mut self, id: i64, event: &Event) {
        match event {
            Event::WorkflowExecutionStartedEventAttributes(started) => {
                self.script = text(started.input.as_ref());
            }
            Event::WorkflowExecutionSignaledEventAttributes(signal) => {
                self.signals.push(signal.signal_name.clone());
            }
            Event::WorkflowExecutionCancelRequestedEventAttributes(_) => {
                self.cancel_requested = true;
            }
            Event::ActivityTaskScheduledEventAttributes(it) => self.begin(id, &it.activity_id),
            Event::ActivityTaskCompletedEventAttributes(it) => self.end(it.scheduled_event_id),
            Event::ActivityTaskFailedEventAttributes(it) => self.end(it.scheduled_event_id),
            Event::ActivityTaskTimedOutEventAttributes(it) => self.end(it.scheduled_event_id),
            Event::ActivityTaskCanceledEventAttributes(it) => self.end(it.scheduled_event_id),
            Event::TimerStartedEventAttributes(it) => self.begin(id, &it.timer_id),
            Event::TimerFiredEventAttributes(it) => {
                self.fired.insert(it.timer_id.clone());
                self.end(it.started_event_id);
            }
            Event::TimerCanceledEventAttributes(it) => self.end(it.started_event_id),
            Event::StartChildWorkflowExecutionInitiatedEventAttributes(it) => {
                self.begin(id, &it.workflow_id);
            }
            Event::StartChildWorkflowExecutionFailedEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::ChildWorkflowExecutionCompletedEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::ChildWorkflowExecutionFailedEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::ChildWorkflowExecutionCanceledEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::ChildWorkflowExecutionTimedOutEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::ChildWorkflowExecutionTerminatedEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(it) => {
                self.begin(id, &it.signal_name);
            }
            Event::SignalExternalWorkflowExecutionFailedEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            Event::ExternalWorkflowExecutionSignaledEventAttributes(it) => {
                self.end(it.initiated_event_id);
            }
            _ => {}
        }
    }

    fn begin(&mut self, event_id: i64, thing: &str) {
        self.things.insert(thing.to_owned(), false);
        self.by_event.insert(event_id, thing.to_owned());
    }

    fn end(&mut self, begun_event_id: i64) {
        if let Some(thing) = self.by_event.get(&begun_event_id) {
            self.things.insert(thing.clone(), true);
        }
    }

    /// What the workflow does next; nothing while it waits.
    #[must_use]
    pub fn decide(&self, workflow_id: &str, run_id: &str) -> Vec<Command> {
        if self.cancel_requested {
            let attributes = command::CancelWorkflowExecutionCommandAttributes::default();
            return vec![new(
                CommandType::CancelWorkflowExecution,
                Attributes::CancelWorkflowExecutionCommandAttributes(attributes),
            )];
        }
        let words: Vec<&str> = self.script.split_whitespace().collect();
        for (step, word) in words.iter().enumerate() {
            let (kind, rest) = word.split_at(1);
            let number = rest.parse().unwrap_or(1);
            let waits = match kind {
                "a" => self.all((0..number).map(|nth| activity(&format!("{step}.{nth}")))),
                "t" => self.all([timer(&format!("{step}"), number)]),
                "x" => self.cancelled_timer(step),
                "s" if (self.signals.len() as i64) < number => Some(Vec::new()),
                "c" => self.all([child(&format!("{workflow_id}/{run_id}/{step}"))]),
                "e" => {
                    let signal = format!("from {run_id} {step}");
                    self.all([signal_external(rest.trim_start_matches(':'), &signal)])
                }
                "n" => return vec![continue_as_new(&words[step + 1..].join(" "))],
                "f" => return vec![fail()],
                _ => None,
            };
            if let Some(commands) = waits {
                return commands;
            }
        }
        let attributes = command::CompleteWorkflowExecutionCommandAttributes::default();
        vec![new(
            CommandType::CompleteWorkflowExecution,
            Attributes::CompleteWorkflowExecutionCommandAttributes(attributes),
        )]
    }

    /// Begins what has not begun; `None` once all have ended.
    fn all(&self, things: impl IntoIterator<Item = (String, Command)>) -> Option<Vec<Command>> {
        let mut waits = false;
        let mut begins = Vec::new();
        for (id, command) in things {
            match self.things.get(&id) {
                Some(true) => {}
                Some(false) => waits = true,
                None => begins.push(command),
            }
        }
        (waits || !begins.is_empty()).then_some(begins)
    }

    fn cancelled_timer(&self, step: usize) -> Option<Vec<Command>> {
        let id = format!("{step} cancelled");
        let activity_id = format!("{step}.0");
        let waits = self.all([timer(&id, 3_600_000), activity(&activity_id)])?;
        let ended = |id: &str| self.things.get(id).copied();
        if ended(&activity_id) == Some(true) && ended(&id) == Some(false) {
            let attributes = command::CancelTimerCommandAttributes { timer_id: id };
            let cancel = new(
                CommandType::CancelTimer,
                Attributes::CancelTimerCommandAttributes(attributes),
            );
            return Some(vec![cancel]);
        }
        Some(waits)
    }
}

fn new(kind: CommandType, attributes: Attributes) -> Command {
    Command {
        command_type: kind.into(),
        attributes: Some(attributes),
        ..Command::default()
    }
}

fn activity(id: &str) -> (String, Command) {
    let attributes = command::ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType {
            name: "step".into(),
        }),
        task_queue: queue(),
        start_to_close_timeout: seconds(5),
        heartbeat_timeout: seconds(3),
        retry_policy: Some(RetryPolicy {
            initial_interval: seconds(1),
            backoff_coefficient: 1.5,
            maximum_attempts: 10,
            ..RetryPolicy::default()
        }),
        ..Default::default()
    };
    let attributes = Attributes::ScheduleActivityTaskCommandAttributes(attributes);
    (
        id.into(),
        new(CommandType::ScheduleActivityTask, attributes),
    )
}

fn timer(id: &str, millis: i64) -> (String, Command) {
    let takes = prost_types::Duration {
        seconds: millis / 1_000,
        nanos: i32::try_from(millis % 1_000).unwrap_or_default() * 1_000_000,
    };
    let attributes = command::StartTimerCommandAttributes {
        timer_id: id.into(),
        start_to_fire_timeout: Some(takes),
    };
    let attributes = Attributes::StartTimerCommandAttributes(attributes);
    (id.into(), new(CommandType::StartTimer, attributes))
}

fn child(id: &str) -> (String, Command) {
    let attributes = command::StartChildWorkflowExecutionCommandAttributes {
        workflow_id: id.into(),
        workflow_type: order(),
        task_queue: queue(),
        input: payload("a1"),
        workflow_task_timeout: seconds(3),
        ..Default::default()
    };
    let attributes = Attributes::StartChildWorkflowExecutionCommandAttributes(attributes);
    (
        id.into(),
        new(CommandType::StartChildWorkflowExecution, attributes),
    )
}

fn signal_external(workflow_id: &str, signal: &str) -> (String, Command) {
    let attributes = command::SignalExternalWorkflowExecutionCommandAttributes {
        execution: execution(workflow_id, ""),
        signal_name: signal.into(),
        ..Default::default()
    };
    let attributes = Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes);
    (
        signal.into(),
        new(CommandType::SignalExternalWorkflowExecution, attributes),
    )
}

fn continue_as_new(script: &str) -> Command {
    let attributes = command::ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: order(),
        task_queue: queue(),
        input: payload(script),
        workflow_task_timeout: seconds(3),
        ..Default::default()
    };
    new(
        CommandType::ContinueAsNewWorkflowExecution,
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes),
    )
}

fn fail() -> Command {
    let attributes = command::FailWorkflowExecutionCommandAttributes {
        failure: Some(Failure {
            message: "as the script says".into(),
            ..Failure::default()
        }),
    };
    new(
        CommandType::FailWorkflowExecution,
        Attributes::FailWorkflowExecutionCommandAttributes(attributes),
    )
}
