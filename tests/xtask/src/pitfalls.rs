//! `cargo xtask pitfalls`: each test that docs/raft-pitfalls.md names fails when the line that it
//! guards is disabled.
//!
//! In a copy of the tracked files under the build directory: all named tests pass; then, for each
//! pitfall, one small change disables its line, and its test must fail by itself. Nothing outside
//! the copy is touched.

mod list;
mod tree;

use crate::{say, target_dir};
use list::{LIST, Pitfall};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tree::Tree;

/// A test that has not ended by itself then hangs, which is no failure by assertion.
const TEST_LIMIT: Duration = Duration::from_secs(240);
/// Always built together: one feature set, so that nothing is built twice.
const PACKAGES: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "steadfast-raft",
    "-p",
    "steadfast-storage",
    "-p",
    "steadfast-engine",
];
const BUILD_LIMIT: Duration = Duration::from_secs(3_600);

/// Runs the pitfalls of these numbers, or all.
pub(crate) fn run(numbers: &[u8]) -> Result<(), String> {
    let chosen: Vec<&Pitfall> = LIST
        .iter()
        .filter(|pitfall| numbers.is_empty() || numbers.contains(&pitfall.number))
        .collect();
    if let Some(unknown) = numbers
        .iter()
        .find(|number| !LIST.iter().any(|pitfall| pitfall.number == **number))
    {
        return Err(format!("there is no pitfall {unknown}"));
    }
    let tree = Tree::copied()?;
    for pitfall in &chosen {
        tree.disabled(pitfall)?;
    }
    undisturbed(&tree, &chosen)?;
    let mut table = String::from(
        "| # | disabled line | test | first line of its failure |\n|---|---|---|---|\n",
    );
    let mut wrong = Vec::new();
    for pitfall in &chosen {
        say(&format!("\n=== {}: {}", pitfall.number, pitfall.line));
        say(&difference(pitfall));
        let seen = match disturbed(&tree, pitfall) {
            Ok(seen) => seen,
            Err(why) => {
                wrong.push(format!("{}: {}: {why}", pitfall.number, pitfall.line));
                format!(
                    "NOT SEEN FAILING: {}",
                    why.lines().next().unwrap_or_default()
                )
            }
        };
        say(&seen);
        // Writing to a string cannot fail.
        writeln!(
            table,
            "| {} | {} ({}) | {} `{}` | {} |",
            pitfall.number,
            pitfall.line,
            pitfall.file,
            pitfall.package,
            pitfall.test,
            seen.replace('|', "\\|")
        )
        .ok();
    }
    say(&format!("\n{table}"));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("weak tests:\n{}", wrong.join("\n")))
}

/// All tests must pass as they are.
fn undisturbed(tree: &Tree, chosen: &[&Pitfall]) -> Result<(), String> {
    let tests: BTreeSet<_> = chosen
        .iter()
        .map(|pitfall| (pitfall.package, pitfall.target, pitfall.test))
        .collect();
    say(&format!("{} tests undisturbed ...", tests.len()));
    let targets: BTreeSet<_> = tests.iter().map(|(_, target, _)| *target).collect();
    for target in targets {
        build(tree, target)?;
    }
    for (package, target, test) in tests {
        let outcome = execute(tree, target, test)?;
        let Outcome::Passed = outcome else {
            return Err(format!("{package}: {test} fails undisturbed: {outcome:?}"));
        };
        say(&format!("passes: {package} {test}"));
    }
    Ok(())
}

/// The first line of the failure with the line disabled.
fn disturbed(tree: &Tree, pitfall: &Pitfall) -> Result<String, String> {
    let changed = tree.disabled(pitfall)?;
    let _restored = tree.replace(pitfall.file, &changed)?;
    build(tree, pitfall.target)?;
    match execute(tree, pitfall.target, pitfall.test)? {
        Outcome::Failed(first) => Ok(first),
        Outcome::Passed => Err("its test still passes".to_string()),
        Outcome::Hangs => Err(format!("its test does not end within {TEST_LIMIT:?}")),
        Outcome::Strange(why) => Err(why),
    }
}

/// The change, as it is shown.
fn difference(pitfall: &Pitfall) -> String {
    let marked = |text: &str, mark: char| {
        let lines: Vec<String> = text.lines().map(|line| format!("{mark}{line}")).collect();
        lines.join("\n")
    };
    format!(
        "{}\n{}\n{}",
        pitfall.file,
        marked(pitfall.from, '-'),
        marked(pitfall.to, '+')
    )
}

