//! Many workflows on a live cluster: memory must stay flat, and sled must be written to seldom.

use super::To;
use super::cluster::{self, Cluster};
use super::sampled::Sample;
use crate::{say, target_dir};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const IN_FLIGHT: &str = "64";
/// More than are in flight, so that each task finds a poller that waits.
const POLLERS: &str = "192";
/// Memory is compared between a fifth of the run and its end.
const SETTLED_AFTER_PERCENT: u64 = 20;
/// But not before so many workflows: the log's cache, sled's and two overlays have filled then. A
/// shorter run is held to the bound only.
const SETTLED_AFTER_WORKFLOWS: u64 = 80_000;
/// Growth that is allowed from there, in percent.
const GROWTH_PERCENT: u64 = 30;
/// Resident memory of one node. The log's cache (64 MiB), sled's cache (32 MiB), two overlays and
/// what the allocator keeps of them are below half of it.
const RSS_MIB_MAX: u64 = 700;
/// Records written to sled, per workflow of one activity and replica.
const SLED_WRITES_MAX: u64 = 3;

/// All nodes at one moment of the run.
struct Moment {
    seconds: u64,
    nodes: Vec<Sample>,
}

impl Moment {
    /// Workflows that the furthest node knows.
    fn started(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| node.started)
            .max()
            .unwrap_or(0)
    }

    fn rss_max(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| node.rss_mib)
            .max()
            .unwrap_or(0)
    }
}

/// Runs `workflows` workflows of one activity.
pub(crate) fn run(workflows: u64) -> Result<(), String> {
    cluster::build()?;
    let cluster = Cluster::start()?;
    let number = workflows.to_string();
    let options = [
        "--in-flight",
        IN_FLIGHT,
        "--pollers",
        POLLERS,
        "--workflows",
        &number,
        "--warmup",
        "0",
    ];
    let (moments, report) = std::thread::scope(|scope| {
        let load = scope.spawn(|| cluster.measure(To::Leader, &options));
        let moments = watch(&cluster, || load.is_finished());
        let report = load.join().map_err(|_| "the load panicked".to_string())?;
        Ok::<_, String>((moments?, report?))
    })?;
    let path = target_dir().join("endurance.csv");
    std::fs::write(&path, csv(&moments)).map_err(|error| format!("{}: {error}", path.display()))?;
    say(&summary(&moments, &report));
    say(&format!("all samples: {}", path.display()));
    let wrong = judged(&moments, &report, workflows);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(wrong.join("; "))
}

