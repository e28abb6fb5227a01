//! The keeper brings frozen overlays to rest, off the apply thread.
//!
//! For each, in order: a delta file, its name in the manifest (now it is durable), the index, and
//! then the overlay is dropped. Between, it merges deltas into one, or all files into a new base
//! when the deltas have grown, at a limited pace.

use super::block::Block;
use super::digest::MarkDigest;
use super::fault::StateError;
use super::feed::Feeder;
use super::manifest::Manifest;
use super::merge::{FileMerge, MergedFile, finish_file};
use super::options::StateOptions;
use super::overlay::Frozen;
use super::packed::{Complete, Packed};
use super::record::{Key, Record};
use super::record_file::{FileHeader, FileKind, RecordReader, RecordWriter};
use super::shared::{Durable, Shared};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use steadfast_planted::{Bug, planted};

/// Records of an overlay written to the delta in one step.
const WRITE_RECORDS: usize = 512;
/// Bytes read by one step of a merge; the pause after it is in proportion.
const MERGE_STEP_BYTES: u64 = 256 * 1024;
/// While overlays wait, every so many steps one goes to the merge.
const MERGE_TURN: u64 = 4;
const DELTA_TEMPORARY: &str = "delta.tmp";

/// Runs the work of a [`StateStore`](super::StateStore). Exactly one per store; without it nothing
/// becomes durable.
#[derive(Debug)]
pub struct Keeper<R> {
    shared: Arc<Shared<R>>,
    job: Option<Job<R>>,
    merge: Option<FileMerge>,
    generation: u64,
    steps: u64,
}

/// What a step of the keeper did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeeperStep {
    /// Something; there may be more.
    Worked,
    /// A piece of a merge: the next is due after this pause, or when there is other work.
    Rest(Duration),
    /// Nothing to do until woken.
    Idle,
    /// The store was stopped.
    Stopped,
}

#[derive(Debug)]
enum Job<R> {
    Write(Box<WriteDelta<R>>),
    Feed {
        frozen: Arc<Frozen<R>>,
        feeder: Box<Feeder>,
    },
}

#[derive(Debug)]
struct WriteDelta<R> {
    frozen: Arc<Frozen<R>>,
    writer: RecordWriter,
    cursor: Option<Key>,
    probe: Probe,
}

impl<R: Record> Keeper<R> {
    pub(crate) fn new(shared: Arc<Shared<R>>) -> Self {
        let generation = shared.layers().generation;
        Self {
            shared,
            job: None,
            merge: None,
            generation,
            steps: 0,
        }
    }

    /// Works until the store is stopped or all its handles are dropped. Blocks: needs a thread of
    /// its own.
    ///
    /// # Errors
    /// [`StateError`]; the node must stop, for nothing more becomes durable.
    pub fn run(mut self) -> Result<(), StateError> {
        loop {
            match self.step()? {
                KeeperStep::Worked => {}
                KeeperStep::Rest(pause) => self.shared.wake.wait(Some(pause)),
                KeeperStep::Idle => self.shared.wake.wait(None),
                KeeperStep::Stopped => return Ok(()),
            }
        }
    }

