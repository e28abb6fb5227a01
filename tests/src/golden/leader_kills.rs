//! Scenarios played while the leader is killed again and again at moments drawn from a seed.

use super::outcome::{self, Outcome, Outcomes};
use super::sequence;
use super::suite::Suite;
use crate::cluster::Cluster;
use crate::program::Program;
use crate::{Error, io};
use rand::Rng;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Much more than all scenarios take, each with a few lost tasks.
const LIMIT: Duration = Duration::from_mins(30);
/// From one kill to the next, in milliseconds.
const BETWEEN: std::ops::Range<u64> = 300..2_500;
/// From a kill to the restart, in milliseconds.
const DOWN: std::ops::Range<u64> = 0..1_000;

/// What came out.
#[derive(Debug, Default)]
pub struct Killed {
    /// By `suite/name`.
    pub outcomes: Outcomes,
    /// How often a leader was killed.
    pub kills: usize,
}

/// Draws so many names; the same seed draws the same ones.
#[must_use]
pub fn draw(mut names: Vec<String>, count: usize, seed: u64) -> Vec<String> {
    names.sort();
    names.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    names.truncate(count);
    names
}

/// Plays the names, kills leaders meanwhile, and compares with the recordings.
///
/// # Errors
/// [`Error`] when the driver can't be started or hangs, or no leader comes up again.
pub async fn play(
    cluster: &mut Cluster,
    suite: &Suite,
    driver: &Path,
    names: &[String],
    seed: u64,
) -> Result<Killed, Error> {
    let out = tempfile::tempdir().map_err(io("temporary folder"))?;
    let prefix = format!("{}/", suite.name);
    let names = names.iter().filter_map(|name| name.strip_prefix(&prefix));
    let mut command = Command::new(&suite.python);
    command
        .args([driver, &suite.folder])
        .arg(&cluster.addresses(1).grpc)
        .arg(out.path())
        .args(names)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    let mut player = Program::start("play.py", &mut command)?;
    player
        .wait_for_line("READY", Duration::from_mins(1))
        .await?;
    let kills = kill_leaders(cluster, &mut player, seed).await?;
    // The collector of its lines may be a moment behind.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut outcomes = outcome::read(&suite.name, &player.lines());
    for (name, outcome) in &mut outcomes {
        if *outcome == Outcome::Passed {
            *outcome = compared(suite, out.path(), name.trim_start_matches(&prefix))?;
        }
    }
    Ok(Killed { outcomes, kills })
}

/// Until the player ends.
async fn kill_leaders(
    cluster: &mut Cluster,
    player: &mut Program,
    seed: u64,
) -> Result<usize, Error> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut kills = 0;
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let pause = Duration::from_millis(random.random_range(BETWEEN));
        match player.wait(pause).await {
            Ok(_) => return Ok(kills),
            Err(Error::TimedOut(_)) if tokio::time::Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        kills += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(DOWN))).await;
        cluster.restart(leader)?;
        cluster.wait_ready(leader).await?;
    }
}

fn compared(suite: &Suite, out: &Path, name: &str) -> Result<Outcome, Error> {
    let read = |path: std::path::PathBuf| {
        std::fs::read_to_string(&path).map_err(io(path.display().to_string()))
    };
    let expected = read(suite.folder.join("expected").join(format!("{name}.txt")))?;
    let actual = read(out.join(format!("{name}.txt")))?;
    let differences = sequence::differences(&expected, &actual);
    if differences.is_empty() {
        return Ok(Outcome::Passed);
    }
    let whole = actual.lines().map(|line| format!("    {line}\n"));
    let mut details: String = differences
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect();
    details.extend(whole);
    Ok(Outcome::Failed(details))
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn a_seed_draws_the_same_names() {
        let names: Vec<String> = (0..50).map(|n| format!("histories/{n}")).collect();
        let mut reversed = names.clone();
        reversed.reverse();
        let drawn = draw(names.clone(), 30, 7);
        assert_eq!(drawn.len(), 30);
        assert_eq!(drawn, draw(reversed, 30, 7));
        assert_ne!(drawn, draw(names.clone(), 30, 8));
        assert_eq!(draw(names, 100, 7).len(), 50);
    }
}
