//! I-23: of a workflow at most one run is open at any time.

use crate::evidence::{Evidence, FinalRun};
use std::collections::BTreeMap;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut workflows: BTreeMap<&str, Vec<&FinalRun>> = BTreeMap::new();
    for run in &evidence.runs {
        workflows.entry(&run.workflow_id).or_default().push(run);
    }
    let mut found = Vec::new();
    for (workflow_id, mut runs) in workflows {
        runs.sort_by_key(|run| order(run));
        for two in runs.windows(2) {
            // By cluster time, in which everything has one order.
            if end(two[0]).is_none_or(|end| Some(end) > begin(two[1])) {
                let (one, other) = (&two[0].run_id, &two[1].run_id);
                found.push(format!("{workflow_id}: {one} is open while {other} begins"));
            }
        }
    }
    found
}

/// By begin and end: a run that began and ended at one stamp comes before the one that it gave way to.
pub(super) fn order(run: &FinalRun) -> (Option<Stamp>, bool, Option<Stamp>) {
    let end = end(run);
    (begin(run), end.is_none(), end)
}

/// Seconds and nanoseconds.
type Stamp = (i64, i32);

/// When a run began, by cluster time: a reset one with the event that tells of the reset, for those
/// before it are the base's.
fn begin(run: &FinalRun) -> Option<Stamp> {
    let reset = run.events.iter().find(|event| match &event.attributes {
        Some(Event::WorkflowTaskFailedEventAttributes(it)) => it.new_run_id == run.run_id,
        Some(_) | None => false,
    });
    let first = reset.or(run.events.first())?.event_time?;
    Some((first.seconds, first.nanos))
}

/// `None` while it is open.
fn end(run: &FinalRun) -> Option<Stamp> {
    let running = 1;
    let last = run.events.last()?.event_time?;
    (run.status != running).then_some((last.seconds, last.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{evidence, run};

    #[test]
    fn two_open_runs_of_a_workflow_are_found() {
        let (first, mut second) = (run("w", "r"), run("w", "s"));
        for event in &mut second.events {
            event.event_time.get_or_insert_default().seconds += 1;
        }
        let good = evidence(vec![first.clone(), second.clone()]);
        assert!(check(&good).is_empty());
        let overlapping = evidence(vec![first.clone(), run("w", "s")]);
        assert_eq!(check(&overlapping).len(), 1);
        let open = FinalRun { status: 1, ..first };
        assert_eq!(check(&evidence(vec![open, second])).len(), 1);
    }
}
