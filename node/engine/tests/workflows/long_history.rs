//! Long histories: a million events at constant cost, and what is bounded although the limits of
//! Temporal are raised.

use crate::cost::{Cost, Counted};
use crate::story::{command, complete_workflow, marker, timer};
use crate::world::World;
use prost::Message;
use std::collections::BTreeMap;
use steadfast_engine::id::{NamespaceNumber, RunRef};
use steadfast_engine::limits::BUFFERED_EVENTS_MAX;
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_engine::read::history::{self, HistoryPage, PAGE_BATCHES_MAX, PAGE_BYTES_MAX};
use steadfast_engine::tables::{Changes, Record, Run, keys};
use steadfast_engine::{Refusal, Reply};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{Command, ScheduleActivityTaskCommandAttributes};
use steadfast_proto::temporal::common::v1::{ActivityType, Payload, Payloads};
use steadfast_proto::temporal::enums::v1::{CommandType, EventType};
use steadfast_proto::temporal::history::v1::history_event::Attributes as EventAttributes;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;

const EVENTS: i64 = 1_000_000;
const SIGNALS_AT_ONCE: u64 = 4;
/// With a workflow task's three events and two times four signals: 500 events a round.
const MARKERS: u64 = 489;
/// Events at the beginning and at the end whose costs are compared.
const COMPARED: i64 = 10_000;

fn long_world() -> World {
    let mut world = World::without_checks();
    for (key, value) in [
        ("limit.historyCount.error", "2000000"),
        ("limit.historySize.error", "2000000000"),
        ("history.maximumSignalsPerExecution", "2000000"),
    ] {
        set(&mut world, key, value).unwrap();
    }
    world
}

fn set(world: &mut World, key: &str, value: &str) -> Result<Reply, Refusal> {
    let (key, value) = (key.into(), Some(value.into()));
    world.call(Mutation::SetConfig { key, value })
}

fn run(world: &World) -> Run {
    world.runs().pop().unwrap()
}

/// The largest cost of each kind of mutation.
type Costs = BTreeMap<&'static str, Cost>;

fn note(costs: &mut Costs, kind: &'static str, cost: Cost) {
    let largest = costs.entry(kind).or_default();
    *largest = largest.max(cost);
}

/// Signals, a workflow task, more signals that are buffered, and its completion.
fn round(world: &mut World, number: &mut u64) -> Costs {
    let mut costs = Costs::new();
    let signals = |world: &mut World, number: &mut u64, kind, costs: &mut Costs| {
        for _ in 0..SIGNALS_AT_ONCE {
            *number += 1;
            world.signal(&format!("{number:07}")).unwrap();
            note(costs, kind, world.cost);
        }
    };
    signals(world, number, "signal", &mut costs);
    let task = world.task("q");
    note(&mut costs, "claim", world.cost);
    signals(world, number, "buffered signal", &mut costs);
    let commands = (0..MARKERS).map(|place| marker(&format!("{place:03}")));
    world.complete(&task.token, commands.collect()).unwrap();
    note(&mut costs, "completion", world.cost);
    costs
}

