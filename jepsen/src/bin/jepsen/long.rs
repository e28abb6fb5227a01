//! A long profile: runs that were not made in an earlier start, each a process of its own.

use super::{Arguments, lasts, say};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use steadfast_jepsen::profile::{Done, PROCESSES_NIGHTLY, Progress, Verdict};
use steadfast_jepsen::stop;

/// Beyond the time of its faults, a run ends within this, or nothing is known of it.
const ENDS: Duration = Duration::from_secs(900);
/// One that is told to end ends within this.
const STOPS: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// Goes on with the profile, and tells all that came of it so far; whether all of it held.
pub(crate) fn run(arguments: &Arguments, folder: &Path) -> Result<bool, String> {
    let words = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut progress = Progress::open(folder).map_err(|error| error.to_string())?;
    let folder = folder.canonicalize().map_err(words)?;
    let known = progress.known();
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    stop::when_told(move || stops.store(true, Ordering::Relaxed));
    let left = PROCESSES_NIGHTLY.seeds.filter(|seed| !known.contains(seed));
    for seed in left.take(arguments.most.unwrap_or(usize::MAX)) {
        let out = folder.join(format!("seed-{seed}"));
        // Of a start that was killed.
        std::fs::remove_dir_all(&out).ok();
        let mut command = one(arguments, seed, &out)?;
        let again = format!("{command:?}");
        let child = command.spawn().map_err(words)?;
        let ended = wait(
            child,
            lasts(arguments, PROCESSES_NIGHTLY.lasts) + ENDS,
            &stop,
        );
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let text = std::fs::read_to_string(out.join("verdict.json")).unwrap_or_default();
        let done = done(seed, &text, ended, again);
        let held = done.verdict == Verdict::Held;
        progress.keep(done).map_err(|error| error.to_string())?;
        if held {
            std::fs::remove_dir_all(&out).map_err(words)?;
        }
    }
    Ok(told(&progress, &folder))
}

/// The run of a seed.
fn one(arguments: &Arguments, seed: u64, out: &Path) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let seconds = lasts(arguments, PROCESSES_NIGHTLY.lasts).as_secs();
    let mut command = Command::new(own);
    command
        .args(["--nodes", &arguments.nodes.to_string()])
        .args(["--nemesis", &arguments.nemesis.join(",")])
        .args(["--time-limit", &seconds.to_string()])
        .args(["--seed", &seed.to_string()])
        .arg("--out")
        .arg(out);
    if let Some(binary) = &arguments.binary {
        command.arg("--binary").arg(binary);
    }
    Ok(command)
}

/// Waits for the end of a run and tells how it ended; tells it to end when it takes too long or no
/// more is wanted.
fn wait(mut child: Child, most: Duration, stop: &AtomicBool) -> String {
    let until = Instant::now() + most;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        if let Ok(Some(status)) = child.try_wait() {
            return status.to_string();
        }
        std::thread::sleep(LOOK);
    }
    // It may have ended just now.
    kill_process(Pid::from_child(&child), Signal::TERM).ok();
    let until = Instant::now() + STOPS;
    while Instant::now() < until && !matches!(child.try_wait(), Ok(Some(_))) {
        std::thread::sleep(LOOK);
    }
    child.kill().ok();
    child.wait().ok();
    format!("it did not end within {most:?}")
}

/// What a run's verdict says.
fn done(seed: u64, verdict: &str, ended: String, again: String) -> Done {
    let told: Value = serde_json::from_str(verdict).unwrap_or_default();
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let mut violations = texts(&told["violations"]);
    let verdict = match told["valid"].as_bool() {
        Some(true) => Verdict::Held,
        Some(false) => Verdict::Violated,
        None => {
            let trouble = told["trouble"].as_str().map(str::to_owned);
            violations.push(trouble.unwrap_or(ended));
            Verdict::Unknown
        }
    };
    let counts = told["operations"].as_object().into_iter().flatten();
    let counts = counts.flat_map(|(_, counts)| counts.as_object().into_iter().flatten());
    let faults = told["faults"].as_object().into_iter().flatten();
    let command = told["command"].as_str().map(str::to_owned);
    Done {
        seed,
        verdict,
        seconds: told["fault_seconds"].as_f64().unwrap_or_default(),
        operations: counts.filter_map(|(_, count)| count.as_u64()).sum(),
        seen: faults
            .filter_map(|(fault, times)| Some((fault.clone(), times.as_u64()?)))
            .collect(),
        violations,
        again: command.unwrap_or(again),
    }
}

/// Says what came of all runs so far; whether all held.
fn told(progress: &Progress, folder: &Path) -> bool {
    let totals = progress.totals();
    for done in progress.bad() {
        let (seed, what) = (done.seed, done.violations.join("; "));
        let (verdict, folder) = (done.verdict, folder.display());
        say(&format!(
            "seed {seed} {verdict:?}: {what}\n  again: {}\n  left: {folder}/seed-{seed}",
            done.again
        ));
    }
    let seen = totals.seen.iter();
    let seen: Vec<String> = seen
        .map(|(name, times)| format!("{name} {times}"))
        .collect();
    say(&format!("in all: {}", seen.join(", ")));
    say(&format!(
        "{}: {} of {} runs, {:.1} fault-minutes, {} operations, {} runs with violations, {} unknown",
        PROCESSES_NIGHTLY.name,
        totals.seeds,
        PROCESSES_NIGHTLY.seeds.count(),
        totals.seconds / 60.0,
        totals.operations,
        totals.violated,
        totals.unknown,
    ));
    totals.held()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_and_without_one_nothing_is_known() {
        let text = r#"{"valid": false, "violations": ["a: b"], "command": "again so",
            "fault_seconds": 7.5, "faults": {"kill-all": 2},
            "operations": {"Start": {"acknowledged": 3, "refused": 1, "unknown": 2}}}"#;
        let read = done(5, text, "exit status: 1".into(), "it".into());
        assert_eq!(read.verdict, Verdict::Violated);
        assert_eq!((read.seconds, read.operations), (7.5, 6));
        assert_eq!(read.seen, [("kill-all".to_owned(), 2)].into());
        assert_eq!(read.violations, ["a: b"]);
        assert_eq!(read.again, "again so");
        let torn = done(5, &text[..20], "signal: 9".into(), "it".into());
        assert_eq!(torn.verdict, Verdict::Unknown);
        assert_eq!(torn.violations, ["signal: 9"]);
        assert_eq!(torn.again, "it");
    }
}
