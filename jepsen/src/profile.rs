//! Long profiles: many seeds, one after the other, over as many starts as they take.
//!
//! What came of each seed is one line of a file in the profile's folder. A start reads it and goes on
//! with the seeds that are missing; a line that a kill cut off is forgotten and its seed done again.
//! Seeds of another commit do not count for this one: give each commit its own folder.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many seeds, and how long each lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// As it is named on the command line.
    pub name: &'static str,
    /// Those of CI come before.
    pub seeds: Range<u64>,
    /// How long clients call and faults happen.
    pub lasts: Duration,
}

/// CI simulates the seeds before this one.
const AFTER_CI: u64 = 101;

/// Of the simulator: a week of virtual time.
pub const SIMULATION_NIGHTLY: Profile = Profile {
    name: "nightly",
    seeds: AFTER_CI..AFTER_CI + 10_000,
    lasts: Duration::from_secs(60),
};

/// Of real processes: seven hours, and the kinds of faults follow from the seed.
pub const PROCESSES_NIGHTLY: Profile = Profile {
    name: "nightly",
    seeds: AFTER_CI..AFTER_CI + 200,
    lasts: Duration::from_secs(120),
};

/// What came of a seed, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    Held,
    /// Something did not.
    Violated,
    /// The machine failed: the next start does the seed again.
    Unknown,
}

/// A seed that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Which.
    pub seed: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// Simulated, or with something broken.
    pub seconds: f64,
    /// Calls of clients and workers.
    pub operations: u64,
    /// How often each fault happened and each rare situation was met.
    pub seen: BTreeMap<String, u64>,
    /// What did not hold.
    pub violations: Vec<String>,
    /// Does the seed again.
    pub again: String,
}

/// All seeds together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Done, whatever came of them.
    pub seeds: usize,
    /// Of their seconds.
    pub seconds: f64,
    /// Of their operations.
    pub operations: u64,
    /// Seeds in which something did not hold.
    pub violated: usize,
    /// Seeds of which nothing is known.
    pub unknown: usize,
    /// Of what was seen.
    pub seen: BTreeMap<String, u64>,
}

/// Why progress cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// A file or folder.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// Two starts would do the same seeds.
    #[error("{0}: another start uses it")]
    InUse(String),
    /// Not one of our lines.
    #[error("{0}, line {1}: {2}")]
    Line(String, usize, #[source] serde_json::Error),
}

/// The file with a line for each seed.
#[derive(Debug)]
pub struct Progress {
    path: PathBuf,
    file: File,
    done: BTreeMap<u64, Done>,
}

/// The name of the file in its folder.
const FILE: &str = "progress.jsonl";

impl Progress {
    /// Opens or begins the progress of a folder; nobody else may have it open.
    ///
    /// # Errors
    /// When somebody has, or the file cannot be read.
    pub fn open(folder: &Path) -> Result<Progress, ProgressError> {
        let path = folder.join(FILE);
        let name = path.display().to_string();
        let failed = |error| ProgressError::Io(name.clone(), error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ProgressError::InUse(name)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        // A kill may have cut the last line off.
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut done = BTreeMap::new();
        for (number, line) in (1..).zip(text[..whole].lines()) {
            let line: Done = serde_json::from_str(line)
                .map_err(|error| ProgressError::Line(name.clone(), number, error))?;
            done.insert(line.seed, line);
        }
        Ok(Progress { path, file, done })
    }

    /// Keeps what came of a seed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&mut self, done: Done) -> Result<(), ProgressError> {
        let failed = |error| ProgressError::Io(self.path.display().to_string(), error);
        let line = serde_json::to_string(&done).map_err(|error| failed(error.into()))?;
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(failed)?;
        self.done.insert(done.seed, done);
        Ok(())
    }

    /// The seeds of which something is known.
    #[must_use]
    pub fn known(&self) -> BTreeSet<u64> {
        let known = self.done.values();
        let known = known.filter(|done| done.verdict != Verdict::Unknown);
        known.map(|done| done.seed).collect()
    }

    /// Seeds in which something did not hold, or of which nothing is known.
    pub fn bad(&self) -> impl Iterator<Item = &Done> {
        let all = self.done.values();
        all.filter(|done| done.verdict != Verdict::Held)
    }

    /// All seeds so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for done in self.done.values() {
            totals.seeds += 1;
            totals.seconds += done.seconds;
            totals.operations += done.operations;
            match done.verdict {
                Verdict::Held => {}
                Verdict::Violated => totals.violated += 1,
                Verdict::Unknown => totals.unknown += 1,
            }
            for (name, times) in &done.seen {
                *totals.seen.entry(name.clone()).or_default() += times;
            }
        }
        totals
    }
}

impl Totals {
    /// Nothing that must not be was found, and of every seed something is known.
    #[must_use]
    pub fn held(&self) -> bool {
        self.violated == 0 && self.unknown == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(seed: u64, verdict: Verdict) -> Done {
        Done {
            seed,
            verdict,
            seconds: 1.5,
            operations: 10,
            seen: [("Kill".to_owned(), 2)].into(),
            violations: Vec::new(),
            again: format!("cargo xtask sim --seed {seed}"),
        }
    }

    #[test]
    fn another_start_goes_on_where_the_first_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Progress::open(folder.path()).unwrap();
        assert!(first.known().is_empty());
        first.keep(done(101, Verdict::Held)).unwrap();
        first.keep(done(103, Verdict::Violated)).unwrap();
        first.keep(done(104, Verdict::Unknown)).unwrap();
        let second = Progress::open(folder.path());
        assert!(matches!(second, Err(ProgressError::InUse(_))));
        drop(first);
        let mut second = Progress::open(folder.path()).unwrap();
        assert_eq!(second.known(), [101, 103].into());
        assert!(!second.totals().held());
        // What is unknown is done again, and counts once.
        second.keep(done(104, Verdict::Held)).unwrap();
        let totals = second.totals();
        assert_eq!((totals.seeds, totals.violated, totals.unknown), (3, 1, 0));
        assert_eq!((totals.seconds, totals.operations), (4.5, 30));
        assert_eq!(totals.seen["Kill"], 6);
        let bad: Vec<u64> = second.bad().map(|done| done.seed).collect();
        assert_eq!(bad, [103]);
    }

    #[test]
    fn a_line_that_a_kill_cut_off_is_done_again_and_a_strange_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut progress = Progress::open(folder.path()).unwrap();
        progress.keep(done(101, Verdict::Held)).unwrap();
        progress.keep(done(102, Verdict::Held)).unwrap();
        drop(progress);
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut progress = Progress::open(folder.path()).unwrap();
        assert_eq!(progress.known(), [101].into());
        progress.keep(done(102, Verdict::Held)).unwrap();
        drop(progress);
        let progress = Progress::open(folder.path()).unwrap();
        assert_eq!(progress.known(), [101, 102].into());
        drop(progress);
        std::fs::write(&path, "what is this\n").unwrap();
        let strange = Progress::open(folder.path());
        assert!(matches!(strange, Err(ProgressError::Line(_, 1, _))));
    }
}