/// Reads a whole history in pages, each bounded in records and bytes; gives the event ids as read.
fn read(world: &World, next: i64, page_of: impl Fn(&Counted<'_>, i64) -> HistoryPage) -> Vec<i64> {
    let (mut next, mut ids) = (Some(next), Vec::new());
    while let Some(from) = next {
        let counted = Counted::new(&world.memory);
        let page = page_of(&counted, from);
        let bytes = page.events.len();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes at event {from}");
        let cost = counted.cost(&Changes::new());
        let batches = u64::try_from(PAGE_BATCHES_MAX).unwrap();
        assert!(cost.read <= 3 * batches, "{cost:?} at event {from}");
        let read_max = u64::try_from(2 * PAGE_BYTES_MAX).unwrap();
        assert!(cost.read_bytes <= read_max, "{cost:?} at event {from}");
        let decoded = History::decode(page.events).unwrap().events;
        assert_eq!(u64::try_from(decoded.len()).unwrap(), page.count);
        ids.extend(decoded.iter().map(|event| event.event_id));
        next = page.next;
    }
    ids
}

#[test]
fn a_run_grows_to_a_million_events_and_each_append_and_page_costs_the_same() {
    let mut world = long_world();
    world.start();
    let (mut number, mut first, mut last) = (0, Costs::new(), Costs::new());
    let target = loop {
        let before = run_length(&world);
        if before > EVENTS {
            break before;
        }
        let costs = round(&mut world, &mut number);
        let compared = if before <= COMPARED {
            &mut first
        } else if before > EVENTS - COMPARED {
            &mut last
        } else {
            continue;
        };
        for (kind, cost) in costs {
            note(compared, kind, cost);
        }
    };
    assert_eq!(first.len(), last.len());
    for (kind, early) in &first {
        let late = &last[kind];
        assert!(late.read <= early.read, "{kind}: {early:?} {late:?}");
        assert!(late.written <= early.written, "{kind}: {early:?} {late:?}");
        // An event id takes up to three bytes instead of one or two, a few times in each event.
        let ids = 16 * (MARKERS + 11);
        assert!(
            late.written_bytes <= early.written_bytes + ids,
            "{kind}: {early:?} {late:?}"
        );
        assert!(
            late.read_bytes <= early.read_bytes + ids,
            "{kind}: {early:?} {late:?}"
        );
    }
    let run = run(&world);
    let until = target - 1;
    let forward = read(&world, 1, |tables, from| {
        history::forward(tables, &run, from, until, PAGE_BATCHES_MAX).unwrap()
    });
    assert!((1..=until).eq(forward), "each event once, oldest first");
    let backward = read(&world, until, |tables, from| {
        history::backward(tables, &run, from, PAGE_BATCHES_MAX).unwrap()
    });
    let newest_first = (1..=until).rev();
    assert!(newest_first.eq(backward), "each event once, newest first");
}

fn run_length(world: &World) -> i64 {
    let key = keys::run_key(&RunRef {
        namespace: NamespaceNumber(2),
        workflow_id: "main".into(),
        number: 1,
    });
    match world.memory.0.get(&key).map(|record| &**record) {
        Some(Record::Run(run)) => run.next_event_id,
        other => panic!("{other:?}"),
    }
}

fn large_signal(world: &mut World, bytes: usize) -> Result<Reply, Refusal> {
    let payload = Payload {
        data: vec![7; bytes].into(),
        ..Payload::default()
    };
    let workflow_execution = world.execution();
    let request = wire::SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution,
        signal_name: "large".into(),
        input: Some(Payloads {
            payloads: vec![payload],
        }),
        ..Default::default()
    };
    world.call(Mutation::SignalWorkflowExecution(Proto(request)))
}

#[test]
fn a_page_that_large_events_fill_reads_few_of_those_after_it() {
    let mut world = long_world();
    world.start();
    for _ in 0..60 {
        large_signal(&mut world, 1024 * 1024).unwrap();
    }
    let run = run(&world);
    let counted = Counted::new(&world.memory);
    let until = run.next_event_id - 1;
    let page = history::forward(&counted, &run, 1, until, PAGE_BATCHES_MAX).unwrap();
    assert!(page.next.is_some() && page.events.len() <= PAGE_BYTES_MAX);
    let read = counted.cost(&Changes::new()).read_bytes;
    assert!(read <= 17 * 1024 * 1024, "{read} bytes for one page");
}

fn signals(world: &mut World, count: u64) {
    for number in 0..count {
        world.signal(&format!("{number:06}")).unwrap();
    }
}

fn activity(id: usize) -> Command {
    let queue = TaskQueue {
        name: "q".into(),
        ..Default::default()
    };
    command(
        CommandType::ScheduleActivityTask,
        Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
            activity_id: id.to_string(),
            activity_type: Some(ActivityType { name: "A".into() }),
            task_queue: Some(queue),
            schedule_to_close_timeout: crate::story::seconds(60),
            heartbeat_timeout: crate::story::seconds(5),
            ..Default::default()
        }),
    )
}

/// Names of the signals of the newest run, in order.
fn signal_names(world: &World) -> Vec<String> {
    let run = newest(world);
    let name = |event: HistoryEvent| match event.attributes {
        Some(EventAttributes::WorkflowExecutionSignaledEventAttributes(signal)) => {
            Some(signal.signal_name)
        }
        Some(_) | None => None,
    };
    let events = world.history(&run.run).0;
    events.into_iter().filter_map(name).collect()
}

fn newest(world: &World) -> Run {
    let runs = world.runs().into_iter();
    runs.max_by_key(|run| run.run.number).unwrap()
}

fn expected_names(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("{number:06}")).collect()
}

#[test]
fn a_large_buffer_is_flushed_whole_beside_a_large_completion() {
    let mut world = long_world();
    let most = u64::from(BUFFERED_EVENTS_MAX);
    let key = "history.maximumBufferedEventsBatch";
    set(&mut world, key, &most.to_string()).unwrap();
    let refused = set(&mut world, key, &(most + 1).to_string()).unwrap_err();
    assert!(matches!(refused, Refusal::InvalidArgument(_)), "{refused}");
    world.start();
    let task = world.task("q");
    signals(&mut world, most);
    assert_eq!(run(&world).buffered_count, most);
    let activities = (0..2_000).map(activity).collect();
    world.complete(&task.token, activities).unwrap();
    assert_eq!(run(&world).buffered_count, 0);
    assert_eq!(signal_names(&world), expected_names(most));
    world.check();
    let task = world.task("q");
    world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap();
    world.check();
}