    /// As [`Keeper::run`], on a task that yields between steps: for simulation.
    ///
    /// # Errors
    /// As [`Keeper::run`].
    pub async fn run_on_task(mut self) -> Result<(), StateError> {
        loop {
            match self.step()? {
                KeeperStep::Worked => tokio::task::yield_now().await,
                KeeperStep::Rest(pause) => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shared.wake.woken() => {}
                    }
                }
                KeeperStep::Idle => self.shared.wake.woken().await,
                KeeperStep::Stopped => return Ok(()),
            }
        }
    }

    /// Does all the work there is, pauses left out: for tests and tools.
    ///
    /// # Errors
    /// As [`Keeper::run`].
    pub fn settle(&mut self) -> Result<(), StateError> {
        loop {
            match self.step()? {
                KeeperStep::Worked | KeeperStep::Rest(_) => {}
                KeeperStep::Idle | KeeperStep::Stopped => return Ok(()),
            }
        }
    }

    /// Does a bounded piece of work.
    ///
    /// # Errors
    /// As [`Keeper::run`]. After an error only dropping it is allowed.
    pub fn step(&mut self) -> Result<KeeperStep, StateError> {
        let done = self.try_step();
        if done.is_err() {
            self.shared.stop();
        }
        done
    }

    fn try_step(&mut self) -> Result<KeeperStep, StateError> {
        if self.shared.is_stopping() {
            let packed = self.shared.layers().packed.clone();
            packed.index().flush()?;
            return Ok(KeeperStep::Stopped);
        }
        self.forget_replaced_state();
        self.steps += 1;
        if self.job.is_none() {
            self.job = self.next_job()?;
        }
        let merge_turn = self.merge.is_some() && self.steps.is_multiple_of(MERGE_TURN);
        match self.job.take() {
            Some(job) if !merge_turn => {
                self.job = self.advance(job)?;
                Ok(KeeperStep::Worked)
            }
            job => {
                let busy = job.is_some();
                self.job = job;
                let step = self.merge_step()?;
                Ok(if busy { KeeperStep::Worked } else { step })
            }
        }
    }

    /// After an install, what was begun for the state before is void.
    fn forget_replaced_state(&mut self) {
        let generation = self.shared.layers().generation;
        if self.generation != generation {
            self.generation = generation;
            self.job = None;
            self.merge = None;
        }
    }

    fn next_job(&self) -> Result<Option<Job<R>>, StateError> {
        let (frozen, packed) = {
            let layers = self.shared.layers();
            let Some(frozen) = layers.frozen.last().cloned() else {
                return Ok(None);
            };
            (frozen, layers.packed.clone())
        };
        let header = FileHeader {
            kind: FileKind::Delta,
            mark: frozen.mark,
            position: frozen.position,
        };
        let path = self.shared.dir.join(DELTA_TEMPORARY);
        let writer = RecordWriter::create(&*self.shared.disk, path, &header)?;
        let probe = Probe { packed, last: None };
        Ok(Some(Job::Write(Box::new(WriteDelta {
            frozen,
            writer,
            cursor: None,
            probe,
        }))))
    }

    fn advance(&mut self, job: Job<R>) -> Result<Option<Job<R>>, StateError> {
        match job {
            Job::Write(mut write) => {
                if write.step()? {
                    return Ok(Some(Job::Write(write)));
                }
                self.name_delta(*write)
            }
            Job::Feed { frozen, mut feeder } => match feeder.step()? {
                None => Ok(Some(Job::Feed { frozen, feeder })),
                Some((complete, counters)) => {
                    self.shared.counts.add_feed(counters);
                    self.drop_frozen(&frozen, complete);
                    Ok(None)
                }
            },
        }
    }

    /// Makes the delta durable and goes on to the index.
    fn name_delta(&mut self, write: WriteDelta<R>) -> Result<Option<Job<R>>, StateError> {
        let shared = &self.shared;
        let WriteDelta {
            frozen,
            writer,
            probe,
            ..
        } = write;
        let mut files = shared.files();
        if shared.layers().generation != self.generation {
            return Ok(None);
        }
        let entry = finish_file(
            &*shared.disk,
            writer,
            &shared.dir,
            FileKind::Delta,
            frozen.mark,
        )?;
        shared.counts.deltas_written.fetch_add(1, Ordering::Relaxed);
        shared
            .counts
            .delta_bytes
            .fetch_add(entry.len, Ordering::Relaxed);
        let path = shared.dir.join(&entry.name);
        let mut local = files.local().clone();
        local.manifest.mark = frozen.mark;
        local.manifest.position = Some(frozen.position);
        local.manifest.meta = frozen.meta.clone();
        local.manifest.deltas.push(entry);
        files.replace(local)?;
        shared.durable.send_replace(Durable {
            position: Some(frozen.position),
            mark: frozen.mark,
        });
        let undo = shared.layers().frozen_undo.pop_front();
        drop(files);
        let complete = probe.packed.complete()?.unwrap_or_default();
        assert_eq!(complete.mark + 1, frozen.mark, "the index is fed in order");
        let source = RecordReader::open(&*shared.disk, &path)?;
        let feeder = Box::new(Feeder::new(
            probe.packed,
            source,
            shared.options,
            complete,
            undo,
        ));
        Ok(Some(Job::Feed { frozen, feeder }))
    }

    fn drop_frozen(&self, frozen: &Frozen<R>, complete: Complete) {
        let mut layers = self.shared.layers();
        if layers.generation != self.generation {
            return;
        }
        layers.thaw(frozen.mark);
        self.shared.frozen.send_replace(layers.frozen.len());
        self.shared.room.notify_all();
        drop(layers);
        self.shared.add_digest(MarkDigest {
            mark: frozen.mark,
            position: frozen.position,
            digest: complete.digest,
        });
    }

    fn merge_step(&mut self) -> Result<KeeperStep, StateError> {
        if self.merge.is_none() {
            self.sweep()?;
            let pinned = self.shared.files().pin();
            let Some(skipped) = due_merge(pinned.manifest(), &self.shared.options) else {
                return Ok(KeeperStep::Idle);
            };
            self.merge = FileMerge::start(pinned, skipped, &self.shared.dir)?;
        }
        let Some(mut merge) = self.merge.take() else {
            return Ok(KeeperStep::Idle);
        };
        let (bytes, more) = merge.step(MERGE_STEP_BYTES)?;
        if more {
            self.merge = Some(merge);
        } else {
            self.name_merged(merge)?;
        }
        let micros =
            bytes.saturating_mul(1_000_000) / self.shared.options.merge_bytes_per_second.max(1);
        Ok(KeeperStep::Rest(Duration::from_micros(micros)))
    }

    /// The merged file takes the place of those it was made of.
    fn name_merged(&self, merge: FileMerge) -> Result<(), StateError> {
        let shared = &self.shared;
        let mut files_held = shared.files();
        if shared.layers().generation != self.generation {
            return Ok(());
        }
        // A killed process must find the index at least as far as the base, or feed it all again.
        let packed = shared.layers().packed.clone();
        packed.index().flush()?;
        let MergedFile {
            kind,
            entry,
            merged,
            digest,
        } = merge.finish(&shared.dir)?;
        let mark = entry.mark;
        let known = shared
            .digests()
            .iter()
            .find(|known| known.mark == mark)
            .map(|known| known.digest);
        if let Some((index, files)) = known.zip(digest).filter(|(index, files)| index != files) {
            // The files are checked, the index is not: the next start makes another from them.
            let mut local = files_held.local().clone();
            local.index += 1;
            files_held.replace(local)?;
            return Err(StateError::DigestDiffers { mark, index, files });
        }
        shared.counts.merges.fetch_add(1, Ordering::Relaxed);
        shared
            .counts
            .merge_bytes
            .fetch_add(entry.len, Ordering::Relaxed);
        let mut local = files_held.local().clone();
        let deltas = &mut local.manifest.deltas;
        deltas.retain(|delta| !merged.contains(delta));
        match kind {
            FileKind::Base => local.manifest.base = Some(entry),
            FileKind::Delta => {
                let place = deltas.partition_point(|delta| delta.mark < mark);
                deltas.insert(place, entry);
            }
        }
        files_held.replace(local)
    }

    fn sweep(&self) -> Result<(), StateError> {
        self.shared.files().sweep()?;
        let mut replaced = self.shared.replaced();
        let (free, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut *replaced)
            .into_iter()
            .partition(|(packed, _)| Arc::strong_count(packed) == 1);
        *replaced = kept;
        drop(replaced);
        for (packed, dir) in free {
            drop(packed);
            self.shared.factory.discard(&dir)?;
        }
        Ok(())
    }
}

