//! What must hold of a soak. Two rules: a figure of any node is below its bound at every moment; and
//! the straight line that fits the second half best does not rise by more than an allowance, so that
//! what grows without bound is found, however slowly, when the soak is long enough.

use super::moment::{Moment, Sample};

const MIB: f64 = 1_048_576.0;
/// A line through less than this tells nothing: caches fill.
const SECOND_HALF_MIN_SECONDS: f64 = 600.0;
/// Records put into sled and deleted from it, per workflow of one activity and replica: the budget
/// of the design.
pub(super) const SLED_RECORDS_MAX: f64 = 3.0;

/// A figure of a node and its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    /// In the unit.
    pub(super) of: fn(&Sample) -> f64,
    /// The highest that is allowed.
    pub(super) bound: f64,
    /// The line through the second half may rise by so much.
    pub(super) rise: f64,
}

/// All rules. The log's cache (64 MiB), sled's cache (32 MiB), two overlays and what the allocator
/// keeps of them are below half of the bound of memory; the log keeps 20,000 entries and those since
/// the last durable mark, in segments of 64 MiB.
pub(super) const RULES: [Rule; 6] = [
    Rule {
        what: "resident memory",
        unit: "MiB",
        of: |node| node.rss_bytes as f64 / MIB,
        bound: 700.0,
        rise: 32.0,
    },
    Rule {
        what: "log on disk",
        unit: "MiB",
        of: |node| node.log_files_bytes as f64 / MIB,
        bound: 1_024.0,
        rise: 64.0,
    },
    Rule {
        what: "deltas and base on disk",
        unit: "MiB",
        of: |node| node.state_files_bytes as f64 / MIB,
        bound: 1_024.0,
        rise: 32.0,
    },
    Rule {
        what: "sled on disk",
        unit: "MiB",
        of: |node| node.sled_files_bytes as f64 / MIB,
        bound: 1_024.0,
        rise: 64.0,
    },
    Rule {
        what: "open files",
        unit: "",
        of: |node| node.open_files as f64,
        bound: 1_024.0,
        rise: 16.0,
    },
    Rule {
        what: "entries of the Raft log",
        unit: "",
        of: |node| node.log_entries as f64,
        bound: 100_000.0,
        rise: 5_000.0,
    },
];

