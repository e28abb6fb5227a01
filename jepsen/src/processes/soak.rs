//! Does a cluster stay as it is? A steady load for an hour, and what the nodes use, all the time.

mod judge;
mod life;
mod load;
mod look;
mod moment;
mod page;

pub use moment::{Moment, Sample};

use super::cluster::{Cluster, Plan, READY};
use super::disk::IMAGE_BYTES;
use super::front_door::FrontDoor;
use super::machine::Machine;
use super::{Trouble, io, sealed};
use load::Load;
use look::Threads;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between two looks; longer when there would be more than [`LOOKS_MAX`].
const EVERY: Duration = Duration::from_secs(5);
/// Looks that are kept in memory.
const LOOKS_MAX: u32 = 20_000;
/// The page is drawn again after so many looks, for those who look while it runs.
const DRAWN_EVERY: usize = 12;
/// A call is answered within this, tries included.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// A workflow that is not closed after this counts as lost: it needs about 10 s.
const CLOSED_WITHIN: Duration = Duration::from_secs(180);

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// How long there is load.
    pub lasts: Duration,
    /// Workflows started in a second.
    pub rate: u32,
    /// How long a closed workflow stays before it is deleted.
    pub keep: Duration,
    /// Of the switch.
    pub seed: u64,
    /// The folder for samples, the page, logs and disks.
    pub out: PathBuf,
    /// `steadfast`.
    pub binary: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// What does not hold.
    pub wrong: Vec<String>,
    /// Figures for the document.
    pub text: String,
}

/// Soaks a new cluster.
///
/// # Errors
/// When the machine does not do what it should.
pub async fn soak(order: &Order, say: fn(&str)) -> Result<Report, Trouble> {
    let scratch = order.out.join("disks");
    std::fs::create_dir_all(&scratch).map_err(io(scratch.display().to_string()))?;
    if sealed::inside().is_ok() {
        sealed::prepare()?;
    }
    let mut machine = Machine::probe(&scratch, &order.binary);
    machine.fake_time = Err("the clocks are right".into());
    let plan = Plan {
        nodes: 3,
        seed: order.seed,
        binary: &order.binary,
        machine: &machine,
        scratch: &scratch,
        logs: &order.out,
        began: Instant::now(),
        disk_bytes: IMAGE_BYTES,
    };
    let mut cluster = Cluster::start(&plan).await?;
    let mut wrong = Vec::new();
    for at in cluster.settled() {
        match cluster.ready(at, READY).await {
            Ok(true) => {}
            Ok(false) => wrong.push(format!("node {} did not start", at + 1)),
            Err(violation) => wrong.push(violation.to_string()),
        }
    }
    let addresses: Vec<_> = cluster.hosts.iter().map(|host| &host.addresses).collect();
    let door = FrontDoor::open(&order.binary, &order.out, &addresses)?;
    let load = Load::begin(&door.address, order)
        .await
        .map_err(Trouble::Tool)?;
    let mut kept = Kept::new(order)?;
    wrong.extend(kept.watch(order, &mut cluster, &load, say).await?);
    say("no more starts: those that are open end");
    load.wind_down().await;
    wrong.extend(load.list_is_right().await.err());
    let counts = load.counts();
    load.end().await;
    kept.draw(order)?;
    wrong.extend(judge::judged(&kept.moments, plan.nodes));
    if counts.lost > 0 {
        wrong.push(format!(
            "{} workflows did not complete in time, the last: {}",
            counts.lost, counts.last_lost
        ));
    }
    let text = format!(
        "{} workflows started, {} completed, {} of them deleted {} s after their end, {} lost; {} \
         calls failed{}. {} looks.\n\n{}",
        counts.started,
        counts.completed,
        counts.deleted,
        order.keep.as_secs(),
        counts.lost,
        counts.errors,
        counts.last_error(),
        kept.moments.len(),
        page::table(&kept.moments),
    );
    Ok(Report { wrong, text })
}

/// All that was seen, in memory and in a file.
#[derive(Debug)]
struct Kept {
    began: Instant,
    moments: Vec<Moment>,
    threads: BTreeMap<u64, Threads>,
    file: File,
}

impl Kept {
    fn new(order: &Order) -> Result<Kept, Trouble> {
        let file = File::create(order.out.join("samples.jsonl"));
        Ok(Kept {
            began: Instant::now(),
            moments: Vec::new(),
            threads: BTreeMap::new(),
            file: file.map_err(io("samples.jsonl"))?,
        })
    }

    /// Looks again and again until the load has lasted; what must not be.
    async fn watch(
        &mut self,
        order: &Order,
        cluster: &mut Cluster,
        load: &Load,
        say: fn(&str),
    ) -> Result<Vec<String>, Trouble> {
        let every = EVERY.max(order.lasts / LOOKS_MAX);
        let mut next = self.began;
        while self.began.elapsed() < order.lasts {
            self.look(cluster, load).await?;
            let ended = cluster.unexpected_ends();
            if !ended.is_empty() {
                return Ok(ended.iter().map(ToString::to_string).collect());
            }
            if self.moments.len().is_multiple_of(DRAWN_EVERY) {
                self.draw(order)?;
                say(&self.last_words());
            }
            next += every;
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
        Ok(Vec::new())
    }

    async fn look(&mut self, cluster: &Cluster, load: &Load) -> Result<(), Trouble> {
        let mut nodes = Vec::new();
        for host in &cluster.hosts {
            let Some(node) = host.node else {
                continue;
            };
            let threads = self.threads.entry(node).or_default();
            nodes.extend(look::look(host, threads).await);
        }
        let counts = load.counts();
        let [start_p50_ms, start_p99_ms] = load.take_starts();
        let moment = Moment {
            seconds: self.began.elapsed().as_secs_f64(),
            started: counts.started,
            completed: counts.completed,
            deleted: counts.deleted,
            lost: counts.lost,
            start_p50_ms,
            start_p99_ms,
            nodes,
        };
        let line = serde_json::to_string(&moment);
        let line = line.map_err(|error| Trouble::Tool(format!("a sample: {error}")))?;
        writeln!(self.file, "{line}").map_err(io("samples.jsonl"))?;
        self.moments.push(moment);
        Ok(())
    }

    fn draw(&self, order: &Order) -> Result<(), Trouble> {
        let page = page::draw(&self.moments);
        std::fs::write(order.out.join("soak.html"), page).map_err(io("soak.html"))
    }

    /// The newest moment, for people.
    fn last_words(&self) -> String {
        let Some(moment) = self.moments.last() else {
            return String::new();
        };
        let nodes = moment.nodes.iter().map(|node| {
            let (rss, files) = (node.rss_bytes >> 20, node.files_bytes() >> 20);
            format!("node {}: {rss} MiB, {files} MiB on disk", node.node)
        });
        format!(
            "{:.0} s: {} started, {} completed, {} lost, p99 {:.1} ms; {}",
            moment.seconds,
            moment.started,
            moment.completed,
            moment.lost,
            moment.start_p99_ms,
            nodes.collect::<Vec<_>>().join("; ")
        )
    }
}
