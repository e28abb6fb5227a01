//! Keeps the house tidy: arrows between rooms, sizes, banned words and calls, paths of one machine,
//! a row for every RPC, and a map that tells the truth.

use std::fs;
use std::path::{Path, PathBuf};

/// Files longer than this are split (tests counted apart would be kinder; this is simpler).
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_path_buf()
}

/// All files below a folder with one of the endings, as (path from the root, text).
fn files(below: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(
                    name.as_str(),
                    "target" | ".git" | "node_modules" | "__pycache__" | "steadfast-data"
                ) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let short = path
                    .strip_prefix(root())
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                found.push((short, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing to read below {below}");
    found
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// Lines of code (no comments) that hold a word, outside of the allowed files.
fn lines_with(below: &str, word: &str, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files(below, &[".rs"]) {
        if allowed.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(word) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn openraft_lives_in_node_raft_only() {
    for below in ["node", "tests", "sdk", "jepsen"] {
        let found = lines_with(below, &["openraft", "::"].concat(), &["node/raft/"]);
        assert_none("openraft outside node/raft", &found);
    }
    for (path, text) in files(".", &["Cargo.toml"]) {
        let names_it = text.lines().any(|line| line.starts_with("openraft"));
        let may = path == "Cargo.toml" || path == "node/raft/Cargo.toml";
        assert!(may || !names_it, "{path} depends on openraft");
    }
}

#[test]
fn sled_lives_in_one_file() {
    let allowed = ["node/storage/src/state/sled_index.rs"];
    assert_none(
        "sled:: outside its file",
        &lines_with("node", "sled::", &allowed),
    );
}

#[test]
fn only_what_plays_a_client_imports_the_sdk() {
    // Decision 0006.
    let clients = ["node/src/cli/bench", "node/src/cli/demo.rs", "node/tests"];
    assert_none("sdk", &lines_with("node", "steadfast_sdk", &clients));
}

#[test]
fn engine_knows_no_world() {
    for word in [
        "tokio",
        "tonic",
        "tracing",
        "rand::",
        "std::time",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "HashMap",
        "HashSet",
        "Instant",
        "SystemTime",
        ".powf(",
        ".powi(",
    ] {
        assert_none(
            &format!("`{word}` in the engine"),
            &lines_with("node/engine/src", word, &[]),
        );
    }
}

#[test]
fn engine_manifest_has_no_forbidden_dependency() {
    let manifest = fs::read_to_string(root().join("node/engine/Cargo.toml")).expect("manifest");
    let dependencies = manifest
        .split("[dev-dependencies]")
        .next()
        .unwrap_or_default();
    for word in [
        "tokio", "tonic", "tracing", "rand", "openraft", "sled", "services",
    ] {
        assert!(
            !dependencies.contains(word),
            "the engine must not depend on {word}"
        );
    }
}

#[test]
fn storage_knows_neither_engine_nor_raft() {
    for word in ["steadfast_engine", "steadfast_raft", "steadfast_proto"] {
        assert_none(word, &lines_with("node/storage", word, &[]));
    }
    assert_none(
        "steadfast_engine in raft",
        &lines_with("node/raft", "steadfast_engine", &[]),
    );
}

/// Decision 0008.
#[test]
fn planted_bugs_are_in_builds_of_tests_only() {
    let feature = "planted-bugs";
    for (path, text) in files(".", &["Cargo.toml"]) {
        let may = path == "node/planted/Cargo.toml" || path == "jepsen/Cargo.toml";
        assert!(may || !text.contains(feature), "{path} names {feature}");
        for line in text.lines().filter(|line| line.starts_with("default =")) {
            assert!(!line.contains("planted"), "{path}: {line}");
        }
    }
    let manifest = fs::read_to_string(root().join("jepsen/Cargo.toml")).expect("manifest");
    let (shipped, of_tests) = manifest
        .split_once("[dev-dependencies]")
        .expect("jepsen has dependencies of tests");
    assert!(!shipped.contains(feature) && of_tests.contains(feature));
    let bugs = fs::read_to_string(root().join("node/planted/src/lib.rs")).expect("the bugs");
    let refusal = "#[cfg(all(feature = \"planted-bugs\", not(debug_assertions)))]\ncompile_error!";
    assert!(bugs.contains(refusal), "a release refuses the feature");
    let manifest = fs::read_to_string(root().join("node/planted/Cargo.toml")).expect("manifest");
    assert!(
        !manifest.contains("dependencies]"),
        "the bugs know no other room"
    );
}

/// Jepsen's builds know one engine version more; what users get does not.
#[test]
fn the_next_engine_version_is_in_builds_of_jepsen_only() {
    let feature = "next-engine-version";
    for (path, text) in files(".", &["Cargo.toml"]) {
        let may = path == "node/planted/Cargo.toml" || path == "jepsen/Cargo.toml";
        assert!(may || !text.contains(feature), "{path} names {feature}");
    }
}

#[test]
fn only_two_command_lines_choose_a_bug_and_no_checker_knows_of_one() {
    let allowed = [
        "jepsen/src/bin/planted.rs",
        "jepsen/src/bin/torture.rs",
        "jepsen/tests/planted_bugs.rs",
    ];
    for below in ["jepsen", "tests", "sdk"] {
        let found = lines_with(below, &["steadfast_", "planted"].concat(), &allowed);
        assert_none("who knows of planted bugs", &found);
    }
    let choosers = lines_with("node", "plant(", &["node/planted/"]);
    assert_none("who chooses a bug", &choosers);
}

#[test]
fn clocks_and_chance_come_through_their_seams() {
    let clocks = [
        "node/src/clock.rs",
        "node/src/clock/",
        "node/src/cli/",
        "node/src/cli.rs",
        "node/raft/tests/",
        "node/storage/tests/",
        "node/tests/",
    ];
    for word in ["SystemTime::now", "std::time::Instant::now"] {
        assert_none(word, &lines_with("node", word, &clocks));
    }
    let chance = [
        "node/src/entropy.rs",
        "node/src/cli/",
        "node/raft/tests/",
        "node/tests/",
        "node/storage/tests/",
    ];
    for word in ["thread_rng", "rand::rng(", "rand::random", "OsRng"] {
        assert_none(word, &lines_with("node", word, &chance));
    }
}

#[test]
fn no_file_is_too_long_and_no_name_is_banned() {
    let mut found = Vec::new();
    for (path, text) in files(".", &[".rs"]) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path}: {lines} lines, {LINES_MAX} at most"));
        }
        let name = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        if matches!(
            name,
            "utils" | "util" | "common" | "helpers" | "manager" | "types" | "mod" | "misc"
        ) && path != "node/raft/src/types.rs"
        {
            found.push(format!("{path}: a name that says nothing"));
        }
    }
    assert_none("files", &found);
}

#[test]
fn no_left_overs() {
    // Written in parts, so that this file does not find itself.
    for word in [
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["dbg", "!("].concat(),
        ["#[ign", "ore"].concat(),
    ] {
        for below in ["node", "proto", "sdk", "jepsen", "tests"] {
            assert_none(&word, &lines_with(below, &word, &[]));
        }
    }
}

#[test]
fn no_path_of_one_machine() {
    let endings = [
        ".rs", ".toml", ".md", ".py", ".js", ".ts", ".json", ".txt", ".sh", "run", ".yml",
    ];
    let mut found = Vec::new();
    for (path, text) in files(".", &endings) {
        for (number, line) in text.lines().enumerate() {
            for word in [
                ["/ro", "ot/"].concat(),
                ["/wo", "rk/"].concat(),
                ["/ho", "me/"].concat(),
            ] {
                if line.contains(&word) {
                    found.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    assert_none("absolute paths", &found);
}

#[test]
fn lock_files_name_no_registry_address() {
    for (path, text) in files("tests/sdk", &["package-lock.json", "requirements.txt"]) {
        assert!(
            !text.contains("\"resolved\"") && !text.contains("http://"),
            "{path}"
        );
    }
}

#[test]
fn every_path_in_the_map_exists() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut found = Vec::new();
    for word in map.split('`').skip(1).step_by(2) {
        let looks_like_path = word.contains('/') && !word.contains([' ', '*', '<', '{', ':', '(']);
        let known = [
            "node/", "proto/", "sdk/", "tests/", "jepsen/", "docs/", ".ci/",
        ];
        if looks_like_path
            && known.iter().any(|prefix| word.starts_with(prefix))
            && !root().join(word).exists()
        {
            found.push(word.to_owned());
        }
    }
    assert_none("ARCHITECTURE.md names what is not there", &found);
}

/// `docs/api.md` has a row for each RPC of the two services, with the state the code gives it.
#[test]
fn every_rpc_has_a_row() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let table = read("docs/api.md");
    let mut found = Vec::new();
    let mut count = 0;
    for (file, state) in [
        ("node/src/api/service.rs", "served"),
        ("node/src/api/unimplemented.rs", "UNIMPLEMENTED"),
    ] {
        for line in read(file).lines() {
            let Some(name) = rpc_of(line, state == "served") else {
                continue;
            };
            count += 1;
            if !table.contains(&format!("| {name} | {state}")) {
                found.push(format!("{name} is {state}"));
            }
        }
    }
    assert!(count > 130, "the list of RPCs is complete: {count}");
    assert_none("docs/api.md lacks a row", &found);
}

/// The RPC of a line like `start(StartRequest) -> StartResponse = module::handler;`, or, of those
/// that are not built, `… -> StartResponse: "text"`.
fn rpc_of(line: &str, served: bool) -> Option<&str> {
    let (head, tail) = line.split_once("Request) -> ")?;
    let (snake, name) = head.trim().split_once('(')?;
    let is_row = snake.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let right = if served {
        tail.contains(" = ")
    } else {
        tail.contains(": \"")
    };
    (is_row && right).then_some(name)
}

#[test]
fn every_decision_is_numbered_and_whole() {
    for (path, text) in files("docs/decisions", &[".md"]) {
        for part in [
            "## Context",
            "## Decision",
            "## Consequences",
            "## What would change our mind",
        ] {
            assert!(text.contains(part), "{path} lacks `{part}`");
        }
    }
}
