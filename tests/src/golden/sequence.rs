//! Two documents of a scenario compared after a leader was killed while one of them was made: the
//! results, the outcomes and the sequence of events are the same.
//!
//! A killed leader costs workflow tasks and attempts, nothing else. Taken out of both documents:
//! workflow tasks that timed out or failed, with their scheduled and started events, and with them
//! the numbers of the events; the numbers of attempts; the queue of a workflow task, which is not
//! the sticky one after a time-out; the time-out as the last failure of an activity's attempt.

use std::collections::{BTreeMap, BTreeSet};

/// The words of a document that begin a part: a workflow's history, or the observations.
const PART: &str = "== ";

/// What differs, in words for people; empty when nothing does.
#[must_use]
pub fn differences(expected: &str, actual: &str) -> Vec<String> {
    let (expected, actual) = (parts(expected), parts(actual));
    let mut found = Vec::new();
    let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    for name in names {
        match (expected.get(name), actual.get(name)) {
            (Some(expected), Some(actual)) => compare(name, expected, actual, &mut found),
            (Some(_), None) => found.push(format!("{name}: lost")),
            (None, _) => found.push(format!("{name}: more than expected")),
        }
    }
    found
}

/// Lost and doubled ones first; when there are none, the first that changed its place.
fn compare(name: &str, expected: &[String], actual: &[String], found: &mut Vec<String>) {
    let before = found.len();
    let (mut wanted, mut got) = (counts(expected), counts(actual));
    for line in expected {
        let (wanted, got) = (
            wanted.remove(line.as_str()),
            got.get(line.as_str()).copied(),
        );
        let missing = wanted.unwrap_or(0).saturating_sub(got.unwrap_or(0));
        if missing > 0 {
            found.push(format!("{name}: lost {missing} x {line}"));
        }
    }
    let wanted = counts(expected);
    for line in actual {
        let (got, wanted) = (
            got.remove(line.as_str()),
            wanted.get(line.as_str()).copied(),
        );
        let more = got.unwrap_or(0).saturating_sub(wanted.unwrap_or(0));
        if more > 0 {
            found.push(format!("{name}: {more} x more than expected {line}"));
        }
    }
    if found.len() == before
        && let Some(at) = (0..expected.len()).find(|at| expected[*at] != actual[*at])
    {
        found.push(format!(
            "{name}: reordered at {}: expected {}, got {}",
            at + 1,
            expected[at],
            actual[at]
        ));
    }
}

fn counts<'a>(lines: &'a [String]) -> BTreeMap<&'a str, usize> {
    let mut counts: BTreeMap<&'a str, usize> = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

