//! The folder that a run leaves: operations, the nodes' words, the verdict, the timeline.

use super::fault::Fault;
use super::nemesis::{Event, Failure};
use super::run::Order;
use super::switch::Counts;
use super::watch::Leadership;
use super::{Trouble, io, timeline};
use crate::checkers;
use crate::evidence::{Evidence, Violation};
use crate::operation::{Operation, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// What came of a run. Only `True` is a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Valid {
    /// Everything held, and enough happened.
    True,
    /// Something did not hold.
    False,
    /// It cannot be told: the machine failed.
    Unknown,
}

/// Everything but the evidence.
#[derive(Debug)]
pub(super) struct Record {
    order: Order,
    nemesis: Vec<&'static str>,
    skipped: BTreeMap<String, String>,
    pub(super) violations: Vec<Violation>,
    trouble: Option<String>,
    pub(super) valid: Valid,
    /// Since when each leadership was known.
    pub(super) leaderships: BTreeMap<Leadership, Duration>,
    pub(super) packets: Option<Counts>,
    counts: BTreeMap<String, [u64; 3]>,
    faults: BTreeMap<String, u32>,
    /// Timers that were seen to fire, and how many of them were compared with true time.
    timers: [usize; 2],
}

/// What nodes' logs say of a panic.
const PANICS: [&str; 2] = ["panicked at", "a bug, please report it"];

/// What a panic may say: sled's threads know no other answer to a disk that fails, and their node
/// ends in order.
const FAILING_DISK: [&str; 3] = [
    "Input/output error",
    "No space left on device",
    "Too many open files",
];

/// A node whose Raft has ended says so, and ends in order.
const STOPS: &str = "the node stops";

/// What a call to Raft may say after that: openraft 0.10.0-alpha.37 (`get_core_stop_error`) believes
/// that whoever began to wait for the end of its core has done so to the end, and that one may have
/// been a call that its caller gave up.
const AFTER_THE_STOP: &str = "RaftCore should have already quit";

/// Nodes that panicked, by their words.
pub(super) fn panics(logs: &Path) -> Vec<Violation> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(logs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".log") {
            continue;
        }
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if let Some(line) = panic_in(&text) {
            found.push(Violation::new(
                "nodes_do_not_panic",
                format!("{name}: {line}"),
            ));
        }
    }
    found
}

/// The first panic in a log that is no known end of a node.
fn panic_in(log: &str) -> Option<&str> {
    let mut stops = false;
    log.lines().find(|line| {
        stops |= line.contains(STOPS);
        PANICS.iter().any(|words| line.contains(words))
            && !FAILING_DISK.iter().any(|words| line.contains(words))
            && !(stops && line.contains(AFTER_THE_STOP))
    })
}

impl Record {
    pub(super) fn new(
        order: &Order,
        faults: &[Fault],
        skipped: BTreeMap<String, String>,
    ) -> Record {
        Record {
            order: order.clone(),
            nemesis: faults.iter().map(|fault| fault.name()).collect(),
            skipped,
            violations: Vec::new(),
            trouble: None,
            valid: Valid::Unknown,
            leaderships: BTreeMap::new(),
            packets: None,
            counts: BTreeMap::new(),
            faults: BTreeMap::new(),
            timers: [0; 2],
        }
    }

