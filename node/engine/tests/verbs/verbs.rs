//! The verbs of scripts: parsing, dispatch, and what each step prints.

mod activity;
mod child_text;
mod commands;
mod event_text;
mod external;
mod namespace;
mod show;
mod time;
mod update;
mod workflow;
mod workflow_task;

use crate::world::World;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{PollId, QueueKey, Reservation, RunRef, TaskKind, WorkerVersion};
use steadfast_engine::mutation::{Mutation, TaskToken};
use steadfast_engine::tables::Record;
use steadfast_engine::transition::Transition;
use steadfast_engine::{Refusal, Reply, Timestamp, read, resume};
use steadfast_proto::temporal::common::v1::{Payload, Payloads};

/// A running script.
pub(crate) struct Script {
    pub(crate) world: World,
    /// Tokens of claimed tasks: by workflow id or activity id, or the name that `as=` gave.
    tokens: BTreeMap<String, TaskToken>,
    /// Pollers that wait; they ride with each mutation until one is used.
    waiting: Vec<Reservation>,
    last_workflow: String,
    /// Runs that a purge named.
    to_delete: Vec<RunRef>,
    polls: u64,
    started_at: Timestamp,
    output: String,
}

/// Runs a script and answers its transcript, and the rows of transition tables that it took.
pub(crate) fn run(name: &str, text: &str) -> (String, BTreeSet<Transition>) {
    let world = World::new();
    let started_at = world.now;
    let mut script = Script {
        world,
        tokens: BTreeMap::new(),
        waiting: Vec::new(),
        last_workflow: String::new(),
        to_delete: Vec::new(),
        polls: 0,
        started_at,
        output: String::new(),
    };
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut below = Vec::new();
        while let Some((_, next)) = lines.peek().filter(|(_, next)| next.starts_with(' ')) {
            below.push(next.trim().to_owned());
            lines.next();
        }
        writeln!(script.output, "> {line}").unwrap();
        for command in &below {
            writeln!(script.output, ">   {command}").unwrap();
        }
        let context = format!("{name}.txt:{}: {line}", number + 1);
        step(&mut script, &Args::parse(line, &context), &below);
        script.check_resume(&context);
    }
    (script.output, script.world.taken)
}

fn step(script: &mut Script, args: &Args, below: &[String]) {
    match args.verb.as_str() {
        "start" => workflow::start(script, args),
        "signal" => workflow::signal(script, args),
        "signal_with_start" => workflow::signal_with_start(script, args),
        "cancel" => workflow::cancel(script, args),
        "terminate" => workflow::terminate(script, args),
        "reset" => workflow::reset(script, args),
        "delete" => workflow::delete(script, args),
        "update" => update::update(script, args),
        "update_with_start" => update::update_with_start(script, args),
        "show_update" => update::show(script, args),
        "poll_workflow" => workflow_task::poll(script, args),
        "complete_workflow" => workflow_task::complete(script, args, below),
        "fail_workflow" => workflow_task::fail(script, args),
        "return" => workflow_task::put_back(script, args),
        "abandon_sticky" => workflow_task::abandon_sticky(script, args),
        "wait_workflow" => script.wait(TaskKind::Workflow, args),
        "wait_activity" => script.wait(TaskKind::Activity, args),
        "poll_activity" => activity::poll(script, args),
        "complete_activity" => activity::complete(script, args),
        "fail_activity" => activity::fail(script, args),
        "cancel_activity" => activity::cancel(script, args),
        "heartbeat" => activity::heartbeat(script, args),
        "advance" => time::advance(script, args),
        "deliver" => external::deliver(script, args),
        "outbox" => external::outbox(script),
        "history" => show::history(script, args),
        "describe" => show::describe(script, args),
        "list" => show::list(script),
        "queues" => show::queues(script),
        "due" => show::due(script),
        "register_namespace" => namespace::register(script, args),
        "update_namespace" => namespace::update(script, args),
        "add_search_attributes" => namespace::add_search_attributes(script, args),
        "describe_namespace" => namespace::describe(script, args),
        "config" => namespace::config(script, args),
        "purge" => namespace::purge(script, args),
        other => panic!("{}: unknown verb {other}", args.context),
    }
    args.finish();
}

impl Script {
    /// Prints a line.
    pub(crate) fn say(&mut self, line: impl AsRef<str>) {
        for line in line.as_ref().lines() {
            writeln!(self.output, "  {line}").unwrap();
        }
    }