/// How a test ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    /// By a panic; its first line.
    Failed(String),
    Hangs,
    /// Anything else, which shows nothing.
    Strange(String),
}

fn build(tree: &Tree, target: &[&str]) -> Result<(), String> {
    let args = [PACKAGES, target, &["--no-run"]].concat();
    let (ended, text) = cargo(tree, &args, BUILD_LIMIT)?;
    match ended {
        Some(true) => Ok(()),
        Some(false) | None => Err(format!("the change does not compile:\n{text}")),
    }
}

fn execute(tree: &Tree, target: &[&str], test: &str) -> Result<Outcome, String> {
    let args = [PACKAGES, target, &["--", "--exact", test]].concat();
    let (ended, text) = cargo(tree, &args, TEST_LIMIT)?;
    Ok(judged(ended, &text, test))
}

/// `ended`: whether the program ended well, if it ended.
fn judged(ended: Option<bool>, text: &str, test: &str) -> Outcome {
    let passed = text.contains("test result: ok. 1 passed; 0 failed");
    let failed = text.contains("test result: FAILED. 0 passed; 1 failed");
    match ended {
        None => Outcome::Hangs,
        Some(true) if passed => Outcome::Passed,
        Some(false) if failed => match first_line(text, test) {
            Some(first) => Outcome::Failed(first),
            None => Outcome::Strange(format!("it failed without a panic:\n{text}")),
        },
        Some(_) => Outcome::Strange(format!("it neither passed nor failed:\n{text}")),
    }
}

/// Characters of a failure that are shown.
const SHOWN_CHARS: usize = 200;

/// What the test's own thread said when it panicked; what another thread said, if it did not. An
/// assertion's two values are put on the line.
fn first_line(text: &str, test: &str) -> Option<String> {
    let mut other = None;
    let lines: Vec<&str> = text.lines().collect();
    for (place, line) in lines.iter().enumerate() {
        if !line.contains(" panicked at ") {
            continue;
        }
        let Some(message) = lines.get(place + 1) else {
            continue;
        };
        let values = lines[place + 2..].iter().map(|value| value.trim_start());
        let values = values.take_while(|v| v.starts_with("left: ") || v.starts_with("right: "));
        let message = [*message].into_iter().chain(values);
        let message = message.collect::<Vec<_>>().join(" ");
        let message: String = message.chars().take(SHOWN_CHARS).collect();
        if line.contains(&format!("'{test}'")) {
            return Some(message);
        }
        other.get_or_insert(message);
    }
    other
}

/// Runs cargo in the copy; none when it did not end in time, in which case it was ended.
fn cargo(tree: &Tree, args: &[&str], limit: Duration) -> Result<(Option<bool>, String), String> {
    let log = target_dir().join("pitfalls/output.txt");
    let failed = |error: std::io::Error| format!("cargo {}: {error}", args.join(" "));
    let output = File::create(&log).map_err(failed)?;
    let mut child = Command::new("cargo")
        .args(args)
        .current_dir(&tree.root)
        .env("CARGO_TARGET_DIR", &tree.target)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        // Its children end with it.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let deadline = Instant::now() + limit;
    let ended = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status.success());
        }
        if Instant::now() > deadline {
            let group = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            child.wait().map_err(failed)?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    Ok((ended, read(&log)))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_of_the_test_is_a_failure() {
        let text = "thread 'tokio' (3) panicked at x.rs:1:2:\nother\n\
                    thread 'a::b' (2) panicked at y.rs:3:4:\nlost [1]\n  left: 1\n right: 2\n\
                    test result: FAILED. 0 passed; 1 failed; 0 ignored";
        let Outcome::Failed(first) = judged(Some(false), text, "a::b") else {
            panic!("not failed")
        };
        assert_eq!(first, "lost [1] left: 1 right: 2");
        let compile = judged(Some(false), "error[E0425]: cannot find value", "a::b");
        assert!(matches!(compile, Outcome::Strange(_)));
        let nothing = judged(Some(true), "test result: ok. 0 passed; 0 failed", "a::b");
        assert!(matches!(nothing, Outcome::Strange(_)));
        assert!(matches!(judged(None, text, "a::b"), Outcome::Hangs));
    }

    #[test]
    fn each_line_to_disable_is_there_once_and_all_fifteen_have_one() {
        for number in 1..=15 {
            assert!(
                LIST.iter().any(|pitfall| pitfall.number == number),
                "{number}"
            );
        }
        for pitfall in LIST {
            let text = read(&crate::root().join(pitfall.file));
            tree::replaced(&text, pitfall).unwrap();
        }
    }
}
