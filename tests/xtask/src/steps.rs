//! Commands run one after the other, each with a line of progress and a log.

use crate::jepsen::SKIPPED;
use crate::{root, say, target_dir};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Lines of a failed step's log that are shown.
const SHOWN_LINES: usize = 200;

struct Step {
    name: String,
    program: String,
    args: Vec<String>,
}

fn step(name: &str, command: &str) -> Step {
    let mut words = command.split(' ').map(String::from);
    let program = words.next().unwrap_or_default();
    Step {
        name: name.to_string(),
        program,
        args: words.collect(),
    }
}

/// Everything that must be green.
pub(crate) fn test(quick: bool) -> Result<(), String> {
    let mut steps = lint_steps();
    // Alone, so that no other crate's features hide a forbidden import.
    steps.push(step(
        "the engine alone",
        "cargo check --quiet --locked -p steadfast-engine",
    ));
    if !quick {
        steps.push(step("official SDKs", "cargo xtask sdks"));
    }
    // One run of the whole workspace: one feature set, so nothing is built twice.
    let tests = match quick {
        false => "cargo test --locked --workspace --no-fail-fast",
        // The rest of that package runs official SDKs against real processes.
        true => "cargo test --locked --workspace --no-fail-fast --exclude steadfast-tests",
    };
    steps.push(step("build of all tests", &format!("{tests} --no-run")));
    steps.push(step("all tests", tests));
    if quick {
        let tidy = "cargo test --locked -p steadfast-tests --lib --test tidy --test seam";
        steps.push(step("tidy and seam", tidy));
    } else {
        steps.push(step("model check", "cargo xtask model-check"));
        let seeds = "cargo xtask sim --no-build --seeds 1..101 --ticks 60 --for 300s";
        steps.push(step("simulation of 100 seeds, five minutes at most", seeds));
        steps.extend(jepsen_steps());
        steps.extend(torture_steps());
        // Built with all tests, in their features.
        steps.push(step("golden suites", "cargo xtask golden --no-build"));
        let kills = "cargo xtask golden --no-build --leader-kills --draw 30";
        steps.push(step("golden histories under leader kills", kills));
    }
    run(&steps)
}

/// A minute each of real processes under faults that must all happen. Any machine can do the first;
/// the others need namespaces, a TUN device and loop devices, and say so where these are missing.
fn jepsen_steps() -> Vec<Step> {
    const RUNS: [(&str, &str); 4] = [
        (
            "processes",
            "kill-leader,pause-leader,kill-all,transfer-storm,rolling-upgrade",
        ),
        (
            "network",
            "isolate-leader,one-way-to-leader,bridge,lossy-network,reset-connections,cut-answers",
        ),
        (
            "disks",
            "power-cut-all,power-cut,pause-power-cut,disk-errors,full-disk,slow-disk",
        ),
        (
            "members and files",
            "membership,lost-disk,flip-log,truncate-index,memory-limit,slow-consumer,restored-backup",
        ),
    ];
    let run = |(name, faults): (&str, &str)| {
        let jepsen = format!("cargo xtask jepsen --no-build --where-possible --nemesis {faults}");
        step(
            &format!("real faults: {name}"),
            &format!("{jepsen} --require {faults} --time-limit 60 --seed 1"),
        )
    };
    RUNS.into_iter().map(run).collect()
}

/// Power cuts under the storage room alone, and a bug that they must find.
fn torture_steps() -> Vec<Step> {
    let torture = "cargo xtask torture --no-build --where-possible --seed 1 --cuts";
    let planted = format!("{torture} 20 --plant delta_not_synced");
    vec![
        step(
            "20 power cuts of the storage room",
            &format!("{torture} 20"),
        ),
        step("power cuts find a planted bug", &planted),
    ]
}

/// How much, and from which seed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ModelCheckArgs {
    /// How many mutations; a long run has a hundred million
    #[arg(long, default_value_t = 1_000_000)]
    mutations: u64,
    /// The same seed gives the same mutations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this walk of the seed, as a failure names it
    #[arg(long)]
    walk: Option<u64>,
}

