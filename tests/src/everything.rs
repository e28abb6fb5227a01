//! A program that uses everything of an official SDK at once, through a cluster's front door. It
//! checks itself that what was acknowledged happened exactly once.

use crate::Error;
use crate::cluster::Cluster;
use crate::front_door::FrontDoor;
use crate::program::Program;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

const QUEUE: &str = "everything";
/// It gives its workflows a minute to end, and then looks at what their children came to.
const END_LIMIT: Duration = Duration::from_secs(100);

/// One that runs.
#[derive(Debug)]
pub struct Everything {
    program: Program,
    _door: FrontDoor,
}

/// How one ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; an error when it did not end in time.
    pub status: Result<ExitStatus, Error>,
    /// How long it took to end.
    pub took: Duration,
    /// All that it printed.
    pub lines: String,
    /// What it did, a line in all when all is well.
    pub done: Vec<String>,
}

impl Everything {
    /// Starts one and waits until it works.
    ///
    /// # Errors
    /// [`Error`] when it does not within a minute.
    pub async fn start(cluster: &Cluster, command: &mut Command) -> Result<Self, Error> {
        let door = FrontDoor::open(cluster).await?;
        command
            .env("ADDRESS", &door.address)
            .env("TASK_QUEUE", QUEUE);
        let mut program = Program::start("everything", command)?;
        program
            .wait_for_line("READY", Duration::from_secs(60))
            .await?;
        Ok(Self {
            program,
            _door: door,
        })
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be asked.
    pub async fn end(mut self) -> Result<Ended, Error> {
        let began = Instant::now();
        self.program.terminate()?;
        let status = self.program.wait(END_LIMIT).await;
        let took = began.elapsed();
        // The collector of its lines may be a moment behind.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(Ended {
            status,
            took,
            lines: self.program.lines().join("\n"),
            done: self.program.lines_with("DONE"),
        })
    }
}

impl Ended {
    /// It found that all is well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(&self.status, Ok(status) if status.success())
    }
}

/// Shown with `--nocapture`, for the record.
#[expect(clippy::print_stdout, reason = "that is what it is for")]
pub fn tell(line: &str) {
    println!("{line}");
}
