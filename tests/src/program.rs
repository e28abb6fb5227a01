//! A child process whose lines are collected; killed by pid when dropped.

use crate::{Error, io};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts a program; its output and its errors are collected as lines.
    ///
    /// # Errors
    /// [`Error::Io`] when it can't be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self, Error> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io(format!("start {name}: {command:?}")))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = child.stdout.take() {
            collect(output, Arc::clone(&lines));
        }
        if let Some(errors) = child.stderr.take() {
            collect(errors, Arc::clone(&lines));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
        })
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The lines that begin with a word.
    #[must_use]
    pub fn lines_with(&self, prefix: &str) -> Vec<String> {
        self.lines()
            .into_iter()
            .filter(|line| line.starts_with(prefix))
            .collect()
    }

    /// Waits until a line begins so.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Program`] when it ended before.
    pub async fn wait_for_line(&mut self, prefix: &str, limit: Duration) -> Result<String, Error> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(line) = self.lines_with(prefix).into_iter().next() {
                return Ok(line);
            }
            let ended = self.child.try_wait().map_err(io(self.name.clone()))?;
            // The collectors may still be reading what it printed last.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let seen = || self.lines().join("\n");
            if let Some(status) = ended
                && self.lines_with(prefix).is_empty()
            {
                return Err(Error::Program(format!(
                    "{} ended ({status}):\n{}",
                    self.name,
                    seen()
                )));
            }
            if tokio::time::Instant::now() > deadline {
                let name = &self.name;
                return Err(Error::TimedOut(format!(
                    "{name}: no line `{prefix}`:\n{}",
                    seen()
                )));
            }
        }
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child
            .kill()
            .map_err(io(format!("kill {}", self.name)))?;
        self.child
            .wait()
            .map_err(io(format!("wait for {}", self.name)))
            .map(|_| ())
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn terminate(&self) -> Result<(), Error> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| Error::Io(format!("terminate {}", self.name), error.into()))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub async fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus, Error> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().map_err(io(self.name.clone()))? {
                return Ok(status);
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::TimedOut(format!("{} does not end", self.name)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

fn collect(output: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    });
}
