//! What can be seen: histories, runs, queues, due times.

use super::event_text::event_text;
use super::{Args, Script, kind_text};
use prost::Message;
use steadfast_engine::tables::{Activity, ActivityState, Record, Run, Tables, keys};
use steadfast_engine::time::Timestamp;
use steadfast_engine::{read, resume};
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;
use steadfast_proto::temporal::history::v1::History;

/// The run that `[ID] nth=` names; the newest one without `nth` (1 is the oldest).
fn run(script: &Script, args: &Args) -> Option<Run> {
    let id = args.name_or("wf");
    let runs = script
        .world
        .runs()
        .into_iter()
        .filter(|run| run.run.workflow_id == id);
    let mut runs: Vec<Run> = runs.collect();
    match args.number::<usize>("nth") {
        0 => runs.pop(),
        nth => (nth <= runs.len()).then(|| runs.remove(nth - 1)),
    }
}

/// `history [ID] nth= from= tail=1`; the tail is what readers get besides.
pub(super) fn history(script: &mut Script, args: &Args) {
    let from: i64 = args.number("from");
    let Some(run) = run(script, args) else {
        return script.say("no such run");
    };
    let (events, _) = script.world.history(&run.run);
    for event in events.iter().filter(|event| event.event_id >= from) {
        let text = event_text(event);
        script.say(text);
    }
    if args.number::<u64>("tail") == 1 {
        let tail = History::decode(read::history::tail(&run)).unwrap();
        for event in &tail.events {
            let text = event_text(event);
            script.say(format!("tail {text}"));
        }
    }
}

/// `describe [ID] nth=`
pub(super) fn describe(script: &mut Script, args: &Args) {
    let Some(run) = run(script, args) else {
        return script.say("no such run");
    };
    let status = WorkflowExecutionStatus::try_from(run.status).unwrap();
    script.say(format!("{status:?}, {} transitions", run.state_transitions));
    if let Some(task) = &run.workflow_task {
        let phase = format!("{:?}", task.phase);
        let phase = phase.split(' ').next().unwrap_or_default();
        let text = format!(
            "task {:?} {phase} on {}, attempt {}",
            task.kind, task.queue, task.attempt
        );
        script.say(text);
    }
    if run.buffered_count > 0 {
        script.say(format!("{} events are buffered", run.buffered_count));
    }
    for (name, payload) in &run.search_attributes {
        let value = String::from_utf8_lossy(&payload.data).into_owned();
        let kind = String::from_utf8_lossy(&payload.metadata["type"]).into_owned();
        script.say(format!("{name} = {value} ({kind})"));
    }
    for point in &run.reset_points {
        let build = [point.binary_checksum.as_str(), point.build_id.as_str()].join("");
        let place = match point.expires_at {
            Timestamp(0) => "here",
            Timestamp(_) => "in an earlier run",
        };
        let id = point.completed_event_id;
        script.say(format!("build {build:?} began at event {id} {place}"));
    }
    if let Some(parent) = &run.parent {
        let (id, root) = (&parent.run.workflow_id, &parent.root.0);
        script.say(format!("child of {id}, root {root}"));
    }
    let prefix = keys::child_prefix(&run.run);
    let end = keys::prefix_end(&prefix);
    for (_, record) in script.world.memory.scan(&prefix, &end, 20, false).unwrap() {
        let Record::Child(child) = &*record else {
            panic!("{record:?}")
        };
        let started = match child.run_id.as_str() {
            "" => "initiated",
            _ => "started",
        };
        let event = child.initiated_event_id;
        script.say(format!(
            "child {} {started}, event {event}",
            child.workflow_id
        ));
    }
    let (signals, requests) = (run.pending_signals, run.pending_cancel_requests);
    if signals + requests > 0 {
        let text = format!("{signals} signals and {requests} cancel requests are on their way");
        script.say(text);
    }
    let prefix = keys::activity_prefix(&run.run);
    let activities = script
        .world
        .memory
        .scan(&prefix, &keys::prefix_end(&prefix), 100, false);
    for (_, record) in activities.unwrap() {
        let Record::Activity(activity) = &*record else {
            panic!("{record:?}")
        };
        let text = activity_text(script, activity);
        script.say(text);
    }
}

fn activity_text(script: &Script, activity: &Activity) -> String {
    let state = match activity.state {
        ActivityState::Queued { .. } => "queued".to_owned(),
        ActivityState::Backoff { until } => {
            let wait = until.since(activity.last_attempt_completed_at).0 / 1_000_000;
            format!("in back-off for {wait} ms")
        }
        ActivityState::Started { at } => {
            format!(
                "started {} by {}",
                script.clock(at),
                activity.started_identity
            )
        }
    };
    let mut text = format!(
        "activity {} {state}, attempt {}",
        activity.scheduled.activity_id, activity.attempt
    );
    if let Some(failure) = &activity.last_failure {
        text.push_str(&format!(
            ", last failure {}",
            super::event_text::failure_text(Some(failure))
        ));
    }
    if activity.cancel_requested_event_id != 0 {
        text.push_str(", cancel requested");
    }
    text
}

/// Rows of the list, in its order.
pub(super) fn list(script: &mut Script) {
    let prefix = [2, 2];
    let rows = script
        .world
        .memory
        .scan(&prefix, &keys::prefix_end(&prefix), 100, false)
        .unwrap();
    for (_, record) in rows {
        let Record::Visibility(row) = &*record else {
            panic!("{record:?}")
        };
        let status = WorkflowExecutionStatus::try_from(row.status).unwrap();
        script.say(format!(
            "{} {status:?} {} events",
            row.run.workflow_id, row.history_length
        ));
    }
}

/// Queues that have tasks, as a new leader finds them.
pub(super) fn queues(script: &mut Script) {
    let mut cursor = None;
    while let Some(queue) = resume::next_queue(&script.world.memory, cursor.as_ref()).unwrap() {
        let backlog = read::queue::backlog(&script.world.memory, &queue, 100).unwrap();
        let oldest = script.clock(backlog.oldest.unwrap());
        let kind = kind_text(queue.kind);
        script.say(format!(
            "{kind} {}: {} since {oldest}",
            queue.name, backlog.count
        ));
        cursor = Some(queue);
    }
}

/// The index of due times.
pub(super) fn due(script: &mut Script) {
    let prefix = keys::due_prefix();
    let items = script
        .world
        .memory
        .scan(&prefix, &keys::prefix_end(&prefix), 100, false)
        .unwrap();
    for (key, record) in items {
        let Record::Due(due) = &*record else {
            panic!("{record:?}")
        };
        let at = script.clock(keys::due_time(&key).unwrap());
        script.say(format!("{at} {:?}", due.kind));
    }
}
