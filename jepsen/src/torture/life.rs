//! The process that keeps: opens what is there, tells what it found, and works until it is ended.

mod work;

use super::report::{FoundLog, FoundState, Report};
use super::story::{self, Text};
use super::told_disk::ToldDisk;
use super::told_index::ToldIndexFactory;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use steadfast_storage::Position;
use steadfast_storage::directory::{Directory, DirectoryError};
use steadfast_storage::log::{Log, LogEntry, LogError, LogFault, LogOptions, LogWriter, Recovered};
use steadfast_storage::state::{
    Keeper, SledIndexFactory, StateError, StateFault, StateOptions, StateStore, View,
};
use work::Work;

/// sled's cache: less than the state, so that it reads its own files, too.
const SLED_CACHE_BYTES: u64 = 1 << 20;

/// What one life is told.
#[derive(Debug, Clone)]
pub struct Life {
    /// The data directory.
    pub dir: PathBuf,
    /// Which story is written.
    pub story: u64,
    /// From 1; lives count on when the directory is wiped.
    pub number: u64,
    /// Entries up to this one are committed: a leader would say so.
    pub committed: u64,
    /// Stands for the boot id of the machine.
    pub boot: String,
    /// Draws what is done.
    pub seed: u64,
}

/// Why a life cannot go on.
#[derive(Debug, thiserror::Error)]
enum LifeError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    LogFault(#[from] LogFault),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    StateFault(#[from] StateFault),
    #[error("{0}")]
    Wrong(String),
}

/// Tells the other process.
#[derive(Debug, Clone, Default)]
pub(super) struct Voice {
    said: Arc<Mutex<BTreeSet<String>>>,
}

impl Voice {
    pub(super) fn say(&self, report: &Report) {
        // Whoever listened may be gone; the end of our input tells so.
        writeln!(std::io::stdout(), "{report}").ok();
    }

    /// Only the first of equal ones.
    pub(super) fn say_once(&self, report: &Report) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(report.to_string()) {
            self.say(report);
        }
    }
}

fn log_options() -> LogOptions {
    LogOptions {
        segment_bytes: 24 << 10,
        extend_bytes: 8 << 10,
        cache_bytes: 8 << 10,
        batch_records: 16,
        batch_bytes: 16 << 10,
    }
}

fn state_options() -> StateOptions {
    StateOptions {
        block_bytes: 1_000,
        index_block_bytes: 2_000,
        batch_records: 8,
        merge_min_bytes: 40_000,
        merge_max_deltas: 9,
        ..StateOptions::new(story::grouping)
    }
}

/// Lives until its input ends or it cannot go on; says why.
///
/// # Errors
/// When it could not go on.
pub fn keep(life: &Life) -> Result<(), String> {
    let voice = Voice::default();
    let lived = Open::begin(life, &voice).and_then(|open| open.live(life));
    lived.map_err(|error| {
        voice.say(&Report::Fault(error.to_string()));
        error.to_string()
    })
}

/// What is open.
struct Open {
    voice: Voice,
    log: Log,
    store: StateStore<Text>,
    writer: LogWriter,
    keeper: Keeper<Text>,
    _directory: Directory,
}

impl Open {
    /// Opens it and tells what was found.
    fn begin(life: &Life, voice: &Voice) -> Result<Open, LifeError> {
        let began = Instant::now();
        let disk = Arc::new(ToldDisk::new(voice.clone()));
        let directory = Directory::open(disk.clone(), &life.dir)?;
        let (log, writer, recovered) =
            Log::open(disk.clone(), &directory.log_dir(), log_options())?;
        tell_log(voice, &log, &recovered)?;
        let sled = SledIndexFactory::with_boot_id(SLED_CACHE_BYTES, &life.boot);
        let index = Arc::new(ToldIndexFactory::new(sled, voice.clone()));
        let (store, keeper) =
            StateStore::open(disk, index.clone(), &directory.state_dir(), state_options())?;
        let mut found = FoundState {
            mark: store.durable().borrow().mark,
            index: index_of(store.applied()),
            meta: story::hash(&store.meta()),
            believed: index.believed(),
            ..FoundState::default()
        };
        found.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(known) = store.digests().last() {
            found.digest = known.digest;
        }
        if let Some(known) = store.recompute_digest()? {
            found.recomputed = known.digest;
        }
        voice.say(&Report::FoundState(found));
        tell_records(voice, &store.view())?;
        voice.say(&Report::StateEnd);
        Ok(Open {
            voice: voice.clone(),
            log,
            store,
            writer,
            keeper,
            _directory: directory,
        })
    }