/// The parts of a document by name, each in its comparable form.
fn parts(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut raw: Vec<(String, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match (line.strip_prefix(PART), raw.last_mut()) {
            (Some(name), _) => raw.push((name.to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    let mut parts = BTreeMap::new();
    for (name, lines) in raw {
        // An order of events comes through whole: those without an id belong to no history.
        let events: Vec<Event<'_>> = lines.iter().filter_map(|line| Event::read(line)).collect();
        let lines = match events.len() == lines.len() {
            true => history(&events).into_iter().chain(gaps(&events)).collect(),
            false => lines.into_iter().map(observation).collect(),
        };
        // Two histories may have one label.
        let mut unique = name.clone();
        while parts.contains_key(&unique) {
            unique.push('\'');
        }
        parts.insert(unique, lines);
    }
    parts
}

/// One line of a history.
struct Event<'a> {
    id: u64,
    kind: &'a str,
    attributes: &'a str,
}

impl<'a> Event<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (id, rest) = line.trim_start().split_once(' ')?;
        let (kind, attributes) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self {
            id: id.parse().ok()?,
            kind,
            attributes,
        })
    }

    fn number(&self, name: &str) -> Option<u64> {
        let mut words = self.attributes.split(' ');
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

/// The events that stay, numbered anew.
fn history(events: &[Event<'_>]) -> Vec<String> {
    let mut gone = BTreeSet::new();
    for event in events {
        if matches!(
            event.kind,
            "WORKFLOW_TASK_TIMED_OUT" | "WORKFLOW_TASK_FAILED"
        ) {
            gone.insert(event.id);
            gone.extend(event.number("scheduled_event_id"));
            gone.extend(event.number("started_event_id"));
        }
    }
    let kept: Vec<&Event<'_>> = events
        .iter()
        .filter(|event| !gone.contains(&event.id))
        .collect();
    // Also what points between two events, as the sequencing id of an update does.
    let renumber = |id: u64| kept.iter().filter(|event| event.id <= id).count();
    kept.iter()
        .map(|event| {
            let mut text = event.attributes.to_owned();
            if event.kind == "WORKFLOW_TASK_SCHEDULED" {
                text = without(&text, "task_queue");
            }
            if event.kind == "ACTIVITY_TASK_STARTED"
                && let Some((first, last)) = text.split_once("last_failure=")
                && last.contains("timeout_failure_info")
            {
                text = first.trim_end().to_owned();
            }
            let text = numbers(&text, renumber);
            format!("{} {text}", event.kind)
        })
        .collect()
}

/// Where the numbers of events are not dense.
fn gaps(events: &[Event<'_>]) -> Vec<String> {
    let pairs = events.iter().zip(events.iter().skip(1));
    pairs
        .filter(|(one, next)| next.id != one.id + 1)
        .map(|(one, next)| format!("event {} after event {}", next.id, one.id))
        .collect()
}

/// Leaves out `name=value` of the top level; the value has no spaces.
fn without(text: &str, name: &str) -> String {
    let is_it = |word: &&str| {
        word.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('='))
    };
    let words: Vec<&str> = text.split(' ').filter(|word| !is_it(word)).collect();
    words.join(" ")
}

/// Rewrites the numbers of events, and blanks those of attempts and those of other histories.
fn numbers(text: &str, renumber: impl Fn(u64) -> usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        let word = before
            .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next();
        let word = word.unwrap_or_default();
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        out.push_str(before);
        out.push('=');
        rest = &after[digits..];
        let elsewhere = word.starts_with("parent_") || word.starts_with("external_");
        match after[..digits].parse() {
            Ok(_) if word == "attempt" || (elsewhere && word.ends_with("event_id")) => {
                out.push('*');
            }
            Ok(id) if word.ends_with("event_id") => out.push_str(&renumber(id).to_string()),
            Ok(_) | Err(_) => out.push_str(&after[..digits]),
        }
    }
    out.push_str(rest);
    out
}

/// An observation without the number of an attempt.
fn observation(line: &str) -> String {
    if line.starts_with("attempt: ") {
        return "attempt: *".to_owned();
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\"attempt\": ") {
        out.push_str(before);
        out.push_str("\"attempt\": *");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "\
== main
  1 WORKFLOW_EXECUTION_STARTED workflow_type=Raw attempt=1
  2 WORKFLOW_TASK_SCHEDULED task_queue=<sticky>/STICKY(normal=<tq>) attempt=1
  3 WORKFLOW_TASK_STARTED scheduled_event_id=2
  4 WORKFLOW_TASK_COMPLETED scheduled_event_id=2 started_event_id=3
  5 ACTIVITY_TASK_SCHEDULED activity_id=a workflow_task_completed_event_id=4
  6 ACTIVITY_TASK_STARTED scheduled_event_id=5 attempt=1
  7 ACTIVITY_TASK_COMPLETED result=[\"x=1 \\\"y\\\"\"] scheduled_event_id=5 started_event_id=6
  8 WORKFLOW_EXECUTION_SIGNALED signal_name=s

== child
  1 WORKFLOW_EXECUTION_STARTED parent_initiated_event_id=5 attempt=1

== observations
attempt: 1
seen: {\"attempt\": 1, \"result\": 7}
";

    /// The same with one lost workflow task and one lost attempt of the activity.
    const KILLED: &str = "\
== main
  1 WORKFLOW_EXECUTION_STARTED workflow_type=Raw attempt=1
  2 WORKFLOW_TASK_SCHEDULED task_queue=<sticky>/STICKY(normal=<tq>) attempt=1
  3 WORKFLOW_TASK_STARTED scheduled_event_id=2
  4 WORKFLOW_TASK_TIMED_OUT scheduled_event_id=2 started_event_id=3 timeout_type=START_TO_CLOSE
  5 WORKFLOW_TASK_SCHEDULED task_queue=<tq>/NORMAL attempt=2
  6 WORKFLOW_TASK_STARTED scheduled_event_id=5
  7 WORKFLOW_TASK_COMPLETED scheduled_event_id=5 started_event_id=6
  8 ACTIVITY_TASK_SCHEDULED activity_id=a workflow_task_completed_event_id=7
  9 ACTIVITY_TASK_STARTED scheduled_event_id=8 attempt=2 last_failure={timeout_failure_info={timeout_type=START_TO_CLOSE}}
 10 ACTIVITY_TASK_COMPLETED result=[\"x=1 \\\"y\\\"\"] scheduled_event_id=8 started_event_id=9
 11 WORKFLOW_EXECUTION_SIGNALED signal_name=s

== child
  1 WORKFLOW_EXECUTION_STARTED parent_initiated_event_id=8 attempt=1

== observations
attempt: 2
seen: {\"attempt\": 2, \"result\": 7}
";

    fn changed(change: impl Fn(&mut Vec<&str>)) -> Vec<String> {
        let mut lines: Vec<&str> = KILLED.lines().collect();
        change(&mut lines);
        differences(EXPECTED, &lines.join("\n"))
    }

    fn place(lines: &[&str], word: &str) -> usize {
        lines.iter().position(|line| line.contains(word)).unwrap()
    }

    #[test]
    fn lost_tasks_and_attempts_are_no_difference() {
        assert_eq!(differences(EXPECTED, KILLED), Vec::<String>::new());
        assert_eq!(differences(EXPECTED, EXPECTED), Vec::<String>::new());
    }

    #[test]
    fn a_lost_event_is_found() {
        for word in [
            "SIGNALED",
            "ACTIVITY_TASK_COMPLETED",
            "WORKFLOW_TASK_COMPLETED",
        ] {
            let found = changed(|lines| {
                lines.remove(place(lines, word));
            });
            let lost = found
                .iter()
                .any(|line| line.starts_with("main: lost 1 x") && line.contains(word));
            assert!(lost, "{word}: {found:#?}");
        }
    }

    #[test]
    fn a_doubled_event_is_found() {
        let found = changed(|lines| {
            let at = place(lines, "SIGNALED");
            lines.insert(at + 1, " 12 WORKFLOW_EXECUTION_SIGNALED signal_name=s");
        });
        assert!(
            found[0].starts_with("main: 1 x more than expected WORKFLOW_EXECUTION_SIGNALED"),
            "{found:#?}"
        );
        let found = changed(|lines| {
            let at = place(lines, "SIGNALED");
            lines.insert(at, lines[at]);
        });
        assert!(found[0].contains("more than expected"), "{found:#?}");
    }

    #[test]
    fn reordered_events_are_found() {
        let found = changed(|lines| {
            let at = place(lines, "SIGNALED");
            lines.swap(at, at - 1);
        });
        let said = |word: &str| found.iter().any(|line| line.contains(word));
        assert!(said("event 11 after event 9"), "{found:#?}");
        // Their ids are dense, as another server would number them.
        let found = changed(|lines| {
            let at = place(lines, "SIGNALED");
            lines[at] = " 11 ACTIVITY_TASK_COMPLETED result=[\"x=1 \\\"y\\\"\"] scheduled_event_id=8 started_event_id=9";
            lines[at - 1] = " 10 WORKFLOW_EXECUTION_SIGNALED signal_name=s";
        });
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("main: reordered at 7")),
            "{found:#?}"
        );
    }

    #[test]
    fn another_result_part_or_reference_is_found() {
        for (from, to) in [
            ("\"result\": 7", "\"result\": 8"),
            ("x=1", "x=2"),
            ("== child", "== other"),
            (
                "scheduled_event_id=8 started_event_id=9",
                "scheduled_event_id=7 started_event_id=9",
            ),
        ] {
            let actual = KILLED.replace(from, to);
            assert_ne!(actual, KILLED);
            assert!(!differences(EXPECTED, &actual).is_empty(), "{from}");
        }
    }
}
