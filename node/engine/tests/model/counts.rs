//! How often each kind was reached.

use crate::kinds;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use steadfast_engine::{Mutation, Refusal};
use steadfast_proto::temporal::history::v1::HistoryEvent;

/// Each kind is reached this often in a whole run, or the run fails.
pub(crate) const LEAST: u64 = 100;

/// Kinds that nothing can reach today, and why. One that is reached must leave this list.
const UNREACHABLE: &[(&str, &str)] = &[
    ("refusal PermissionDenied", "no mutation answers it"),
    (
        "command COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION",
        "not built yet",
    ),
    (
        "command COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION",
        "not built yet",
    ),
];
/// Areas whose events nothing writes today.
const UNREACHABLE_EVENTS: &[&str] = &[
    "EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_REJECTED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED",
    "EVENT_TYPE_ACTIVITY_PROPERTIES_MODIFIED_EXTERNALLY",
    "EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED_EXTERNALLY",
    "EVENT_TYPE_NEXUS_OPERATION",
    "EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING",
];

/// Counters by `sort name`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    by_kind: BTreeMap<String, u64>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
}

impl Counts {
    /// One applied mutation, by the first bytes of its encoding, which name the variant.
    pub(crate) fn accept(&mut self, mutation: &Mutation) {
        self.accepted += 1;
        let number = bincode::serialize(mutation).unwrap()[..4]
            .try_into()
            .map(u32::from_le_bytes)
            .unwrap();
        let name = kinds::mutations()[usize::try_from(number).unwrap()];
        self.add("mutation", name);
    }

    /// The commands of a completion that was applied: one that is repeated applies nothing.
    pub(crate) fn commands(&mut self, mutation: &Mutation) {
        if let Mutation::RespondWorkflowTaskCompleted { request, .. } = mutation {
            for command in &request.commands {
                self.add("command", command.command_type().as_str_name());
            }
        }
    }

    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.refused += 1;
        let text = format!("{refusal:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).next();
        self.add("refusal", name.unwrap_or_default());
    }

    pub(crate) fn event(&mut self, event: &HistoryEvent) {
        self.add("event", event.event_type().as_str_name());
    }

    fn add(&mut self, sort: &str, name: &str) {
        *self.by_kind.entry(format!("{sort} {name}")).or_default() += 1;
    }

    /// Takes what another walk counted.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, count) in other.by_kind {
            *self.by_kind.entry(kind).or_default() += count;
        }
        self.accepted += other.accepted;
        self.refused += other.refused;
    }

    /// What is wrong with the counts; empty when all is well.
    pub(crate) fn faults(&self, least: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if self.accepted < self.refused {
            faults.push(format!(
                "{} accepted, {} refused: less than half",
                self.accepted, self.refused
            ));
        }
        for kind in all_kinds() {
            let count = self.by_kind.get(&kind).copied().unwrap_or(0);
            match (is_unreachable(&kind), count) {
                (true, 0) => {}
                (true, _) => faults.push(format!("{kind} is said to be unreachable: {count}")),
                (false, _) if count < least => {
                    faults.push(format!("{kind}: {count}, but {least} are wanted"));
                }
                (false, _) => {}
            }
        }
        faults
    }

    /// The table for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} accepted, {} refused\n", self.accepted, self.refused);
        for (kind, count) in &self.by_kind {
            // Writing to a string cannot fail.
            writeln!(text, "{count:>9} {kind}").ok();
        }
        text
    }
}

fn all_kinds() -> Vec<String> {
    let sort = |sort: &'static str, names: Vec<&'static str>| {
        names.into_iter().map(move |name| format!("{sort} {name}"))
    };
    sort("mutation", kinds::mutations().to_vec())
        .chain(sort("command", kinds::commands()))
        .chain(sort("event", kinds::events()))
        .chain(sort("refusal", kinds::refusals().to_vec()))
        .collect()
}

fn is_unreachable(kind: &str) -> bool {
    let event = kind.strip_prefix("event ").unwrap_or_default();
    UNREACHABLE.iter().any(|(name, _)| *name == kind)
        || UNREACHABLE_EVENTS
            .iter()
            .any(|area| event.starts_with(area))
}