/// The numbers of all nodes that ever answered.
pub(super) fn nodes(moments: &[Moment]) -> Vec<u64> {
    let mut nodes: Vec<u64> = moments
        .iter()
        .flat_map(|moment| moment.nodes.iter().map(|sample| sample.node))
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// The moments of the second half.
pub(super) fn second_half(moments: &[Moment]) -> &[Moment] {
    let end = moments.last().map_or(0.0, |moment| moment.seconds);
    let first = moments.partition_point(|moment| moment.seconds < end / 2.0);
    &moments[first..]
}

/// Whether the second half is long enough for lines through it.
pub(super) fn tells(moments: &[Moment]) -> bool {
    let half = second_half(moments);
    match (half.first(), half.last()) {
        (Some(first), Some(last)) => last.seconds - first.seconds >= SECOND_HALF_MIN_SECONDS,
        (Some(_), None) | (None, Some(_)) | (None, None) => false,
    }
}

/// A figure of a node over time.
pub(super) fn series(moments: &[Moment], node: u64, of: fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let samples = moments
        .iter()
        .filter_map(|moment| Some((moment.seconds, of(moment.node(node)?))));
    samples.collect()
}

/// By how much the straight line of least squares rises from the first to the last.
pub(super) fn rise(series: &[(f64, f64)]) -> f64 {
    let count = series.len() as f64;
    let (Some(first), Some(last)) = (series.first(), series.last()) else {
        return 0.0;
    };
    let mean = |of: fn(&(f64, f64)) -> f64| series.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = series.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if spread == 0.0 {
        return 0.0;
    }
    let both: f64 = series
        .iter()
        .map(|(x, y)| (x - x_mean) * (y - y_mean))
        .sum();
    both / spread * (last.0 - first.0)
}

/// What a node wrote to sled per workflow started in these moments: records, and bytes that sled's
/// threads wrote.
pub(super) fn sled_per_workflow(moments: &[Moment], node: u64) -> Option<[f64; 2]> {
    let mut known = moments.iter().filter_map(|moment| moment.node(node));
    let first = known.next()?;
    let last = known.next_back()?;
    let started = last.started_total.checked_sub(first.started_total)?;
    if started == 0 {
        return None;
    }
    let per = |of: fn(&Sample) -> u64| of(last).saturating_sub(of(first)) as f64 / started as f64;
    Some([
        per(|node| node.sled_records_total),
        per(|node| node.sled_written_bytes_total),
    ])
}

/// What does not hold; nothing when all does.
pub(super) fn judged(moments: &[Moment], size: u8) -> Vec<String> {
    if moments.is_empty() {
        return vec!["nothing was sampled".into()];
    }
    let mut wrong = Vec::new();
    let half = second_half(moments);
    for node in nodes(moments) {
        for rule in &RULES {
            wrong.extend(broken(rule, moments, node));
        }
        let sled = sled_per_workflow(half, node);
        if let Some([records, _]) = sled
            && records > SLED_RECORDS_MAX
        {
            wrong.push(format!(
                "node {node}: {records:.2} records written to sled per workflow in the second \
                 half, {SLED_RECORDS_MAX} at most"
            ));
        }
        wrong.extend(sled_writes_more(half, node));
    }
    let absent = moments
        .iter()
        .filter(|moment| moment.nodes.len() < usize::from(size));
    let absent = absent.count();
    if absent > 0 {
        wrong.push(format!("at {absent} moments a node did not answer"));
    }
    wrong
}

fn broken(rule: &Rule, moments: &[Moment], node: u64) -> Option<String> {
    let Rule { what, unit, of, .. } = *rule;
    let all = series(moments, node, of);
    let highest = all.iter().map(|point| point.1).fold(0.0, f64::max);
    if highest > rule.bound {
        let bound = rule.bound;
        return Some(format!(
            "node {node}: {what} up to {highest:.0} {unit}, {bound:.0} at most"
        ));
    }
    let rises = rise(&series(second_half(moments), node, of));
    (tells(moments) && rises > rule.rise).then(|| {
        let allowed = rule.rise;
        format!(
            "node {node}: {what} rose by {rises:.0} {unit} in the second half, {allowed:.0} at most"
        )
    })
}

/// Sled must not write more and more for the same work: in the last quarter at most half as much
/// again per workflow as in the quarter before.
fn sled_writes_more(half: &[Moment], node: u64) -> Option<String> {
    if half.last()?.seconds - half.first()?.seconds < SECOND_HALF_MIN_SECONDS {
        return None;
    }
    let (before, after) = half.split_at(half.len() / 2);
    let [_, before] = sled_per_workflow(before, node)?;
    let [_, after] = sled_per_workflow(after, node)?;
    (after > before * 1.5).then(|| {
        format!(
            "node {node}: sled wrote {after:.0} bytes per workflow in the last quarter, \
             {before:.0} in the quarter before"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB_BYTES: u64 = 1 << 20;

    /// An hour, a moment every 5 s, 30 workflows a second, as `change` makes it.
    fn hour(change: impl Fn(u64, &mut Sample)) -> Vec<Moment> {
        let moments = (0..=720_u64).map(|at| {
            let sample = |node| {
                let mut sample = Sample {
                    node,
                    rss_bytes: (300 + at % 60) * MIB_BYTES,
                    open_files: 40,
                    // Merged files come and go.
                    state_files_bytes: (60 + at * 3 % 50) * MIB_BYTES,
                    started_total: at * 150,
                    sled_records_total: at * 300,
                    sled_written_bytes_total: at * 500_000,
                    ..Sample::default()
                };
                change(at, &mut sample);
                sample
            };
            Moment {
                seconds: at as f64 * 5.0,
                started: at * 150,
                nodes: [1, 2, 3].map(sample).to_vec(),
                ..Moment::default()
            }
        });
        moments.collect()
    }

    fn found(change: impl Fn(u64, &mut Sample)) -> String {
        judged(&hour(change), 3).join("; ")
    }

    #[test]
    fn an_hour_of_saw_teeth_holds() {
        assert_eq!(found(|_, _| {}), "");
    }

    #[test]
    fn a_leak_of_one_node_is_found_also_below_the_bound() {
        // A MiB in 50 s: 36 MiB in the second half.
        let found = found(|at, node| {
            if node.node == 2 {
                node.rss_bytes += at / 10 * MIB_BYTES;
            }
        });
        assert!(
            found.starts_with("node 2: resident memory rose by"),
            "{found}"
        );
        assert!(!found.contains("node 1"), "{found}");
    }

    #[test]
    fn caches_that_fill_in_the_first_half_are_no_leak() {
        assert_eq!(
            found(|at, node| node.rss_bytes = at.min(340) * MIB_BYTES),
            ""
        );
    }

    #[test]
    fn a_disk_that_fills_is_found_by_its_part() {
        let found = found(|at, node| node.sled_files_bytes = at * MIB_BYTES / 5);
        assert!(found.contains("sled on disk rose by 72 MiB"), "{found}");
        let found = super::tests::found(|at, node| node.log_files_bytes = at * 3 * MIB_BYTES);
        assert!(found.contains("log on disk up to 2160 MiB"), "{found}");
    }

    #[test]
    fn descriptors_that_stay_open_are_found() {
        let found = found(|at, node| node.open_files += at / 20);
        assert!(found.contains("open files rose by 18"), "{found}");
    }

    #[test]
    fn sled_over_its_budget_in_the_second_half_is_found() {
        let found = found(|at, node| {
            node.sled_records_total = at * 300 + at.saturating_sub(360) * 200;
        });
        assert!(found.contains("3.33 records written to sled"), "{found}");
    }

    #[test]
    fn sled_that_writes_more_and_more_for_the_same_work_is_found() {
        let found = found(|at, node| node.sled_written_bytes_total = at * at * at);
        assert!(found.contains("in the last quarter"), "{found}");
    }

    #[test]
    fn a_node_that_is_away_is_found() {
        let mut moments = hour(|_, _| {});
        moments[3].nodes.pop();
        let found = judged(&moments, 3).join("; ");
        assert!(found.contains("at 1 moments a node did not"), "{found}");
        assert!(!judged(&[], 3).is_empty());
    }

    #[test]
    fn two_minutes_are_held_to_the_bounds_only() {
        let mut moments = hour(|at, node| node.rss_bytes = at * 10 * MIB_BYTES);
        moments.truncate(25);
        assert_eq!(judged(&moments, 3), Vec::<String>::new());
        assert!(!tells(&moments));
    }
}