    /// Asks the checkers and says what it all means.
    pub(super) fn judge(
        &mut self,
        told: Result<(), Failure>,
        evidence: &Evidence,
        require: &[Fault],
    ) {
        self.faults.clone_from(&evidence.faults);
        let timers = evidence.journal.timers.values();
        let fired = timers.filter(|timer| timer.fired.is_some()).count();
        self.timers = [fired, checkers::timers_compared(evidence)];
        for operation in &evidence.journal.operations {
            let counts = self.counts.entry(kind(operation)).or_default();
            counts[match operation.outcome {
                Outcome::Acknowledged(_) => 0,
                Outcome::Refused(_) => 1,
                Outcome::Unknown(_) => 2,
            }] += 1;
        }
        match told {
            // Without the final state most checkers have nothing to compare with.
            Ok(()) => self.violations.extend(checkers::check(evidence)),
            Err(Failure::Violation(violation)) => self.violations.push(violation),
            Err(Failure::Trouble(trouble)) => self.trouble = Some(trouble.to_string()),
        }
        for fault in require {
            if !evidence.faults.contains_key(fault.name()) {
                let why = self
                    .skipped
                    .get(fault.name())
                    .map_or("it was not drawn", String::as_str);
                let what = format!("{}: {why}", fault.name());
                self.violations
                    .push(Violation::new("required_faults_happen", what));
            }
        }
        self.valid = match (self.violations.is_empty(), &self.trouble) {
            (false, _) => Valid::False,
            (true, Some(_)) => Valid::Unknown,
            (true, None) => Valid::True,
        };
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(fault, times)| format!("{fault} {times}"))
            .collect();
        let [good, refused, unknown] = self.counts.values().fold([0; 3], |mut sum, counts| {
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
            sum
        });
        let mut lines = vec![
            format!("faults: {}", faults.join(", ")),
            format!(
                "operations: {good} acknowledged, {refused} refused, {unknown} unknown; {} leaderships",
                self.leaderships.len()
            ),
            format!(
                "timers: {} fired, {} of them compared with true time",
                self.timers[0], self.timers[1]
            ),
        ];
        let missed = self.missed();
        if !missed.is_empty() {
            lines.push(format!("did not happen: {}", missed.join(", ")));
        }
        lines.extend(
            self.violations
                .iter()
                .map(|violation| format!("VIOLATION {violation}")),
        );
        lines.extend(
            self.trouble
                .iter()
                .map(|trouble| format!("UNKNOWN {trouble}")),
        );
        lines.push(match self.valid {
            Valid::True => "all held".to_owned(),
            Valid::False | Valid::Unknown => format!("again: {}", self.order.command),
        });
        lines
    }

    /// Kinds that were asked for and possible, and for which there was no time, or no file yet.
    fn missed(&self) -> Vec<&'static str> {
        let missed = self.nemesis.iter().copied();
        missed
            .filter(|fault| !self.faults.contains_key(*fault))
            .collect()
    }

    fn verdict(&self, events: &[Event]) -> Value {
        let violations: Vec<String> = self.violations.iter().map(ToString::to_string).collect();
        let counts = self.counts.iter().map(|(kind, [good, refused, unknown])| {
            let counts = json!({"acknowledged": good, "refused": refused, "unknown": unknown});
            (kind.clone(), counts)
        });
        let leaderships = self.leaderships.iter().map(
            |((term, node), at)| json!({"term": term, "node": node, "since_s": at.as_secs_f64()}),
        );
        json!({
            "valid": match self.valid {
                Valid::True => json!(true),
                Valid::False => json!(false),
                Valid::Unknown => json!("unknown"),
            },
            "violations": violations,
            "trouble": self.trouble,
            "command": self.order.command,
            "seed": self.order.seed,
            "nodes": self.order.nodes,
            "seconds": self.order.lasts.as_secs(),
            "nemesis": self.nemesis,
            "faults": self.faults,
            "fault_seconds": under_faults(events).as_secs_f64(),
            "did_not_happen": self.missed(),
            "not_possible": self.skipped,
            "operations": counts.collect::<serde_json::Map<_, _>>(),
            "timers": {"fired": self.timers[0], "compared_with_true_time": self.timers[1]},
            "leaderships": leaderships.collect::<Vec<_>>(),
            "packets": self.packets.map(|it| json!({"passed": it.passed, "lost": it.lost, "reset": it.reset})),
        })
    }

    /// Writes everything.
    pub(super) fn write(
        &self,
        out: &Path,
        evidence: &Evidence,
        events: &[Event],
    ) -> Result<(), Trouble> {
        let write = |name: &str, text: &str| {
            let path = out.join(name);
            std::fs::write(&path, text).map_err(io(path.display().to_string()))
        };
        let mut lines = String::new();
        for operation in &evidence.journal.operations {
            lines += &serde_json::to_string(operation).unwrap_or_default();
            lines.push('\n');
        }
        write("operations.jsonl", &lines)?;
        let mut lines = String::new();
        for delivery in &evidence.journal.deliveries {
            lines += &serde_json::to_string(delivery).unwrap_or_default();
            lines.push('\n');
        }
        write("deliveries.jsonl", &lines)?;
        let mut lines = String::new();
        for event in events {
            let (from, to) = (event.from.as_secs_f64(), event.to.as_secs_f64());
            // A string takes all that is written to it.
            writeln!(lines, "{from:7.2} {to:7.2} {} {}", event.fault, event.what).ok();
        }
        write("faults.txt", &lines)?;
        write("histories.txt", &histories(evidence))?;
        let verdict = serde_json::to_string_pretty(&self.verdict(events)).unwrap_or_default();
        write("verdict.json", &verdict)?;
        write("command.txt", &format!("{}\n", self.order.command))?;
        write(
            "timeline.html",
            &timeline::draw(evidence, events, &self.leaderships),
        )
    }
}

/// How long something was broken. What came in a pair began and ended with the other.
fn under_faults(events: &[Event]) -> Duration {
    let rounds: BTreeMap<Duration, Duration> =
        events.iter().map(|event| (event.from, event.to)).collect();
    rounds
        .iter()
        .map(|(from, to)| to.saturating_sub(*from))
        .sum()
}

/// Each run with its events: number, time, type.
fn histories(evidence: &Evidence) -> String {
    let mut text = String::new();
    for run in &evidence.runs {
        // A string takes all that is written to it.
        writeln!(
            text,
            "{} {} status {}",
            run.workflow_id, run.run_id, run.status
        )
        .ok();
        for event in &run.events {
            let time = event.event_time.unwrap_or_default();
            let kind = event.event_type().as_str_name();
            let kind = kind.trim_start_matches("EVENT_TYPE_");
            let millis = time.nanos / 1_000_000;
            writeln!(
                text,
                "  {:3} {}.{millis:03} {kind}",
                event.event_id, time.seconds
            )
            .ok();
        }
    }
    text
}

/// What was asked, in one word.
fn kind(operation: &Operation) -> String {
    let text = format!("{:?}", operation.asked);
    let word = text.split([' ', '{']).next().unwrap_or_default();
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_unless_it_is_the_known_end_of_a_node() {
        let bug = "\"message\":\"a bug, please report it: internal error: entered unreachable code: \
                   RaftCore should have already quit\"";
        let disk = "thread panicked at x.rs: Input/output error";
        assert_eq!(panic_in(bug), Some(bug));
        assert_eq!(
            panic_in("thread panicked at x.rs"),
            Some("thread panicked at x.rs")
        );
        assert_eq!(panic_in(disk), None);
        let ended = format!("{disk}\n\"message\":\"the node stops\"\n{bug}\nall is well");
        assert_eq!(panic_in(&ended), None);
        let worse = format!("{ended}\na bug, please report it: 1 is not 2");
        assert!(panic_in(&worse).is_some());
    }
}
