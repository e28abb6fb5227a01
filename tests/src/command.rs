//! The commands of the binary under test, as an operator types them.

use crate::Error;
use crate::cluster::binary;
use serde_json::Value;
use std::process::Command;

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Answer {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
}

impl Answer {
    /// Standard output as JSON.
    ///
    /// # Errors
    /// [`Error::Program`] with both outputs when it is none.
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.out)
            .map_err(|error| Error::Program(format!("{error}: {} {}", self.out, self.err)))
    }

    /// The answer, when the command has succeeded.
    ///
    /// # Errors
    /// [`Error::Program`] with both outputs.
    pub fn succeeded(self) -> Result<Self, Error> {
        match self.code {
            Some(0) => Ok(self),
            _ => Err(Error::Program(format!("{self:?}"))),
        }
    }

    /// The one line on standard error, when the command has failed.
    ///
    /// # Errors
    /// [`Error::Program`] when it has not, or has said more or nothing.
    pub fn refused(self) -> Result<String, Error> {
        let lines = self
            .err
            .lines()
            .filter(|line| line.starts_with("steadfast:"));
        match (self.code, lines.collect::<Vec<_>>().as_slice()) {
            (Some(1 | 2), [line]) => Ok((*line).to_owned()),
            _ => Err(Error::Program(format!("{self:?}"))),
        }
    }
}

/// Runs `steadfast …` to its end.
///
/// # Errors
/// [`Error`] when it cannot be run.
pub async fn steadfast(args: &[&str]) -> Result<Answer, Error> {
    let mut command = Command::new(binary()?);
    command.args(args);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|error| Error::Program(error.to_string()))?
        .map_err(|error| Error::Io("steadfast".into(), error))?;
    Ok(Answer {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    })
}