/// Samples until the load has ended; the last sample is of the end.
fn watch(cluster: &Cluster, ended: impl Fn() -> bool) -> Result<Vec<Moment>, String> {
    let nodes = cluster.nodes()?;
    let began = Instant::now();
    let mut moments = Vec::new();
    let partial = target_dir().join("endurance.partial.csv");
    loop {
        let last = ended();
        let moment = Moment {
            seconds: began.elapsed().as_secs(),
            nodes: Sample::of_all(&nodes)?,
        };
        moments.push(moment);
        // For those who look while it runs; the whole is written at the end.
        std::fs::write(&partial, csv(&moments)).ok();
        if last {
            std::fs::remove_file(&partial).ok();
            return Ok(moments);
        }
        let next = Instant::now() + SAMPLE_EVERY;
        while Instant::now() < next && !ended() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn csv(moments: &[Moment]) -> String {
    let mut text = String::from(
        "seconds,node,started,rss_mib,disk_mib,sled_writes,log_fsyncs,overlay_mib,log_cache_mib\n",
    );
    for moment in moments {
        for (place, node) in moment.nodes.iter().enumerate() {
            // Writing to a string cannot fail.
            writeln!(
                text,
                "{},{},{},{},{},{},{},{},{}",
                moment.seconds,
                place + 1,
                node.started,
                node.rss_mib,
                node.disk_mib,
                node.sled_writes,
                node.fsyncs,
                node.overlay_mib,
                node.log_cache_mib
            )
            .ok();
        }
    }
    text
}

/// The first moment at which so many percent of the workflows were started.
fn at_percent(moments: &[Moment], percent: u64) -> Option<&Moment> {
    let all = moments.last()?.started();
    moments
        .iter()
        .find(|moment| moment.started() * 100 >= all * percent)
}

/// The curve at tenths of the run, one line each.
fn summary(moments: &[Moment], report: &Value) -> String {
    let mut text = String::from(
        "| done | workflows | s | memory MiB | disk MiB | sled writes per workflow | overlay MiB \
         | log in memory MiB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for percent in (0..=100).step_by(10) {
        let Some(moment) = at_percent(moments, percent) else {
            continue;
        };
        let column = |pick: fn(&Sample) -> u64| {
            let values: Vec<String> = moment.nodes.iter().map(|n| pick(n).to_string()).collect();
            values.join(", ")
        };
        writeln!(
            text,
            "| {percent} % | {} | {} | {} | {} | {} | {} | {} |",
            moment.started(),
            moment.seconds,
            column(|node| node.rss_mib),
            column(|node| node.disk_mib),
            hundredths(sled_per_workflow(moment)),
            column(|node| node.overlay_mib),
            column(|node| node.log_cache_mib),
        )
        .ok();
    }
    let figure = |name: &str| report[name].as_f64().unwrap_or(0.0);
    writeln!(
        text,
        "{:.0} workflows/s, end to end p50 {:.1} ms, p99 {:.1} ms, {} failed, {} errors",
        figure("per_second"),
        figure("end_to_end_p50"),
        figure("end_to_end_p99"),
        report["failed"],
        report["errors"],
    )
    .ok();
    text
}

/// Of the node that wrote most, in hundredths.
fn sled_per_workflow(moment: &Moment) -> u64 {
    let most = moment.nodes.iter().map(|node| node.sled_writes).max();
    (most.unwrap_or(0) * 100)
        .checked_div(moment.started())
        .unwrap_or(0)
}

fn hundredths(value: u64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

fn judged(moments: &[Moment], report: &Value, workflows: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    if report["completed"] != workflows {
        wrong.push(format!("not all workflows completed: {report}"));
    }
    let Some(end) = moments.last() else {
        return vec!["nothing was sampled".to_string()];
    };
    let from = (end.started() * SETTLED_AFTER_PERCENT / 100).max(SETTLED_AFTER_WORKFLOWS);
    let is_settled = |moment: &&Moment| moment.started() >= from;
    let settled = moments.iter().find(is_settled).unwrap_or(end);
    for (place, (then, now)) in settled.nodes.iter().zip(&end.nodes).enumerate() {
        if now.rss_mib * 100 > then.rss_mib * (100 + GROWTH_PERCENT) {
            wrong.push(format!(
                "node {} grew from {} MiB after {} workflows to {} MiB",
                place + 1,
                then.rss_mib,
                then.started,
                now.rss_mib
            ));
        }
    }
    let most = moments.iter().map(Moment::rss_max).max().unwrap_or(0);
    if most > RSS_MIB_MAX {
        wrong.push(format!("a node held {most} MiB, more than {RSS_MIB_MAX}"));
    }
    let sled = sled_per_workflow(end);
    if sled > SLED_WRITES_MAX * 100 {
        wrong.push(format!(
            "{} sled writes per workflow, more than {SLED_WRITES_MAX}",
            hundredths(sled)
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(started: u64, rss_mib: u64, sled_writes: u64) -> Moment {
        let sample = Sample {
            started,
            rss_mib,
            sled_writes,
            ..Sample::default()
        };
        Moment {
            seconds: started,
            nodes: vec![sample; 3],
        }
    }

    #[test]
    fn growth_and_sled_writes_are_judged_at_the_end() {
        let report = serde_json::json!({"completed": 500_000});
        let run = |end| [moment(0, 20, 0), moment(100_000, 100, 60), end];
        let flat = run(moment(500_000, 130, 1_500_000));
        assert_eq!(judged(&flat, &report, 500_000), Vec::<String>::new());
        let wrong = judged(&run(moment(500_000, 131, 1_505_000)), &report, 500_000);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(
            wrong[0].contains("from 100 MiB after 100000 workflows to 131 MiB"),
            "{wrong:?}"
        );
        assert!(wrong[3].contains("3.01 sled writes"), "{wrong:?}");
        // While caches fill, only the bound counts.
        let short = [
            moment(0, 20, 0),
            moment(4_000, 100, 0),
            moment(20_000, 300, 0),
        ];
        let report = serde_json::json!({"completed": 20_000});
        assert_eq!(judged(&short, &report, 20_000), Vec::<String>::new());
    }
}
