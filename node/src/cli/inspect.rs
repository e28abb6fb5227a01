//! `steadfast inspect`: log and state of a stopped node, as its files tell them.
//!
//! Nothing is changed that a start of the node would not change too: a torn tail is cut, an index
//! that lags is fed.

use crate::cli::{Failure, Output, say};
use crate::shard::{LogItem, decode_item};
use crate::telemetry;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use steadfast_engine::mutation::Proposed;
use steadfast_engine::tables::{Record, grouping};
use steadfast_storage::codec;
use steadfast_storage::directory::Directory;
use steadfast_storage::disk::{Disk, RealDisk};
use steadfast_storage::log::{Log, LogEntry, LogOptions};
use steadfast_storage::state::{
    self, DecodeError, MAX_VALUE_BYTES, SledIndexFactory, StateOptions, StateStore,
};

/// Payload bytes of the log read at once.
const READ_BYTES: usize = 4 << 20;
/// Records of the state read at once.
const PAGE_RECORDS: usize = 1_000;
/// Memory for the index's cache; each record is read once.
const CACHE_BYTES: u64 = 16 << 20;

/// Options of `steadfast inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct InspectArgs {
    /// The data directory of a node that is stopped
    #[arg(
        long,
        env = "STEADFAST_DATA_DIR",
        default_value = "steadfast-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Also print each mutation of the log, one JSON object a line
    #[arg(long, env = "STEADFAST_ENTRIES")]
    pub entries: bool,
    /// text or json
    #[arg(long, env = "STEADFAST_OUTPUT", default_value = "text")]
    pub output: Output,
}

/// What a data directory holds.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Inspection {
    /// The cluster's id, as of the state at rest; empty before the first mark.
    pub cluster_id: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// The node.
    pub node_id: u64,
    /// Its uuid.
    pub node_uuid: String,
    /// The log.
    pub log: LogInspection,
    /// The state at rest.
    pub state: StateInspection,
}

/// What the log holds.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct LogInspection {
    /// Index of the last purged entry; 0 when none was.
    pub purged: u64,
    /// Index up to which entries are known to be committed; may lag.
    pub committed: u64,
    /// Index of the last entry.
    pub last: u64,
    /// Term of the last entry.
    pub term: u64,
    /// Entries by kind: blank, membership, batch, mark.
    pub entries: BTreeMap<&'static str, u64>,
    /// Mutations in batches, by kind.
    pub mutations: BTreeMap<&'static str, u64>,
    /// Bytes of all payloads.
    pub bytes: u64,
}

/// What the state at rest holds: that of the newest durable mark.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct StateInspection {
    /// Index of the last applied entry; 0 when there is none.
    pub applied: u64,
    /// Records by kind.
    pub records: BTreeMap<&'static str, u64>,
    /// The digest, computed from the files.
    pub digest: Option<String>,
}

/// Reads and prints.
pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    if !args.data_dir.is_dir() {
        return Err(Failure::Usage(format!(
            "{} is no directory",
            args.data_dir.display()
        )));
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let directory = Directory::open(disk.clone(), &args.data_dir).map_err(Failure::failed)?;
    let Some(identity) = directory.identity().cloned() else {
        return Err(Failure::failed(format!(
            "{} is not a node's data directory; those of `steadfast dev` are node-1, node-2, … in \
             its own",
            args.data_dir.display()
        )));
    };
    let (state, cluster_id) = inspect_state(&disk, &directory)?;
    let inspection = Inspection {
        cluster_id,
        cluster_name: identity.cluster_name,
        node_id: identity.node_id,
        node_uuid: identity.node_uuid.to_string(),
        log: inspect_log(&disk, &directory, args.entries)?,
        state,
    };
    match args.output {
        Output::Json => say(&serde_json::to_string(&inspection).map_err(Failure::failed)?),
        Output::Text => show(&inspection),
    }
    Ok(())
}

fn inspect_log(
    disk: &Arc<dyn Disk>,
    directory: &Directory,
    print: bool,
) -> Result<LogInspection, Failure> {
    // Entries are read from the files one after the other, not kept.
    let options = LogOptions {
        cache_bytes: 0,
        ..LogOptions::default()
    };
    let (log, _writer, recovered) =
        Log::open(disk.clone(), &directory.log_dir(), options).map_err(Failure::failed)?;
    let mut found = LogInspection {
        purged: recovered.purged.map_or(0, |position| position.index),
        committed: recovered.committed.map_or(0, |position| position.index),
        last: recovered.last.map_or(0, |position| position.index),
        term: recovered.last.map_or(0, |position| position.term),
        ..LogInspection::default()
    };
    let Some(last) = recovered.last else {
        return Ok(found);
    };
    let mut next = recovered.purged.map_or(0, |position| position.index + 1);
    while next <= last.index {
        let entries = log
            .read(next, last.index + 1, READ_BYTES)
            .map_err(Failure::failed)?;
        let Some(newest) = entries.last() else {
            // A log may begin at 1.
            next += 1;
            continue;
        };
        next = newest.position.index + 1;
        for entry in &entries {
            count_entry(entry, &mut found, print)?;
        }
    }
    Ok(found)
}

