//! What a node's process uses and counts at one moment, seen from outside.

use super::cluster::Node;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

/// One node at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// Resident memory of the process, MiB.
    pub(super) rss_mib: u64,
    /// All files of the data directory, MiB.
    pub(super) disk_mib: u64,
    /// Workflows started, as this replica applied it.
    pub(super) started: u64,
    /// Records put into and deleted from sled.
    pub(super) sled_writes: u64,
    /// Syncs of the log.
    pub(super) fsyncs: u64,
    /// Records in memory that no file holds yet, MiB.
    pub(super) overlay_mib: u64,
    /// Entries of the log in memory, MiB.
    pub(super) log_cache_mib: u64,
}

impl Sample {
    pub(super) fn of(node: &Node) -> Result<Sample, String> {
        let page = get(&node.http, "/metrics")
            .map_err(|error| format!("http://{}/metrics: {error}", node.http))?;
        let count = |name: &str| value(&page, name);
        Ok(Sample {
            rss_mib: rss_kib(node.pid)? >> 10,
            disk_mib: bytes_under(&node.data_dir) / MIB,
            started: count("steadfast_mutations_total{kind=\"start_workflow_execution\"}"),
            sled_writes: count("steadfast_index_puts_total")
                + count("steadfast_index_deletes_total"),
            fsyncs: count("steadfast_log_fsyncs_total"),
            overlay_mib: count("steadfast_overlay_bytes") / MIB,
            log_cache_mib: count("steadfast_log_cached_bytes") / MIB,
        })
    }

    /// All nodes at about one moment.
    pub(super) fn of_all(nodes: &[Node]) -> Result<Vec<Sample>, String> {
        nodes.iter().map(Sample::of).collect()
    }
}

fn rss_kib(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("{path} has no VmRSS"))
}

/// Files come and go while they are counted; those that went do not count.
fn bytes_under(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// A plain GET over a connection of its own; the body.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_string()),
        _ => Err(std::io::Error::other("no 200")),
    }
}

/// The sample of exactly this name and labels; 0 while there is none.
fn value(page: &str, name: &str) -> u64 {
    let found = page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
        rest.trim().parse().ok()
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = "# TYPE a counter\na{kind=\"x\"} 3\na{kind=\"y\"} 4\nab 9\nb 2\n";
        assert_eq!(value(page, "a{kind=\"y\"}"), 4);
        assert_eq!(value(page, "b"), 2);
        assert_eq!(value(page, "c"), 0);
    }
}