/// From so many mutations on, a release build is worth its time.
const RELEASE_FROM: u64 = 10_000_000;

/// Random mutations; prints how often each kind was reached.
pub(crate) fn model_check(args: ModelCheckArgs) -> Result<(), String> {
    let built: &[&str] = if args.mutations < RELEASE_FROM {
        // Of the whole workspace, so that nothing is built twice.
        &["--workspace"]
    } else {
        &["--release", "--package", "steadfast-engine"]
    };
    let status = Command::new("cargo")
        .args(["test", "--locked", "--test", "model"])
        .args(built)
        .args(["--", "--nocapture"])
        .env("MODEL_CHECK_MUTATIONS", args.mutations.to_string())
        .env("MODEL_CHECK_SEED", args.seed.to_string())
        .envs(args.walk.map(|walk| ("MODEL_CHECK_WALK", walk.to_string())))
        .current_dir(root())
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!("the model check failed, seed {}", args.seed))
}

/// Format, clippy, licences.
pub(crate) fn lint() -> Result<(), String> {
    run(&lint_steps())
}

fn lint_steps() -> Vec<Step> {
    vec![
        step("format", "cargo fmt --all --check"),
        step(
            "clippy",
            "cargo clippy --quiet --locked --workspace --all-targets -- --deny warnings",
        ),
        step("licences and pins", "cargo xtask check-licences"),
    ]
}

/// Formats and applies suggestions.
pub(crate) fn fix() -> Result<(), String> {
    run(&[
        step(
            "clippy",
            "cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets",
        ),
        step("format", "cargo fmt --all"),
    ])
}

/// Runs all steps, also after a failure, so that one run tells all that is wrong.
fn run(steps: &[Step]) -> Result<(), String> {
    let logs = target_dir().join("xtask");
    std::fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    let mut failed = Vec::new();
    let (mut passed, mut broken) = (0, 0);
    for (index, step) in steps.iter().enumerate() {
        let began = Instant::now();
        let progress = format!("[{}/{}] {}", index + 1, steps.len(), step.name);
        say(&format!("{progress} ..."));
        let log = logs.join(format!("{:02}.log", index + 1));
        let ok = execute(step, &log).map_err(|error| format!("{}: {error}", step.program))?;
        let seconds = began.elapsed().as_secs();
        say(&format!(
            "{progress}: {} ({seconds} s)",
            if ok { "ok" } else { "FAILED" }
        ));
        let text = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        for line in text.lines().filter(|line| line.starts_with(SKIPPED)) {
            say(line);
        }
        let (p, f) = counted(&text);
        (passed, broken) = (passed + p, broken + f);
        if !ok {
            let names = text.lines().filter(|line| line.ends_with("... FAILED"));
            say(&names.collect::<Vec<_>>().join("\n"));
            let lines: Vec<&str> = text.lines().collect();
            say(&lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
            failed.push(step.name.clone());
        }
    }
    if passed + broken > 0 {
        say(&format!("{passed} passed, {broken} failed"));
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "failed: {}; logs are in {}",
        failed.join(", "),
        logs.display()
    ))
}

fn execute(step: &Step, log: &std::path::Path) -> std::io::Result<bool> {
    let output = File::create(log)?;
    let status = Command::new(&step.program)
        .args(&step.args)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    Ok(status.success())
}

/// What the test runners of a log counted: passed and failed.
fn counted(text: &str) -> (u64, u64) {
    let number = |line: &str, word: &str| -> u64 {
        let before = line.split(word).next().unwrap_or_default();
        before
            .split_whitespace()
            .last()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    text.lines()
        .filter(|line| line.starts_with("test result:"))
        .map(|line| (number(line, " passed"), number(line, " failed")))
        .fold((0, 0), |(passed, failed), (p, f)| (passed + p, failed + f))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn results_are_added_up() {
        let log = "test result: ok. 3 passed; 0 failed; 0 ignored\nnoise\n\
                   test result: FAILED. 1 passed; 2 failed; 0 ignored";
        assert_eq!(counted(log), (4, 2));
    }
}
