//! Reads what a node's process uses and says.

use super::moment::Sample;
use crate::processes::host::Host;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use steadfast::cli::http_get;

const ANSWERS: Duration = Duration::from_secs(5);
/// `/proc` counts a process's time in hundredths of a second (`USER_HZ`).
const MS_PER_TICK: u64 = 10;
/// Blocks of `stat`.
const BLOCK_BYTES: u64 = 512;
/// Folders below a data directory are not deeper.
const DEPTH_MAX: u32 = 8;

/// What the threads of one process wrote, also those that have ended since.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads {
    pid: u32,
    /// The kind and the bytes of each thread as it was last seen.
    alive: BTreeMap<u32, (Kind, u64)>,
    /// Of those that are gone.
    gone: BTreeMap<Kind, u64>,
}

/// Whose thread it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sled,
    Log,
    Keeper,
    Other,
}

impl Kind {
    fn of(name: &str) -> Kind {
        match name.trim() {
            "log" => Kind::Log,
            "keeper" => Kind::Keeper,
            name if name.starts_with("sled") => Kind::Sled,
            _ => Kind::Other,
        }
    }
}

impl Threads {
    /// Looks at the threads of a process, which may be another than before.
    fn look(&mut self, pid: u32) {
        if self.pid != pid {
            *self = Threads {
                pid,
                ..Threads::default()
            };
        }
        let mut now = BTreeMap::new();
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let Ok(id) = thread.file_name().to_string_lossy().parse() else {
                continue;
            };
            // It may have ended just now.
            let read = |file: &str| fs::read_to_string(thread.path().join(file)).ok();
            if let (Some(name), Some(io)) = (read("comm"), read("io")) {
                now.insert(id, (Kind::of(&name), field(&io, "wchar:")));
            }
        }
        self.take(now);
    }

    fn take(&mut self, now: BTreeMap<u32, (Kind, u64)>) {
        for (id, (kind, bytes)) in &self.alive {
            if !now.contains_key(id) {
                *self.gone.entry(*kind).or_default() += bytes;
            }
        }
        self.alive = now;
    }

    fn written(&self, kind: Kind) -> u64 {
        let alive = self.alive.values().filter(|(of, _)| *of == kind);
        let gone = self.gone.get(&kind).copied().unwrap_or_default();
        gone + alive.map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// A node now; `None` when it does not run or answer.
pub(super) async fn look(host: &Host, threads: &mut Threads) -> Option<Sample> {
    let (pid, node) = (host.pid()?, host.node?);
    let answer = http_get::get(&host.addresses.http, "/metrics", ANSWERS).await;
    let page = match answer {
        Ok((200, body)) => String::from_utf8_lossy(&body).into_owned(),
        Ok(_) | Err(_) => return None,
    };
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    threads.look(pid);
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut sample = counted(&page);
    sample.node = node;
    sample.rss_bytes = field(&read("status"), "VmRSS:") << 10;
    sample.cpu_ms_total = cpu_ticks(&read("stat")) * MS_PER_TICK;
    sample.open_files = files.map_or(0, |files| files.count() as u64);
    let accounted = || field(&read("io"), "write_bytes:");
    sample.disk_written_bytes_total = host.disk.written().unwrap_or_else(accounted);
    sample.sled_written_bytes_total = threads.written(Kind::Sled);
    sample.log_written_bytes_total = threads.written(Kind::Log);
    sample.keeper_written_bytes_total = threads.written(Kind::Keeper);
    let data = host.disk.data_dir();
    sample.log_files_bytes = bytes_under(&data.join("log"), "", DEPTH_MAX);
    sample.sled_files_bytes = bytes_under(&data.join("state"), "sled", DEPTH_MAX);
    let all = bytes_under(&data.join("state"), "", DEPTH_MAX);
    sample.state_files_bytes = all.saturating_sub(sample.sled_files_bytes);
    Some(sample)
}

/// What a node says of itself.
fn counted(page: &str) -> Sample {
    let value = |name: &str| value(page, name);
    Sample {
        leads: value("steadfast_leader") == 1,
        sled_records_total: value("steadfast_index_puts_total")
            + value("steadfast_index_deletes_total"),
        sled_put_bytes_total: value("steadfast_index_bytes_total"),
        log_entries: value("steadfast_last_log_index")
            .saturating_sub(value("steadfast_purged_index")),
        overlay_bytes: value("steadfast_overlay_bytes"),
        started_total: value("steadfast_mutations_total{kind=\"start_workflow_execution\"}"),
        ..Sample::default()
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

/// The first number after a word that begins a line.
fn field(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The name in parentheses may hold spaces; user and system time are fields 14 and 15.
fn cpu_ticks(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// What the files of folders of a name take, those below them too; of all folders, when there is no
/// name. Files come and go while they are counted; those that went do not count.
fn bytes_under(dir: &Path, name: &str, depth: u32) -> u64 {
    let mut bytes = 0;
    if depth == 0 {
        return bytes;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(known) = entry.metadata() else {
            continue;
        };
        if known.is_dir() {
            let inner = if entry.file_name() == name { "" } else { name };
            bytes += bytes_under(&entry.path(), inner, depth - 1);
        } else if name.is_empty() {
            bytes += known.blocks() * BLOCK_BYTES;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_and_a_node_say_is_read() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 0 0 0";
        assert_eq!(cpu_ticks(stat), 300);
        assert_eq!(field("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), 2048);
        let page = "# TYPE x counter\nsteadfast_index_puts_total 3\n\
                    steadfast_index_deletes_total 4\nsteadfast_last_log_index 90\n\
                    steadfast_purged_index 50\nsteadfast_leader 1\n";
        let sample = counted(page);
        assert_eq!((sample.sled_records_total, sample.log_entries), (7, 40));
        assert!(sample.leads);
    }

    #[test]
    fn what_a_thread_wrote_counts_after_its_end_too() {
        let mut threads = Threads::default();
        threads.take(BTreeMap::from([(1, (Kind::Sled, 10)), (2, (Kind::Log, 5))]));
        threads.take(BTreeMap::from([(2, (Kind::Log, 6)), (3, (Kind::Sled, 1))]));
        assert_eq!(threads.written(Kind::Sled), 11);
        assert_eq!(threads.written(Kind::Log), 6);
        assert_eq!(Kind::of("sled-io-3\n"), Kind::Sled);
        assert_eq!(Kind::of("keeper\n"), Kind::Keeper);
    }

    #[test]
    fn own_threads_and_folders_are_found() {
        let mut threads = Threads::default();
        threads.look(std::process::id());
        assert!(!threads.alive.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("index-1/sled");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("db"), vec![1; 100_000]).unwrap();
        fs::write(folder.path().join("base"), vec![1; 10_000]).unwrap();
        let sled = bytes_under(folder.path(), "sled", DEPTH_MAX);
        assert!(sled >= 100_000, "{sled}");
        assert!(bytes_under(folder.path(), "", DEPTH_MAX) >= sled + 10_000);
    }
}
