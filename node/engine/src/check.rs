//! Invariants of the state: what must hold after every mutation. Tests check them after each step,
//! `inspect` on a stopped node. Nothing here is called by `apply`.

mod history;
mod index;
mod outbox;
mod run;
mod update;

use crate::reply::Fault;
use crate::tables::keys::prefix_end;
use crate::tables::{Key, Record, Run, Tables};
use std::sync::Arc;

/// Violations that are collected at most: one is enough to know.
const VIOLATIONS_MAX: usize = 20;
/// Records that are read in one go.
const SLICE: usize = 1_000;

/// Checks the whole state and answers what is wrong with it; empty when all is well. Costs a read
/// of every record.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn check_state(tables: &dyn Tables) -> Result<Vec<String>, Fault> {
    let mut report = Report::default();
    let mut runs = Vec::new();
    for_each(tables, &[1], |_, record| {
        if let Record::Run(run) = record {
            runs.push(run.clone());
        }
    })?;
    for run in &runs {
        run::check(tables, run, &mut report)?;
        history::check(tables, run, &mut report)?;
    }
    index::check(tables, &runs, &mut report)?;
    Ok(report.violations)
}

/// Checks one run, without its history and without the indexes that point to it: what is cheap
/// enough to be done after each mutation. What is wrong in a history stays there, and
/// [`check_state`] finds it later.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn check_run(tables: &dyn Tables, run: &Run) -> Result<Vec<String>, Fault> {
    let mut report = Report::default();
    run::check(tables, run, &mut report)?;
    Ok(report.violations)
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    violations: Vec<String>,
}

impl Report {
    /// Notes a violation unless the condition holds.
    fn require(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds && self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(text());
        }
    }
}

/// Calls back for each record under a prefix, in slices.
fn for_each(
    tables: &dyn Tables,
    prefix: &[u8],
    mut visit: impl FnMut(&Key, &Record),
) -> Result<(), Fault> {
    let end = prefix_end(prefix);
    let mut from = Key::copy_from_slice(prefix);
    loop {
        let slice: Vec<(Key, Arc<Record>)> = tables.scan(&from, &end, SLICE, false)?;
        for (key, record) in &slice {
            visit(key, record);
        }
        let Some((last, _)) = slice.last().filter(|_| slice.len() == SLICE) else {
            return Ok(());
        };
        from = [last, &[0_u8][..]].concat().into();
    }
}

/// How many records lie under a prefix.
fn count(tables: &dyn Tables, prefix: &[u8]) -> Result<u64, Fault> {
    let mut number = 0;
    for_each(tables, prefix, |_, _| number += 1)?;
    Ok(number)
}
