//! Commands run one after the other, each with a line of progress and a log.

use crate::{root, say, target_dir};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Packages in the order of the arrows between them: what breaks below is seen first.
const PACKAGES: &[&str] = &[
    "steadfast-proto",
    "steadfast-engine",
    "steadfast-storage",
    "steadfast-raft",
    "steadfast-sdk",
    "steadfast",
    "steadfast-jepsen",
    "steadfast-tests",
    "xtask",
];
/// Lines of a failed step's log that are shown.
const SHOWN_LINES: usize = 80;

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
    steps.push(step(
        "the program",
        "cargo build --quiet --locked -p steadfast",
    ));
    if !quick {
        steps.push(step("official SDKs", "cargo xtask sdks"));
    }
    for package in PACKAGES {
        let command = match (*package, quick) {
            // Its other tests run official SDKs against real processes.
            ("steadfast-tests", true) => "cargo test --locked -p steadfast-tests --lib --test tidy",
            _ => &format!("cargo test --locked -p {package}"),
        };
        steps.push(step(&format!("tests of {package}"), command));
    }
    run(&steps)
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
        if !ok {
            let text = std::fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            say(&lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
            failed.push(step.name.clone());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A package that nobody tests is one that was forgotten.
    #[test]
    fn all_packages_are_tested() {
        let metadata = crate::licences::metadata().unwrap();
        let mut members: Vec<String> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|package| package["source"].is_null())
            .map(|package| package["name"].as_str().unwrap().to_string())
            .collect();
        let mut tested: Vec<String> = PACKAGES.iter().map(ToString::to_string).collect();
        members.sort();
        tested.sort();
        assert_eq!(members, tested);
    }
}