#[test]
fn a_large_buffer_that_is_full_fails_the_task_and_nothing_is_lost() {
    let mut world = long_world();
    set(&mut world, "history.maximumBufferedEventsBatch", "3000").unwrap();
    world.start();
    world.task("q");
    signals(&mut world, 3_001);
    assert_eq!(run(&world).buffered_count, 0);
    assert_eq!(signal_names(&world), expected_names(3_001));
    world.check();
}

/// Resets the workflow so that the task begins again that event `at` ends.
fn reset(world: &mut World, at: i64) -> Result<Reply, Refusal> {
    let workflow_execution = world.execution();
    let request = wire::ResetWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution,
        reason: "again".into(),
        workflow_task_finish_event_id: at,
        request_id: "reset".into(),
        ..Default::default()
    };
    world.call(Mutation::ResetWorkflowExecution(Proto(request)))
}

#[test]
fn a_run_with_very_many_signals_is_reset_and_knows_the_newest_of_their_requests() {
    const SIGNALS: u64 = 21_000;
    let mut world = long_world();
    world.start();
    signals(&mut world, SIGNALS);
    let task = world.task("q");
    world.complete(&task.token, vec![marker("m")]).unwrap();
    let completed = run(&world).next_event_id - 2;
    reset(&mut world, completed).unwrap();
    assert_eq!(world.runs().len(), 2);
    assert_eq!(newest(&world).signal_count, i64::try_from(SIGNALS).unwrap());
    assert_eq!(signal_names(&world), expected_names(SIGNALS));
    let length = newest(&world).next_event_id;
    // A call that is repeated is recognized.
    world.signal(&format!("{:06}", SIGNALS - 1)).unwrap();
    assert_eq!(newest(&world).next_event_id, length);
    world.check();
}

#[test]
fn a_reset_before_very_many_signals_is_refused_and_changes_nothing() {
    let mut world = long_world();
    world.start();
    let task = world.task("q");
    world.complete(&task.token, Vec::new()).unwrap();
    signals(&mut world, 50_000);
    let refused = reset(&mut world, 4).unwrap_err();
    let text =
        "workflow has more pending operations or events to apply again than a reset can take";
    assert_eq!(refused, Refusal::FailedPrecondition(text.into()));
    assert_eq!((world.runs().len(), run(&world).close.is_none()), (1, true));
}

#[test]
fn a_reset_with_very_many_pending_timers_is_refused_and_changes_nothing() {
    let mut world = long_world();
    world.start();
    for hundred in 0..3 {
        let task = world.task("q");
        let timers = (0..5_000).map(|place| timer(&format!("{hundred} {place}"), 3_600));
        world.complete(&task.token, timers.collect()).unwrap();
        world.signal(&format!("wake {hundred}")).unwrap();
    }
    world.task("q");
    let last = run(&world).next_event_id - 1;
    let event = world.history(&run(&world).run).0.pop().unwrap();
    assert_eq!(event.event_type(), EventType::WorkflowTaskStarted);
    let refused = reset(&mut world, last).unwrap_err();
    assert!(
        matches!(refused, Refusal::FailedPrecondition(_)),
        "{refused}"
    );
    assert_eq!((world.runs().len(), run(&world).close.is_none()), (1, true));
}

#[test]
fn the_default_limits_end_a_run_and_take_back_what_passed_them() {
    let mut world = World::without_checks();
    world.start();
    // 1 started, 2 scheduled; each round 3 and the markers.
    for round in 0.. {
        if run(&world).close.is_some() {
            break;
        }
        let task = world.task("q");
        world.signal(&format!("wake {round}")).unwrap();
        let markers = (0..1_000).map(|_| marker("m")).collect();
        if let Err(refused) = world.complete(&task.token, markers) {
            let text = "Workflow history count exceeds limit.".to_owned();
            assert_eq!(refused, Refusal::InvalidArgument(text));
        }
    }
    let ended = run(&world);
    assert_eq!(terminated(&world), "Workflow history count exceeds limit.");
    let length = ended.next_event_id - 1;
    assert!((50_200..=51_203).contains(&length), "{length} events");

    let mut world = World::without_checks();
    world.start();
    let mut signals = 0;
    while run(&world).close.is_none() {
        let answer = large_signal(&mut world, 1024 * 1024);
        signals += 1;
        assert_eq!(answer.is_err(), run(&world).close.is_some(), "{answer:?}");
    }
    // Fifty of them are, with their envelopes, more than 50 MiB; the next one is taken back.
    assert_eq!(signals, 51);
    assert_eq!(terminated(&world), "Workflow history size exceeds limit.");
    world.check();
}

/// Why the newest run was terminated.
fn terminated(world: &World) -> String {
    let run = newest(world);
    let last = history::event(&world.memory, &run, run.next_event_id - 1).unwrap();
    let last = History::decode(last).unwrap().events.pop().unwrap();
    match last.attributes {
        Some(EventAttributes::WorkflowExecutionTerminatedEventAttributes(end)) => end.reason,
        other => panic!("{other:?}"),
    }
}