    /// Takes in again what is committed, works, and ends in order.
    fn live(self, life: &Life) -> Result<(), LifeError> {
        let Open {
            voice,
            log,
            store,
            writer,
            keeper,
            ..
        } = self;
        let writes = std::thread::spawn(move || writer.run());
        let keeps = spawn_keeper(keeper, voice.clone());
        for index in index_of(store.applied()) + 1..=life.committed {
            take_in(&store, life.story, &read_one(&log, life.story, index)?)?;
        }
        tell_records(&voice, &store.view())?;
        voice.say(&Report::RebuiltEnd(index_of(store.applied())));
        let stopping = until_input_ends();
        voice.say(&Report::Ready);
        let mut work = Work::new(life, &voice, &log, &store);
        while !stopping.load(Ordering::Relaxed) {
            work.step()?;
        }
        let committed = work.end()?;
        tell_records(&voice, &store.view())?;
        voice.say(&Report::LastEnd(committed));
        drop(log);
        let broken = |_| LifeError::Wrong("a thread of the storage room panicked".into());
        writes.join().map_err(broken)?;
        store.stop();
        keeps.join().map_err(broken)?;
        drop(store);
        voice.say(&Report::Ended);
        Ok(())
    }
}

fn spawn_keeper(keeper: Keeper<Text>, voice: Voice) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Err(error) = keeper.run() {
            voice.say(&Report::Fault(error.to_string()));
        }
    })
}

/// Set when nobody writes to our input any more.
fn until_input_ends() -> Arc<AtomicBool> {
    let stopping = Arc::new(AtomicBool::new(false));
    let ended = stopping.clone();
    std::thread::spawn(move || {
        // An error is an end, too.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        ended.store(true, Ordering::Relaxed);
    });
    stopping
}

/// The index of a place; 0 for none.
fn index_of(position: Option<Position>) -> u64 {
    position.map_or(0, |position| position.index)
}

fn tell_log(voice: &Voice, log: &Log, recovered: &Recovered) -> Result<(), LifeError> {
    let index = |position: Option<Position>| position.map(|position| position.index);
    let vote = recovered.vote.as_ref().map(|vote| {
        let text = std::str::from_utf8(vote).unwrap_or_default();
        text.parse().unwrap_or(0)
    });
    voice.say(&Report::FoundLog(FoundLog {
        vote,
        committed: index(recovered.committed),
        purged: index(recovered.purged),
        last: index(recovered.last),
    }));
    let first = index_of(recovered.purged) + 1;
    for entry in log.read(first, u64::MAX, usize::MAX)? {
        voice.say(&Report::Entry {
            term: entry.position.term,
            index: entry.position.index,
            hash: story::hash(&entry.payload),
        });
    }
    voice.say(&Report::LogEnd);
    Ok(())
}

/// Tells all records of a view, after asking for them in three ways.
fn tell_records(voice: &Voice, view: &View<Text>) -> Result<(), LifeError> {
    let all = |reverse| view.scan(Bound::Unbounded, Bound::Unbounded, usize::MAX, reverse);
    let records = all(false)?;
    let mut backwards = all(true)?;
    backwards.reverse();
    if records != backwards {
        return Err(LifeError::Wrong(
            "a scan backwards shows other records".into(),
        ));
    }
    for (key, value) in records {
        if view.get(&key)?.as_ref() != Some(&value) {
            let what = format!("a get of {key:?} shows something else than a scan");
            return Err(LifeError::Wrong(what));
        }
        voice.say(&Report::Record {
            key: key.to_vec(),
            hash: story::hash(&value.0),
        });
    }
    Ok(())
}

/// An entry of the log, which must be the one that was written.
fn read_one(log: &Log, story: u64, index: u64) -> Result<LogEntry, LifeError> {
    let mut found = log.read(index, index + 1, usize::MAX)?;
    let Some(entry) = found.pop() else {
        return Err(LifeError::Wrong(format!("entry {index} is not in the log")));
    };
    match story::entry(story, entry.position.term, index) == entry {
        true => Ok(entry),
        false => Err(LifeError::Wrong(format!("entry {index} has other bytes"))),
    }
}

/// Takes an entry into the state.
fn take_in(store: &StateStore<Text>, story: u64, entry: &LogEntry) -> Result<(), LifeError> {
    let Position { term, index, .. } = entry.position;
    let changes = story::changes(story, term, index).into_iter();
    let changes = changes.map(|(key, value)| (key, value.map(|value| Arc::new(Text(value)))));
    store.merge(changes.collect(), entry.position);
    if story::is_mark(index) {
        if !store.wait_for_room() {
            return Err(LifeError::Wrong("the keeper of the state has ended".into()));
        }
        store.mark(story::meta(term, index));
    }
    Ok(())
}
