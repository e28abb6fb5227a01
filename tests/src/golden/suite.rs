//! One suite's runner, run to its end or to its limit.

use super::outcome::{self, Outcome, Outcomes};
use crate::Error;
use crate::program::Program;
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
    /// Plays what matches the patterns; all when there are none.
    ///
    /// # Errors
    /// [`Error`] when the runner can't be started, hangs, or says nothing.
    pub async fn play(&self, address: &str, patterns: &[String]) -> Result<Outcomes, Error> {
        let (lines, code) = self.run(address, patterns).await?;
        let outcomes = outcome::read(&self.name, &lines);
        // 1 is: some failed.
        if matches!(code, Some(0 | 1)) && !outcomes.is_empty() {
            return Ok(outcomes);
        }
        let last = lines.len().saturating_sub(40);
        Err(Error::Program(format!(
            "{}'s runner ended with {code:?}:\n{}",
            self.name,
            lines[last..].join("\n")
        )))
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
        let prefix = format!("{}/", self.name);
        let names: Vec<String> = failed
            .iter()
            .filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned))
            .collect();
        if names.is_empty() || names.len() > MOST_SECOND_TRIES {
            return Ok(Vec::new());
        }
        let again = self.play(address, &names).await?;
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

    async fn run(
        &self,
        address: &str,
        patterns: &[String],
    ) -> Result<(Vec<String>, Option<i32>), Error> {
        let mut command = Command::new(&self.python);
        command
            .args(["run.py", "--address", address])
            .args(patterns)
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