/// Which merge is due, as the number of lowest files left out of it: 0 for a new base.
fn due_merge(manifest: &Manifest, options: &StateOptions) -> Option<usize> {
    let deltas = &manifest.deltas;
    let bytes: u64 = deltas.iter().map(|delta| delta.len).sum();
    let base = manifest.base.as_ref().map_or(0, |base| base.len);
    if bytes > (base / 2).max(options.merge_min_bytes) {
        return Some(0);
    }
    if deltas.len() < options.merge_max_deltas.max(4) {
        return None;
    }
    // Many small ones become one, without touching much bigger ones: so each byte is written again
    // only a few times.
    let mut count = 0;
    let mut sum = 0;
    for delta in deltas.iter().rev() {
        if count > deltas.len() / 2 && delta.len > 2 * sum {
            break;
        }
        sum += delta.len;
        count += 1;
    }
    Some(usize::from(manifest.base.is_some()) + deltas.len() - count)
}

impl<R: Record> WriteDelta<R> {
    /// Writes some records; whether there are more.
    fn step(&mut self) -> Result<bool, StateError> {
        let from = match &self.cursor {
            Some(cursor) => Bound::Excluded(cursor.clone()),
            None => Bound::Unbounded,
        };
        let records = self
            .frozen
            .records
            .range::<_, Key>((from, Bound::Unbounded));
        let mut count = 0;
        for (key, value) in records.take(WRITE_RECORDS) {
            match value {
                Some(_) if count + 1 == WRITE_RECORDS && planted(Bug::RecordDroppedAtMark) => {}
                Some(record) => self.writer.push(key, Some(&record.encode()))?,
                // What was born and died between two marks was never at rest.
                None if self.probe.contains(key)? => self.writer.push(key, None)?,
                None => {}
            }
            self.cursor = Some(key.clone());
            count += 1;
        }
        Ok(count == WRITE_RECORDS)
    }
}

/// Asks for keys in ascending order whether they are in the index; remembers the last block.
#[derive(Debug)]
struct Probe {
    packed: Arc<Packed>,
    last: Option<(Block, Key)>,
}

impl Probe {
    fn contains(&mut self, key: &Key) -> Result<bool, StateError> {
        let covered = self
            .last
            .as_ref()
            .is_some_and(|(block, end)| block.bound() <= key && key <= end);
        if !covered {
            self.last = match self.packed.block_at(key)? {
                None => None,
                Some(block) => {
                    let end = block
                        .entries()?
                        .last()
                        .map_or_else(|| block.bound().clone(), |entry| entry.key.clone());
                    Some((block, end))
                }
            };
        }
        match &self.last {
            None => Ok(false),
            Some((block, _)) => Ok(block.find(key)?.is_some()),
        }
    }
}
