//! How fast a cluster is while something is wrong: a steady load through the front door, one state
//! of the cluster after the other, and what clients saw in each.

mod load;
mod sheet;
mod state;

pub use sheet::Row;
pub use state::{STATES, State};

use super::cluster::{Cluster, Plan, READY};
use super::disk::IMAGE_BYTES;
use super::front_door::FrontDoor;
use super::machine::Machine;
use super::nemesis::Failure;
use super::{Trouble, io, sealed};
use load::Load;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Load before something goes wrong.
const STEADY: Duration = Duration::from_secs(2);
/// A whole cluster has a leader within this.
const LEADER_WITHIN: Duration = Duration::from_secs(30);
/// So much longer than it should a load may take: what is in flight ends, or is given up.
const LATE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);
/// The cluster is filled within this.
const FILLED_WITHIN: Duration = Duration::from_secs(900);
/// A base, the next one while it is made, deltas, and sled.
const DISK_FACTOR: u64 = 6;
/// The wall clock as it is, in libfaketime's words.
const RIGHT: &str = "+0";

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// The states; all when none is named.
    pub states: Vec<State>,
    /// How long each lasts.
    pub lasts: Duration,
    /// Workflows started in a second.
    pub rate: u32,
    /// State that is there before a disk is lost, in bytes of inputs and results.
    pub fill_bytes: u64,
    /// Draws who is hit.
    pub seed: u64,
    /// The folder for logs and disks.
    pub out: PathBuf,
    /// `steadfast`.
    pub binary: PathBuf,
}

/// Goes through all states; a row for each.
///
/// # Errors
/// When the machine does not do what it should.
pub async fn measure(order: &Order, say: fn(&str)) -> Result<Vec<Row>, Trouble> {
    let scratch = order.out.join("disks");
    std::fs::create_dir_all(&scratch).map_err(io(scratch.display().to_string()))?;
    if sealed::inside().is_ok() {
        sealed::prepare()?;
    }
    let mut machine = Machine::probe(&scratch, &order.binary);
    machine.fake_time = Err("no state needs it".into());
    let mut chance = ChaCha8Rng::seed_from_u64(order.seed);
    let plan = Plan {
        nodes: 3,
        seed: chance.random(),
        binary: &order.binary,
        machine: &machine,
        scratch: &scratch,
        logs: &order.out,
        began: Instant::now(),
        disk_bytes: IMAGE_BYTES + DISK_FACTOR * order.fill_bytes,
    };
    let cluster = Cluster::start(&plan).await?;
    let addresses: Vec<_> = cluster.hosts.iter().map(|host| &host.addresses).collect();
    let door = FrontDoor::open(&order.binary, &order.out, &addresses)?;
    let mut rig = Rig {
        cluster,
        chance,
        door,
        filled: String::new(),
    };
    let mut rows = Vec::new();
    for state in order.states.iter().copied() {
        let row = match state.missing(&machine) {
            Some(why) => Row::not_here(state, why),
            None => rig.row(order, state).await?,
        };
        say(&row.line(rows.first()));
        rows.push(row);
    }
    Ok(rows)
}

struct Rig {
    cluster: Cluster,
    chance: ChaCha8Rng,
    door: FrontDoor,
    /// What came of filling the cluster; empty before.
    filled: String,
}

impl Rig {
    async fn row(&mut self, order: &Order, state: State) -> Result<Row, Trouble> {
        if let Err(failure) = self.mend().await {
            return told(state, failure);
        }
        if state.is_full_of_state()
            && self.filled.is_empty()
            && let Err(failure) = self.fill(order).await
        {
            return told(state, failure);
        }
        let before = self.terms();
        let mut load = Load::start(&self.door, order, state)?;
        let told_of = self.pass(order, state, &mut load).await;
        let measured = load.ended();
        let happened = match told_of {
            Ok(happened) => happened,
            Err(failure) => return told(state, failure),
        };
        let leaders = self.terms().saturating_sub(before);
        Ok(match measured? {
            Some(measured) => Row::of(state, measured, happened, leaders),
            None => Row::failed(state, "the load did not end".into()),
        })
    }

    /// Makes state.
    async fn fill(&mut self, order: &Order) -> Result<(), Failure> {
        let began = Instant::now();
        let mut load = Load::fill(&self.door, order)?;
        while load.runs()? && began.elapsed() < FILLED_WITHIN {
            sleep(LOOK).await;
        }
        let done = load.ended()?.is_some_and(|filled| filled.failed == 0);
        if !done {
            let what = "the cluster could not be filled".to_owned();
            return Err(crate::evidence::Violation::new("much_state_fits", what).into());
        }
        let took = began.elapsed().as_secs_f64();
        let settled = self.cluster.settled().into_iter();
        let used = settled.map(|at| {
            let used = self.cluster.hosts[at].disk.used();
            format!("{:.2}", used as f64 / 1e9)
        });
        self.filled = format!(
            "{:.2} GB of inputs and results written in {took:.0} s; then {} GB on the disks",
            order.fill_bytes as f64 / 1e9,
            used.collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }

    /// One state, until the load has ended.
    async fn pass(
        &mut self,
        order: &Order,
        state: State,
        load: &mut Load,
    ) -> Result<String, Failure> {
        let until = Instant::now() + STEADY + order.lasts + LATE;
        sleep(STEADY).await;
        let happened = self.bring(state, order, load).await?;
        while load.runs()? && Instant::now() < until {
            sleep(LOOK).await;
        }
        Ok(happened)
    }

    /// Terms that had a leader so far.
    fn terms(&self) -> usize {
        self.cluster.watch.seen().led_since.len()
    }

    /// Everything is whole again, and somebody leads.
    async fn mend(&mut self) -> Result<(), Failure> {
        if let Some(switch) = &self.cluster.switch {
            switch.heal();
        }
        for at in self.cluster.settled() {
            let host = &mut self.cluster.hosts[at];
            host.go_on();
            if host.may_end {
                host.kill()?;
            }
            host.disk.free();
            host.limit_disk(None)?;
            host.set_clock(RIGHT)?;
            host.may_end = false;
            if !host.runs()
                && let Some(node) = host.node
            {
                self.cluster.start_node(at, node)?;
            }
        }
        for at in self.cluster.settled() {
            self.serves(at).await?;
        }
        let until = Instant::now() + LEADER_WITHIN;
        while self.leader().is_none() && Instant::now() < until {
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn serves(&mut self, at: usize) -> Result<(), Failure> {
        if self.cluster.ready(at, READY).await? {
            return Ok(());
        }
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        let what = format!("node {node}: {}", self.cluster.last_words(node));
        Err(crate::evidence::Violation::new("nodes_start", what).into())
    }
}

/// A state in which a node did what it must not: the row says so.
fn told(state: State, failure: Failure) -> Result<Row, Trouble> {
    match failure {
        Failure::Violation(violation) => Ok(Row::failed(state, violation.to_string())),
        Failure::Trouble(trouble) => Err(trouble),
    }
}
