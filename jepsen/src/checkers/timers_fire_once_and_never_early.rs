//! I-24, I-25: a timer fires not before its time, by the cluster's clock and by the true one. (That
//! it ends once is `events_are_in_legal_order`, that it ends at all the liveness phase.)

use crate::evidence::{APART, Evidence, FinalRun};
use crate::operation::SeenTimer;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found: Vec<String> = evidence.runs.iter().flat_map(by_cluster_time).collect();
    // Cluster time may run faster than true time by a tenth (design D6).
    // A leader whose clocks run too fast fires early by true time; steering takes a tenth of it.
    let fastest = evidence.fastest_clock.max(1.0);
    for (timer, seen, fired) in by_true_time(evidence) {
        let least = seen.takes.mul_f64(0.9 / fastest).saturating_sub(APART);
        if fired.saturating_sub(seen.asked) < least {
            found.push(format!("{timer:?} fired early: {seen:?}"));
        }
    }
    found
}

/// How many timers were compared with true time: with none, that is not checked.
pub(super) fn compared(evidence: &Evidence) -> usize {
    by_true_time(evidence).count()
}

/// By run and timer.
type Name = (String, String);

/// The timers that can be compared with true time, and when they were seen to have fired.
fn by_true_time(evidence: &Evidence) -> impl Iterator<Item = (&Name, &SeenTimer, Duration)> {
    evidence.journal.timers.iter().filter_map(|(timer, seen)| {
        let fired = seen.fired?;
        let comparable = evidence.is_comparable(seen.asked, fired);
        comparable.then_some((timer, seen, fired))
    })
}

fn nanos(event: &HistoryEvent) -> i128 {
    let time = event.event_time.unwrap_or_default();
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

fn by_cluster_time(run: &FinalRun) -> Vec<String> {
    let mut due: BTreeMap<i64, i128> = BTreeMap::new();
    let mut found = Vec::new();
    for event in &run.events {
        match &event.attributes {
            Some(Event::TimerStartedEventAttributes(it)) => {
                let takes = it.start_to_fire_timeout.unwrap_or_default();
                let takes = i128::from(takes.seconds) * 1_000_000_000 + i128::from(takes.nanos);
                due.insert(event.event_id, nanos(event) + takes);
            }
            Some(Event::TimerFiredEventAttributes(it)) => {
                if due.get(&it.started_event_id).is_none_or(|due| nanos(event) < *due) {
                    found.push(format!("{} {}: {event:?}", run.workflow_id, run.run_id));
                }
            }
            Some(_) | None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{add, evidence, run};
    use steadfast_proto::temporal::history::v1::{
        TimerFiredEventAttributes, TimerStartedEventAttributes,
    };

    #[test]
    fn timers_that_fire_early_are_found() {
        let planted = |seconds| {
            let mut run = run("w", "r");
            let started = TimerStartedEventAttributes {
                start_to_fire_timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
                ..Default::default()
            };
            add(&mut run, Event::TimerStartedEventAttributes(started));
            let fired = TimerFiredEventAttributes {
                started_event_id: 3,
                ..Default::default()
            };
            add(&mut run, Event::TimerFiredEventAttributes(fired));
            evidence(vec![run])
        };
        assert!(check(&planted(1)).is_empty());
        assert_eq!(check(&planted(2)).len(), 1);
        let mut seen = planted(1);
        seen.journal.timers.insert(
            ("r".into(), "t".into()),
            SeenTimer {
                asked: Duration::from_secs(1),
                takes: Duration::from_secs(5),
                fired: Some(Duration::from_secs(5)),
            },
        );
        assert_eq!((check(&seen).len(), compared(&seen)), (1, 1));
        // Twice as fast as true time, it is not early.
        seen.fastest_clock = 2.0;
        assert_eq!((check(&seen).len(), compared(&seen)), (0, 1));
        seen.fastest_clock = 1.0;
        seen.led_since = vec![Duration::from_secs(2)];
        assert_eq!((check(&seen).len(), compared(&seen)), (0, 0));
    }
}
