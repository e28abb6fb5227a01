//! `cargo xtask plant`: the tests of the tests. Each bug that can be planted in the nodes is planted,
//! and the simulator tries seeds until it finds that something is wrong.
//!
//! Two controls: a seed counts only when it passes without the bug; and it is told again with the
//! simulator's checks off, which shows what only they can find. What nodes say of themselves (a
//! failed assertion, a node that refuses to go on) counts then, too.

use crate::{root, say, simulation, target_dir};
use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

/// Which bugs, and how long each is looked for.
#[derive(Debug, clap::Args)]
pub(crate) struct PlantArgs {
    /// Only these; all when none is named
    #[arg(long = "bug")]
    bugs: Vec<String>,
    /// So many seeds are tried at most
    #[arg(long, default_value_t = 40)]
    seeds: u64,
    /// How long clients call and faults happen in each, in simulated seconds
    #[arg(long, default_value_t = 60)]
    ticks: u64,
    /// The table goes into docs/planted-bugs.md, below its text
    #[arg(long)]
    write: bool,
    /// Takes the program as it was built last
    #[arg(long)]
    no_build: bool,
}

/// A bug as the simulator names it.
struct Bug {
    name: String,
    room: String,
    what: String,
}

/// Who found a bug, in which seed, after how many.
struct Caught {
    seed: u64,
    seeds: u64,
    by: Vec<(String, String)>,
}

/// Where the table begins in its document.
const TABLE: &str = "| bug |";
const DOCUMENT: &str = "docs/planted-bugs.md";

/// Looks for all bugs; fails when one is not found.
pub(crate) fn run(args: &PlantArgs) -> Result<(), String> {
    if !args.no_build {
        simulation::build_with_bugs()?;
    }
    let bugs = chosen(args)?;
    let mut table = format!(
        "{TABLE} what goes wrong | room | found by | seed | after seeds | ticks | real s | checks off |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    let mut missed = Vec::new();
    for bug in &bugs {
        let began = Instant::now();
        let caught = hunt(args, bug)?;
        let real = began.elapsed().as_secs_f64();
        let Some(caught) = caught else {
            let row = format!(
                "NOT FOUND | | {} | {} | {real:.0} | |",
                args.seeds, args.ticks
            );
            say(&format!("{}: {row}", bug.name));
            // Writing to a string cannot fail.
            writeln!(
                table,
                "| `{}` | {} | {} | {row}",
                bug.name, bug.what, bug.room
            )
            .ok();
            missed.push(bug.name.clone());
            continue;
        };
        let off = again_without_checks(args, bug, caught.seed)?;
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} | {} | {real:.0} | {} |",
            bug.name,
            bug.what,
            bug.room,
            shown(&caught.by),
            caught.seed,
            caught.seeds,
            args.ticks,
            off.map_or_else(|| "passes".to_owned(), |by| shown(&by)),
        )
        .ok();
        let by = shown(&caught.by);
        say(&format!(
            "{}: seed {}, {real:.0} s: {by}",
            bug.name, caught.seed
        ));
    }
    say(&format!("\n{table}"));
    if args.write {
        write_document(&table)?;
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(format!("bugs that no seed finds: {}", missed.join(", ")))
}

fn chosen(args: &PlantArgs) -> Result<Vec<Bug>, String> {
    let mut bugs = Vec::new();
    for line in simulator(&["--list"])?.1.lines() {
        let mut parts = line.splitn(3, '|').map(str::to_owned);
        if let (Some(name), Some(room), Some(what)) = (parts.next(), parts.next(), parts.next()) {
            bugs.push(Bug { name, room, what });
        }
    }
    if let Some(unknown) = args
        .bugs
        .iter()
        .find(|name| !bugs.iter().any(|bug| bug.name == **name))
    {
        return Err(format!("there is no bug {unknown}"));
    }
    bugs.retain(|bug| args.bugs.is_empty() || args.bugs.contains(&bug.name));
    Ok(bugs)
}

fn hunt(args: &PlantArgs, bug: &Bug) -> Result<Option<Caught>, String> {
    let (seeds, ticks) = (format!("1..{}", args.seeds + 1), args.ticks.to_string());
    let (passed, text) = simulator(&[
        "--until-violation",
        "--plant",
        &bug.name,
        "--seeds",
        &seeds,
        "--ticks",
        &ticks,
    ])?;
    match caught(&text) {
        Some(caught) => Ok(Some(caught)),
        None if passed => Ok(None),
        None => Err(format!("the simulator did not say what it found:\n{text}")),
    }
}

/// Who finds the bug in its seed with the checks off; `None` when nobody does.
fn again_without_checks(
    args: &PlantArgs,
    bug: &Bug,
    seed: u64,
) -> Result<Option<Vec<(String, String)>>, String> {
    let (seed, ticks) = (seed.to_string(), args.ticks.to_string());
    let (_, text) = simulator(&[
        "--until-violation",
        "--checkers",
        "off",
        "--plant",
        &bug.name,
        "--seed",
        &seed,
        "--ticks",
        &ticks,
    ])?;
    Ok(caught(&text).map(|caught| caught.by))
}

/// Runs the simulator: whether it passed, and what it said.
fn simulator(args: &[&str]) -> Result<(bool, String), String> {
    let mut command = Command::new(target_dir().join("debug/planted"));
    let output = command.args(args).current_dir(root()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.success(), text))
}

/// Reads a line `CAUGHT seed 3, 2 seeds: checker one, assertion other`.
fn caught(text: &str) -> Option<Caught> {
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("CAUGHT seed ") {
            let (counts, by) = rest.split_once(": ")?;
            let (seed, seeds) = counts.split_once(", ")?;
            let by = by.split(", ").filter_map(|by| by.split_once(' '));
            return Some(Caught {
                seed: seed.parse().ok()?,
                seeds: seeds.split_once(' ')?.0.parse().ok()?,
                by: by
                    .map(|(layer, name)| (layer.into(), name.into()))
                    .collect(),
            });
        }
    }
    None
}

/// By layer: `checker: one, other; node: nodes_run`.
fn shown(by: &[(String, String)]) -> String {
    let mut layers: Vec<(&str, Vec<&str>)> = Vec::new();
    for (layer, name) in by {
        match layers.iter_mut().find(|(known, _)| known == layer) {
            Some((_, names)) => names.push(name),
            None => layers.push((layer, vec![name])),
        }
    }
    let layers: Vec<String> = layers
        .into_iter()
        .map(|(layer, names)| format!("{layer}: {}", names.join(", ")))
        .collect();
    layers.join("; ")
}

/// The document's text stays, its table is replaced.
fn write_document(table: &str) -> Result<(), String> {
    let path = root().join(DOCUMENT);
    let failed = |error: std::io::Error| format!("{DOCUMENT}: {error}");
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let head = text.split(TABLE).next().unwrap_or_default();
    std::fs::write(&path, format!("{head}{table}")).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_simulator_says_is_read() {
        let text = "seed 3: 3 nodes\nCAUGHT seed 3, 2 seeds: assertion a, checker b, checker c\n";
        let found = caught(text).expect("it is there");
        assert_eq!((found.seed, found.seeds), (3, 2));
        assert_eq!(shown(&found.by), "assertion: a; checker: b, c");
        assert!(caught("2 of 2 seeds\n").is_none());
    }
}