    /// Applies a mutation with the waiting pollers, and prints the answer and what it hands out.
    pub(crate) fn apply(&mut self, mutation: Mutation) -> Option<Reply> {
        let (reply, effects) = self.world.apply(mutation, self.waiting.clone());
        for effect in effects {
            self.note(effect);
        }
        match reply {
            Ok(reply) => Some(reply),
            Err(refusal) => {
                self.say(refusal_text(&refusal));
                None
            }
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::TaskQueued { queue } => {
                self.say(format!("queued {} {}", kind_text(queue.kind), queue.name));
            }
            Effect::TaskAssigned { reservation, task } => {
                self.waiting
                    .retain(|waiting| waiting.poll != reservation.poll);
                let text = self.keep(&task, "");
                self.say(format!("to {}: {text}", reservation.identity));
            }
            Effect::DeleteRun(run) => {
                self.say(format!("to delete: {}", run.workflow_id));
                self.to_delete.push(run);
            }
            Effect::UpdateChanged { update_id, end, .. } => {
                let text = update::end_text(end.as_ref());
                self.say(format!("update {update_id}{text}"));
            }
            Effect::RunChanged { .. }
            | Effect::WorkflowTaskEnded { .. }
            | Effect::DueAt(_)
            | Effect::OutboxReady(_) => {}
        }
    }

    /// Keeps a claimed task's token under its name, and describes the task.
    pub(crate) fn keep(&mut self, task: &AssignedTask, name: &str) -> String {
        let (token, default_name, text) = match task {
            AssignedTask::Workflow(task) => {
                let name = task.token.run.workflow_id.clone();
                let text = format!(
                    "workflow task of {name}, attempt {}, events {}..={}{}",
                    task.token.attempt,
                    if task.sticky {
                        task.previous_started_event_id + 1
                    } else {
                        1
                    },
                    task.stored_until,
                    if task.tail.is_empty() {
                        ""
                    } else {
                        " and a tail"
                    },
                );
                let text = text + &update::messages_text(&task.messages);
                (task.token.clone(), name, text)
            }
            AssignedTask::Activity(task) => {
                let token = &task.token;
                let activity = read::target::activity(
                    &self.world.memory,
                    &token.run,
                    token.scheduled_event_id,
                );
                let activity = activity.unwrap().unwrap();
                let id = activity.scheduled.activity_id.clone();
                let mut text = format!("activity {id}, attempt {}", token.attempt);
                if let Some(details) = &activity.heartbeat_details {
                    write!(text, ", details {}", payloads_text(Some(details))).unwrap();
                }
                (token.clone(), id, text)
            }
        };
        let name = if name.is_empty() {
            default_name
        } else {
            name.to_owned()
        };
        if token.kind == TaskKind::Workflow {
            self.last_workflow.clone_from(&name);
        }
        self.tokens.insert(name, token);
        text
    }

    /// The token kept under a name.
    pub(crate) fn token(&self, name: &str) -> TaskToken {
        let token = self.tokens.get(name).cloned();
        token.unwrap_or_else(|| panic!("no task {name} was claimed:\n{}", self.output))
    }

    /// The name of the workflow task that was claimed last.
    pub(crate) fn last_workflow(&self) -> String {
        assert!(
            !self.last_workflow.is_empty(),
            "no workflow task yet:\n{}",
            self.output
        );
        self.last_workflow.clone()
    }

    /// A poller of a queue.
    pub(crate) fn poller(&mut self, kind: TaskKind, args: &Args) -> Reservation {
        self.polls += 1;
        Reservation {
            queue: self.queue(
                kind,
                &args.get_or("queue", "q"),
                &args.get_or("namespace", "default"),
            ),
            poll: PollId {
                boot: 1,
                sequence: self.polls,
            },
            identity: args.get_or("worker", "worker"),
            worker: WorkerVersion::default(),
        }
    }

    pub(crate) fn queue(&self, kind: TaskKind, name: &str, namespace: &str) -> QueueKey {
        let found = read::namespace::by_name(&self.world.memory, namespace)
            .unwrap()
            .unwrap();
        QueueKey {
            namespace: found.number,
            kind,
            name: name.to_owned(),
        }
    }

    fn wait(&mut self, kind: TaskKind, args: &Args) {
        let poller = self.poller(kind, args);
        self.waiting.push(poller);
    }

    /// Seconds since the script began.
    pub(crate) fn clock(&self, at: Timestamp) -> String {
        let millis = at.since(self.started_at).0 / 1_000_000;
        format!("{}.{:03}s", millis / 1_000, millis % 1_000)
    }

    /// What a new leader would find agrees with the records.
    fn check_resume(&self, context: &str) {
        let memory = &self.world.memory;
        let earliest = self.world.next_due().map(|(_, at)| at);
        assert_eq!(resume::earliest_due(memory).unwrap(), earliest, "{context}");
        let mut queues = BTreeSet::new();
        let mut cursor = None;
        while let Some(queue) = resume::next_queue(memory, cursor.as_ref()).unwrap() {
            assert!(
                queues.insert(queue.clone()),
                "{context}: the walk comes by {queue:?} twice"
            );
            cursor = Some(queue);
        }
        let mut tasks = 0;
        for queue in &queues {
            let backlog = read::queue::backlog(memory, queue, 1_000).unwrap();
            assert!(backlog.count > 0, "{context}: {queue:?} is empty");
            tasks += backlog.count;
        }
        let queued = memory
            .0
            .values()
            .filter(|record| matches!(***record, Record::QueueTask(_)));
        assert_eq!(tasks, queued.count(), "{context}: the walk sees every task");
        let (mut messages, mut after) = (0, None);
        while let Some(message) = resume::outbox(memory, after, 1).unwrap().pop() {
            assert!(after < Some(message), "{context}: the walk goes on");
            (messages, after) = (messages + 1, Some(message));
        }
        let sent = memory
            .0
            .values()
            .filter(|record| matches!(***record, Record::Message(_)));
        assert_eq!(
            messages,
            sent.count(),
            "{context}: the walk sees every message"
        );
    }
}

