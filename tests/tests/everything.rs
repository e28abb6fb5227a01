//! Official SDKs use everything at once while leaders die: one program each of Go and TypeScript
//! with children, updates, signals, queries, timers, cancellation, continue-as-new, through the
//! front door. Each program checks itself that what was acknowledged happened exactly once.
//!
//! `EVERYTHING_SECONDS` is how long leaders are killed, 20 s when left out; the full run has 60.

use std::process::Command;
use std::time::Duration;
use steadfast_tests::client::Client;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::everything::{Everything, tell};
use steadfast_tests::{Error, sdk};
use tokio::sync::Mutex;

/// From one kill of a leader to the next.
const BETWEEN: Duration = Duration::from_secs(5);
/// From a kill to the restart, as `dev` does it.
const DOWN: Duration = Duration::from_secs(1);
/// What a failed test shows of one run.
const SHOWN_EVENTS: usize = 60;
/// Two clusters and two SDKs at once are more than a small machine has.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_go_sdk_uses_everything_while_leaders_die() -> Result<(), Error> {
    play(sdk::go("everything")?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typescript_sdk_uses_everything_while_leaders_die() -> Result<(), Error> {
    play(sdk::typescript("everything.js")?).await
}

async fn play(mut command: Command) -> Result<(), Error> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(3).await?;
    let program = Everything::start(&cluster, &mut command).await?;
    let kills = kill_leaders(&mut cluster, seconds()?).await?;
    let ended = program.end().await?;
    let (status, lines) = (&ended.status, &ended.lines);
    if !ended.is_well() {
        let open = open_runs(&cluster).await;
        panic!("{status:?} after {kills} kills:\n{lines}\n{open}");
    }
    assert_eq!(ended.done.len(), 1, "{lines}");
    let (took, done) = (ended.took, &ended.done[0]);
    tell(&format!("{kills} kills; ended within {took:?}; {done}"));
    Ok(())
}

fn seconds() -> Result<u64, Error> {
    let Ok(text) = std::env::var("EVERYTHING_SECONDS") else {
        return Ok(20);
    };
    text.parse()
        .map_err(|error| Error::Program(format!("EVERYTHING_SECONDS={text}: {error}")))
}

/// Kills the leader every 5 s; each node serves again before the next one dies.
async fn kill_leaders(cluster: &mut Cluster, seconds: u64) -> Result<u64, Error> {
    let kills = seconds.div_ceil(BETWEEN.as_secs());
    let mut ticks = tokio::time::interval(BETWEEN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    for _ in 0..kills {
        ticks.tick().await;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        tokio::time::sleep(DOWN).await;
        cluster.restart(leader)?;
        cluster.wait_ready(leader).await?;
    }
    Ok(kills)
}

/// The last events of the runs that should have ended, to see what they wait for.
async fn open_runs(cluster: &Cluster) -> String {
    let addresses = cluster.ids().into_iter().map(|id| cluster.addresses(id));
    let addresses: Vec<&str> = addresses.map(|node| node.grpc.as_str()).collect();
    let client = Client::new(&addresses);
    let mut text = String::new();
    for workflow_id in ["player-0", "player-1", "player-2", "player-3", "ledger"] {
        text.push_str(&format!("{workflow_id}:\n"));
        match client.history(workflow_id, "").await {
            Ok(history) => {
                let first = history.len().saturating_sub(SHOWN_EVENTS);
                for event in &history[first..] {
                    text.push_str(&format!("  {event:?}\n"));
                }
            }
            Err(error) => text.push_str(&format!("  {error}\n")),
        }
    }
    text
}
