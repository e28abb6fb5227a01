//! What processes use, from `/proc`, and what nodes count, from `/metrics`.

use crate::cli::http_get;
use std::time::Duration;

/// The kernel counts a process's time in hundredths of a second for readers of `/proc`, whatever
/// its own clock is (`USER_HZ`).
const MS_PER_TICK: f64 = 10.0;

/// CPU time and memory of a process so far; zero when it is gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// User and system time in milliseconds.
    pub(super) cpu_ms: f64,
    /// Resident memory in KiB.
    pub(super) rss_kib: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Usage {
            cpu_ms: cpu_ticks(&stat) * MS_PER_TICK,
            rss_kib: rss_kib(&status),
        }
    }
}

fn cpu_ticks(stat: &str) -> f64 {
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return 0.0;
    };
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum()
}

fn rss_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// What a node has counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) mutations: f64,
    pub(super) sled_writes: f64,
    pub(super) fsyncs: f64,
}

impl Counters {
    /// Zeroes when the node does not answer.
    pub(super) async fn of(http: &str) -> Counters {
        match http_get::get(http, "/metrics", Duration::from_secs(5)).await {
            Ok((200, body)) => Counters::parse(&String::from_utf8_lossy(&body)),
            Ok(_) | Err(_) => Counters::default(),
        }
    }

    fn parse(text: &str) -> Counters {
        Counters {
            mutations: sum(text, "steadfast_mutations_total"),
            sled_writes: sum(text, "steadfast_index_puts_total")
                + sum(text, "steadfast_index_deletes_total"),
            fsyncs: sum(text, "steadfast_log_fsyncs_total"),
        }
    }
}

/// The sum of all samples of a metric, whatever their labels.
fn sum(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let after_labels = match rest.as_bytes().first()? {
            b'{' => rest.rsplit_once('}')?.1,
            b' ' => rest,
            _ => return None,
        };
        after_labels.trim().parse::<f64>().ok()
    });
    samples.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_and_metrics_are_read() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 0 0 0";
        assert!((cpu_ticks(stat) - 300.0).abs() < f64::EPSILON);
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t  2048 kB\n"), 2048);
        assert!(Usage::of(std::process::id()).rss_kib > 0);

        let text = "# HELP x\nsteadfast_log_fsyncs_total{file=\"log\"} 3\n\
                    steadfast_log_fsyncs_total{file=\"delta\"} 2\nsteadfast_log_fsyncs_total_other 9\n\
                    steadfast_mutations_total 12\n";
        let counters = Counters::parse(text);
        assert!((counters.fsyncs - 5.0).abs() < f64::EPSILON);
        assert!((counters.mutations - 12.0).abs() < f64::EPSILON);
    }
}