/// A verb with its words and pairs.
pub(crate) struct Args {
    pub(crate) verb: String,
    words: Vec<String>,
    pairs: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
    context: String,
}

impl Args {
    pub(crate) fn parse(line: &str, context: &str) -> Self {
        let mut words = split(line);
        let verb = words.remove(0);
        let mut args = Self {
            verb,
            words: Vec::new(),
            pairs: BTreeMap::new(),
            used: RefCell::default(),
            context: context.to_owned(),
        };
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if !key.contains('"') => {
                    args.pairs.insert(key.to_owned(), value.to_owned());
                }
                Some(_) | None => args.words.push(word),
            }
        }
        args
    }

    /// The value of a pair.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.used.borrow_mut().insert(key.to_owned());
        self.pairs.get(key).cloned()
    }

    pub(crate) fn get_or(&self, key: &str, default: &str) -> String {
        self.get(key).unwrap_or_else(|| default.to_owned())
    }

    /// The first word after the verb.
    pub(crate) fn name(&self) -> Option<String> {
        self.words.first().cloned()
    }

    pub(crate) fn name_or(&self, default: &str) -> String {
        self.name().unwrap_or_else(|| default.to_owned())
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    /// A number.
    pub(crate) fn number<N: std::str::FromStr + Default>(&self, key: &str) -> N {
        let Some(text) = self.get(key) else {
            return N::default();
        };
        text.parse()
            .unwrap_or_else(|_| panic!("{}: {key}={text}", self.context))
    }

    /// A duration as protobuf.
    pub(crate) fn span(&self, key: &str) -> Option<prost_types::Duration> {
        self.get(key).map(|text| duration(&text))
    }

    /// JSON values, split by commas, as payloads.
    pub(crate) fn payloads(&self, key: &str) -> Option<Payloads> {
        let text = self.get(key)?;
        Some(Payloads {
            payloads: text.split(',').map(payload).collect(),
        })
    }

    /// All pairs that no verb asked for: free names, as of search attributes.
    pub(crate) fn others(&self) -> Vec<(String, String)> {
        let used = self.used.borrow().clone();
        let others = self.pairs.iter().filter(|(key, _)| !used.contains(*key));
        let others: Vec<_> = others
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.used
            .borrow_mut()
            .extend(others.iter().map(|(key, _)| key.clone()));
        others
    }

    /// Every pair was understood.
    pub(crate) fn finish(&self) {
        let used = self.used.borrow();
        let unknown: Vec<_> = self
            .pairs
            .keys()
            .filter(|key| !used.contains(*key))
            .collect();
        assert!(unknown.is_empty(), "{}: unknown {unknown:?}", self.context);
    }
}

/// Words are separated by spaces; a part in double quotes may hold some, and keeps its quotes.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        if character == '"' {
            quoted = !quoted;
        }
        if character == ' ' && !quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(character);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `1.5s`, `200ms`, `2m`, `1h`, `-1s`.
pub(crate) fn duration(text: &str) -> prost_types::Duration {
    let units = [("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, factor)))
        .unwrap_or_else(|| panic!("no duration: {text}"));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "durations of scripts are short"
    )]
    let nanos = (number * factor).round() as i64;
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    prost_types::Duration {
        seconds,
        nanos: i32::try_from(nanos).unwrap(),
    }
}

pub(crate) fn payload(json: &str) -> Payload {
    let data = match json.strip_prefix("zeros:") {
        Some(count) => vec![b'0'; count.parse().unwrap()],
        None => json.as_bytes().to_vec(),
    };
    let mut payload = Payload {
        data: data.into(),
        ..Payload::default()
    };
    payload
        .metadata
        .insert("encoding".to_owned(), "json/plain".into());
    payload
}

pub(crate) fn payloads_text(payloads: Option<&Payloads>) -> String {
    let payloads = payloads
        .map(|payloads| payloads.payloads.as_slice())
        .unwrap_or_default();
    let texts = payloads.iter().map(|payload| match payload.data.len() {
        0..=200 => String::from_utf8_lossy(&payload.data).into_owned(),
        length => format!("<{length} bytes>"),
    });
    format!("[{}]", texts.collect::<Vec<_>>().join(", "))
}

pub(crate) fn kind_text(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Workflow => "workflow",
        TaskKind::Activity => "activity",
    }
}

fn refusal_text(refusal: &Refusal) -> String {
    let debug = format!("{refusal:?}");
    let kind = debug.split(['(', '{', ' ']).next().unwrap_or_default();
    format!("{kind}: {refusal}")
}
