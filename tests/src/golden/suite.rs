//! One suite's runner, run to its end or to its limit.

use super::outcome::{self, Outcome, Outcomes};
use crate::program::Program;
use crate::{Error, io};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A suite takes one to three minutes; more than this and it hangs.
const LIMIT: Duration = Duration::from_mins(15);
/// More failures than this are no accident of a busy machine.
const MOST_SECOND_TRIES: usize = 40;

/// A folder with a `run.py`.
#[derive(Debug, Clone)]
pub struct Suite {
    /// `histories` or `probes`.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// The interpreter that has the official SDK and grpcio.
    pub python: PathBuf,
}

impl Suite {
    /// The names that match the patterns and have a recording; all when there are no patterns.
    ///
    /// # Errors
    /// [`Error`] when the runner can't be started, or a file of recordings can't be read.
    pub async fn names(&self, patterns: &[String]) -> Result<Vec<String>, Error> {
        let args: Vec<String> = std::iter::once("--list".to_owned())
            .chain(patterns.iter().cloned())
            .collect();
        let (lines, code) = self.run(&args).await?;
        // 2 is: nothing matches.
        if !matches!(code, Some(0 | 2)) {
            return Err(self.ended(&lines, code));
        }
        let mut names = Vec::new();
        let mut recorded = Recorded::default();
        for line in lines {
            // `name: what it shows`, `group/name`, and words for people.
            let name = line
                .split(": ")
                .next()
                .unwrap_or_default()
                .trim_end_matches(':');
            if !name.is_empty() && !name.contains(' ') && recorded.hold(&self.folder, name)? {
                names.push(format!("{}/{name}", self.name));
            }
        }
        Ok(names)
    }

    /// Plays these names.
    ///
    /// # Errors
    /// [`Error`] when the runner can't be started, hangs, or says nothing.
    pub async fn play(
        &self,
        address: &str,
        names: &[String],
        tries: Tries,
    ) -> Result<Outcomes, Error> {
        let prefix = format!("{}/", self.name);
        let names = names.iter().filter_map(|name| name.strip_prefix(&prefix));
        let mut args = vec!["--address".to_owned(), address.to_owned()];
        if tries == Tries::Two {
            args.extend(["--retries", "1", "--jobs", "8"].map(str::to_owned));
        }
        // A pattern is also a part of a name: what is played too much does no harm.
        args.extend(names.map(str::to_owned));
        let (lines, code) = self.run(&args).await?;
        let outcomes = outcome::read(&self.name, &lines);
        // 1 is: some failed.
        if matches!(code, Some(0 | 1)) && !outcomes.is_empty() {
            return Ok(outcomes);
        }
        Err(self.ended(&lines, code))
    }

    fn ended(&self, lines: &[String], code: Option<i32>) -> Error {
        let last = lines.len().saturating_sub(40);
        Error::Program(format!(
            "{}'s runner ended with {code:?}:\n{}",
            self.name,
            lines[last..].join("\n")
        ))
    }

    /// Plays those again that failed although they should not, for a busy machine's sake. Gives
    /// the names that pass now.
    ///
    /// # Errors
    /// As [`Suite::play`].
    pub async fn play_again(
        &self,
        address: &str,
        failed: &[String],
        outcomes: &mut Outcomes,
    ) -> Result<Vec<String>, Error> {
        if failed.is_empty() || failed.len() > MOST_SECOND_TRIES {
            return Ok(Vec::new());
        }
        let again = self.play(address, failed, Tries::One).await?;
        let passed: Vec<String> = failed
            .iter()
            .filter(|name| again.get(*name) == Some(&Outcome::Passed))
            .cloned()
            .collect();
        for name in &passed {
            outcomes.insert(name.clone(), Outcome::Passed);
        }
        Ok(passed)
    }

    async fn run(&self, args: &[String]) -> Result<(Vec<String>, Option<i32>), Error> {
        let mut command = Command::new(&self.python);
        command
            .arg("run.py")
            .args(args)
            .current_dir(&self.folder)
            // The suites may lie on a read-only disk.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1");
        let mut runner = Program::start(&self.name, &mut command)?;
        let ended = runner.wait(LIMIT).await;
        // The collector of its lines may be a moment behind.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let lines = runner.lines();
        let status = ended.map_err(|error| {
            let last = lines.len().saturating_sub(20);
            Error::TimedOut(format!("{error}:\n{}", lines[last..].join("\n")))
        })?;
        Ok((lines, status.code()))
    }
}

/// How often the runner tries what fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// Once: [`Suite::play_again`] tells which needed a second try.
    One,
    /// Twice, and more at once: for what is expected to fail, which mostly waits.
    Two,
}

/// Which names have a recording. The files of the groups that were asked for.
#[derive(Debug, Default)]
struct Recorded(BTreeMap<String, serde_json::Value>);

impl Recorded {
    /// Of a scenario always; of `group/probe` when the group's file holds it.
    fn hold(&mut self, folder: &Path, name: &str) -> Result<bool, Error> {
        let Some((group, probe)) = name.split_once('/') else {
            return Ok(true);
        };
        if !self.0.contains_key(group) {
            let path = folder.join("expected").join(format!("{group}.json"));
            let bytes = std::fs::read(&path).map_err(io(path.display().to_string()))?;
            let value = serde_json::from_slice(&bytes)
                .map_err(|error| Error::Program(format!("{}: {error}", path.display())))?;
            self.0.insert(group.to_owned(), value);
        }
        Ok(self
            .0
            .get(group)
            .is_some_and(|group| group.get(probe).is_some()))
    }
}

/// The suites below a folder, or none when the folder is not there.
#[must_use]
pub fn suites(golden: &Path, python: &Path) -> Vec<Suite> {
    let suite = |name: &str| Suite {
        name: name.to_owned(),
        folder: golden.join(name),
        python: python.to_owned(),
    };
    let mut suites = vec![suite("histories"), suite("probes")];
    suites.retain(|suite| suite.folder.join("run.py").is_file());
    suites
}
