//! The leader is killed again and again under load: from each kill to the first acknowledged write.

use super::To;
use super::cluster::{self, Cluster};
use crate::{document, say};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

/// Workflows of one activity a second, through the front door, while leaders are killed.
const RATE: &str = "30";
/// One load after the other; each lasts so many workflows.
const WORKFLOWS: &str = "600";
const IN_FLIGHT: &str = "256";
const POLLERS: &str = "64";
/// Milliseconds that half of the kills, and all but one of a hundred, may take.
const TARGET_P50_MS: u64 = 800;
const TARGET_P99_MS: u64 = 1_500;

/// Kills and writes the distribution.
pub(crate) fn run(kills: u32) -> Result<(), String> {
    cluster::build()?;
    let build = cluster::profile();
    let cluster = Cluster::start()?;
    let ended = AtomicBool::new(false);
    let load_before = document::load_average();
    let (report, load) = std::thread::scope(|scope| {
        let load = scope.spawn(|| keep_busy(&cluster, &ended));
        let report = kill(&cluster, kills);
        ended.store(true, Ordering::Relaxed);
        let load = load.join().map_err(|_| "the load panicked".to_string())?;
        Ok::<_, String>((report?, load?))
    })?;
    let all = report["all_ms"].as_array().into_iter().flatten();
    let mut all: Vec<u64> = all.filter_map(Value::as_u64).collect();
    all.sort_unstable();
    let text = format!(
        "{}\nThree nodes of `steadfast dev`, {build} build, default configuration, every write \
         synced to disk.\nLoad average {load_before:.1} before and {:.1} after.\n\n{}\n{load}",
        document::machine(),
        document::load_average(),
        told(&all)
    );
    say(&text);
    if kills >= 30 {
        document::replace(super::DOCUMENT, "bench --failover", &text)?;
    }
    match missed(&all) {
        None => Ok(()),
        Some(what) => Err(what),
    }
}

fn kill(cluster: &Cluster, kills: u32) -> Result<Value, String> {
    let path = cluster.dev_json();
    let (path, kills) = (path.to_string_lossy(), kills.to_string());
    let fixed = ["bench", "--output", "json", "--dev-json", &path];
    cluster.output(&[&fixed[..], &["--leader-kills", &kills]].concat())
}

/// Workflows all the time; what became of them.
fn keep_busy(cluster: &Cluster, ended: &AtomicBool) -> Result<String, String> {
    let (mut completed, mut failed, mut errors) = (0, 0, 0);
    while !ended.load(Ordering::Relaxed) {
        let report = cluster.measure(
            To::Proxy,
            &[
                "--rate",
                RATE,
                "--workflows",
                WORKFLOWS,
                "--in-flight",
                IN_FLIGHT,
                "--pollers",
                POLLERS,
            ],
        )?;
        let count = |name: &str| report[name].as_u64().unwrap_or(0);
        completed += count("completed");
        failed += count("failed");
        errors += count("errors");
    }
    Ok(format!(
        "Load meanwhile: {RATE} workflows of one activity a second through the front door; \
         {completed} completed, {failed} lost, {errors} calls made again."
    ))
}

/// The value below which so many percent are; the nearest of those there are.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

fn told(sorted: &[u64]) -> String {
    let at = |percent| quantile(sorted, percent);
    let mut text = format!(
        "{} kills of the leader (`kill -9`), to the first acknowledged write, ms:\n\n\
         | p10 | p50 | p90 | p99 | longest |\n|---|---|---|---|---|\n| {} | {} | {} | {} | {} |\n",
        sorted.len(),
        at(10),
        at(50),
        at(90),
        at(99),
        at(100)
    );
    let below = |from: u64| {
        let range = from..from + 100;
        sorted.iter().filter(|ms| range.contains(ms)).count()
    };
    let first = at(0) / 100 * 100;
    let bars = (first..=at(100))
        .step_by(100)
        .map(|from| (from, below(from)));
    text.push_str("\nHow many in each 100 ms: ");
    let bars: Vec<String> = bars
        .filter(|(_, count)| *count > 0)
        .map(|(from, count)| format!("{from} to {}: {count}", from + 100))
        .collect();
    text.push_str(&bars.join(", "));
    text.push_str(".\n");
    text
}

fn missed(sorted: &[u64]) -> Option<String> {
    let (p50, p99) = (quantile(sorted, 50), quantile(sorted, 99));
    (p50 > TARGET_P50_MS || p99 > TARGET_P99_MS).then(|| {
        format!("p50 {p50} ms, p99 {p99} ms; the targets are {TARGET_P50_MS} and {TARGET_P99_MS}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_hundred_is_not_its_99th_percentile() {
        let all: Vec<u64> = (1..=100).collect();
        let at = [50, 90, 99, 100].map(|percent| quantile(&all, percent));
        assert_eq!(at, [50, 90, 99, 100]);
        assert_eq!(quantile(&[], 50), 0);
    }

    #[test]
    fn the_targets_are_judged() {
        assert_eq!(missed(&[700; 100]), None);
        assert!(missed(&[801; 100]).is_some());
        let mut some_slow = vec![700; 98];
        some_slow.extend([1_501, 1_501]);
        assert!(missed(&some_slow).is_some());
    }
}