fn count_entry(entry: &LogEntry, found: &mut LogInspection, print: bool) -> Result<(), Failure> {
    found.bytes += entry.payload.len() as u64;
    let kind = match entry.payload.split_first() {
        Some((0, _)) => "blank",
        Some((2, _)) => "membership",
        Some((1, content)) => {
            let item = decode_item(content).map_err(|error| {
                Failure::failed(format!("log entry {}: {error}", entry.position.index))
            })?;
            match item {
                LogItem::Mark => "mark",
                LogItem::Batch(batch) => {
                    for proposed in &batch {
                        let kind = telemetry::kind(&proposed.mutation);
                        *found.mutations.entry(kind).or_default() += 1;
                        if print {
                            say(&line_of(entry, kind, proposed));
                        }
                    }
                    "batch"
                }
            }
        }
        Some(_) | None => "unknown",
    };
    *found.entries.entry(kind).or_default() += 1;
    Ok(())
}

fn line_of(entry: &LogEntry, kind: &str, proposed: &Proposed) -> String {
    serde_json::json!({
        "index": entry.position.index,
        "term": entry.position.term,
        "kind": kind,
        "now": format!("{:?}", proposed.now),
        "reservations": proposed.reservations.len(),
        "mutation": format!("{:?}", proposed.mutation),
    })
    .to_string()
}

/// A record as it is read here: decoded, so that damage shows.
#[derive(Debug)]
struct Read(Record);

impl state::Record for Read {
    fn encode(&self) -> Vec<u8> {
        // Only a store that is written to asks for it, and this one is not.
        codec::encode(&self.0, MAX_VALUE_BYTES as u64 - 1).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_VALUE_BYTES as u64 - 1)
            .map(Read)
            .map_err(|error| DecodeError(error.to_string()))
    }
}

/// What the state holds, and the cluster's id in it.
fn inspect_state(
    disk: &Arc<dyn Disk>,
    directory: &Directory,
) -> Result<(StateInspection, String), Failure> {
    let index = Arc::new(SledIndexFactory::new(CACHE_BYTES));
    let options = StateOptions::new(grouping);
    let (store, _keeper) =
        StateStore::<Read>::open(disk.clone(), index, &directory.state_dir(), options)
            .map_err(Failure::failed)?;
    let digest = store.recompute_digest().map_err(Failure::failed)?;
    let mut found = StateInspection {
        applied: store.applied().map_or(0, |position| position.index),
        digest: digest.map(|mark| format!("{:032x}", mark.digest)),
        ..StateInspection::default()
    };
    let view = store.view();
    let mut cluster_id = String::new();
    let mut last: Option<state::Key> = None;
    loop {
        let from = match &last {
            Some(key) => Bound::Excluded(&**key),
            None => Bound::Unbounded,
        };
        let page = view
            .scan(from, Bound::Unbounded, PAGE_RECORDS, false)
            .map_err(Failure::failed)?;
        for (_, record) in &page {
            *found.records.entry(record_kind(&record.0)).or_default() += 1;
            if let Record::Meta(meta) = &record.0 {
                cluster_id.clone_from(&meta.cluster_id);
            }
        }
        let is_last = page.len() < PAGE_RECORDS;
        last = page.into_iter().next_back().map(|(key, _)| key);
        if is_last {
            return Ok((found, cluster_id));
        }
    }
}

fn record_kind(record: &Record) -> &'static str {
    match record {
        Record::Meta(_) => "meta",
        Record::Config(_) => "config",
        Record::Namespace(_) => "namespace",
        Record::NamespaceName(_) => "namespace_name",
        Record::Run(_) => "run",
        Record::HistoryBatch(_) => "history_batch",
        Record::BufferedEvent(_) => "buffered_event",
        Record::Activity(_) => "activity",
        Record::ActivityById(_) => "activity_by_id",
        Record::UserTimer(_) => "user_timer",
        Record::Request(_) => "request",
        Record::Due(_) => "due",
        Record::QueueTask(_) => "queue_task",
        Record::Visibility(_) => "visibility",
        Record::Update(_) => "update",
        Record::OpenUpdate(_) => "open_update",
        Record::Child(_) => "child",
        Record::External(_) => "external",
        Record::Message(_) => "message",
        Record::BranchUse(_) => "branch_use",
    }
}

fn show(inspection: &Inspection) {
    let Inspection {
        cluster_id,
        cluster_name,
        node_id,
        node_uuid,
        log,
        state,
    } = inspection;
    say(&format!(
        "node {node_id} ({node_uuid}) of cluster {cluster_name} ({cluster_id})"
    ));
    say(&format!(
        "log: entries {} to {}, term {}, committed to {} or further, {} bytes",
        log.purged + 1,
        log.last,
        log.term,
        log.committed,
        log.bytes
    ));
    for (kind, count) in &log.entries {
        say(&format!("  {count:>10}  {kind}"));
    }
    say("mutations:");
    for (kind, count) in &log.mutations {
        say(&format!("  {count:>10}  {kind}"));
    }
    let digest = state.digest.as_deref().unwrap_or("none yet");
    say(&format!(
        "state at rest: applied to {}, digest {digest}",
        state.applied
    ));
    for (kind, count) in &state.records {
        say(&format!("  {count:>10}  {kind}"));
    }
}
