//! Interaction scripts: each `scripts/*.txt` holds what happens to the engine, then `----`, then
//! all that it says to it. `UPDATE=1 cargo test -p steadfast-engine --test scripts` writes the
//! second part anew; read the difference before you commit it.
//!
//! A line is a verb with words and `key=value` pairs; indented lines below `complete_workflow` are
//! the commands. The verbs are in `verbs/`, one file per group. After each step the invariants of
//! the state and what a new leader would resume are checked. At the end each row of each transition
//! table must have been taken by some script.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use steadfast_engine::transition::TABLES;

#[expect(dead_code, reason = "only long histories count what they cost")]
#[path = "workflows/cost.rs"]
mod cost;
#[path = "workflows/memory.rs"]
mod memory;
#[path = "verbs/verbs.rs"]
mod verbs;
#[expect(dead_code, reason = "only long histories need a world without checks")]
#[path = "workflows/world.rs"]
mod world;

const SEPARATOR: &str = "----";

#[test]
fn scripts_have_their_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let only = std::env::var("SCRIPT").unwrap_or_default();
    let update = ["UPDATE", "UPDATE_EXPECT"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    let (mut differences, mut taken) = (String::new(), BTreeSet::new());
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        let (transcript, taken_here) = verbs::run(&name, script);
        taken.extend(taken_here);
        if transcript.trim() == expected.trim() {
            continue;
        }
        if update {
            let whole = format!(
                "{}\n{SEPARATOR}\n{}\n",
                script.trim_end(),
                transcript.trim_end()
            );
            std::fs::write(&path, whole).unwrap();
        } else {
            write!(differences, "{}", difference(&name, expected, &transcript)).unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
    if only.is_empty() {
        let rows = TABLES.into_iter().flatten().copied().copied();
        let missing: Vec<String> = rows
            .filter(|row| !taken.contains(row))
            .map(|row| row.to_string())
            .collect();
        assert!(
            missing.is_empty(),
            "no script takes these rows of the transition tables:\n{}",
            missing.join("\n")
        );
    }
}

/// The first lines that differ, with a few before them.
fn difference(name: &str, expected: &str, transcript: &str) -> String {
    let expected: Vec<&str> = expected.trim().lines().collect();
    let found: Vec<&str> = transcript.trim().lines().collect();
    let same = expected
        .iter()
        .zip(&found)
        .take_while(|(one, two)| one == two)
        .count();
    let mut text = format!("\n== {name}, transcript line {}\n", same + 1);
    for line in &found[same.saturating_sub(4)..same] {
        writeln!(text, "  {line}").unwrap();
    }
    for line in expected.iter().skip(same).take(4) {
        writeln!(text, "- {line}").unwrap();
    }
    for line in found.iter().skip(same).take(4) {
        writeln!(text, "+ {line}").unwrap();
    }
    text
}
