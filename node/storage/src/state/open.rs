//! Opening the state of a directory, and building its index.

use super::digest::MarkDigest;
use super::fault::StateError;
use super::feed::Feeder;
use super::files::Files;
use super::index::{Index, IndexFactory};
use super::manifest::{LocalManifest, MANIFEST_FILE, Manifest, load, save};
use super::options::StateOptions;
use super::overlay::Layers;
use super::packed::{Complete, Packed};
use super::record::Record;
use super::record_file::RecordReader;
use super::shared::{Counts, Durable, Shared, Wake};
use super::staging::remove_staged;
use crate::disk::Disk;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use steadfast_planted::{Bug, planted};
use tokio::sync::watch;

const INDEX_PREFIX: &str = "index-";

/// Directory of an index.
pub(crate) fn index_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{INDEX_PREFIX}{number}"))
}

/// Opens what is in `dir`, or starts an empty state there.
pub(crate) fn open<R: Record>(
    disk: Arc<dyn Disk>,
    factory: Arc<dyn IndexFactory>,
    dir: &Path,
    options: StateOptions,
) -> Result<Shared<R>, StateError> {
    disk.create_dir_all(dir)
        .map_err(StateError::io("create", dir))?;
    let local = match load(&*disk, dir)? {
        Some(local) => {
            // A killed process may have renamed what no power cut has to keep. What is found is
            // about to be called durable, and the log purged up to it.
            disk.sync_dir(dir).map_err(StateError::io("fsync", dir))?;
            local
        }
        None => start_empty(&*disk, dir)?,
    };
    clean(&*disk, &*factory, dir, &local)?;
    let files = Files::open(disk.clone(), dir.to_path_buf(), local)?;
    let manifest = files.manifest();
    let counts = Counts::default();
    let index = index_dir(dir, files.local().index);
    let (packed, complete) =
        current_index(&*disk, &*factory, dir, &index, manifest, options, &counts)?;
    let digest = manifest.position.map(|position| MarkDigest {
        mark: manifest.mark,
        position,
        digest: complete.digest,
    });
    let layers = Layers::at_rest(packed, manifest, 0);
    let durable = Durable {
        position: manifest.position,
        mark: manifest.mark,
    };
    Ok(Shared {
        disk,
        factory,
        dir: dir.to_path_buf(),
        options,
        layers: Mutex::new(layers),
        files: Mutex::new(files),
        replaced: Mutex::default(),
        digests: Mutex::new(VecDeque::from_iter(digest)),
        newest_digest: watch::Sender::new(digest),
        durable: watch::Sender::new(durable),
        frozen: watch::Sender::new(0),
        room: Condvar::new(),
        stopping: AtomicBool::new(false),
        wake: Wake::default(),
        counts,
    })
}

/// A directory without a manifest must not have state files: then the manifest was lost.
fn start_empty(disk: &dyn Disk, dir: &Path) -> Result<LocalManifest, StateError> {
    let names = disk.list(dir).map_err(StateError::io("list", dir))?;
    if names.iter().any(|name| is_data(name)) {
        return Err(StateError::damaged(
            &dir.join(MANIFEST_FILE),
            "it is missing",
        ));
    }
    let local = LocalManifest {
        index: 1,
        manifest: Manifest::default(),
    };
    save(disk, dir, &local)?;
    Ok(local)
}

fn is_data(name: &str) -> bool {
    name.starts_with("base-") || name.starts_with("delta-")
}

/// Removes what a crash left: files without a name in the manifest, staged files, old indexes.
fn clean(
    disk: &dyn Disk,
    factory: &dyn IndexFactory,
    dir: &Path,
    local: &LocalManifest,
) -> Result<(), StateError> {
    remove_staged(disk, dir)?;
    let index = format!("{INDEX_PREFIX}{}", local.index);
    for name in disk.list(dir).map_err(StateError::io("list", dir))? {
        let path = dir.join(&name);
        let named = local.manifest.files().any(|file| file.name == name);
        if (is_data(&name) && !named) || name.ends_with(".tmp") {
            disk.remove(&path)
                .map_err(StateError::io("remove", &path))?;
        } else if name.starts_with(INDEX_PREFIX) && name != index {
            factory.discard(&path)?;
        }
    }
    Ok(())
}

/// The index of the directory, complete to the manifest: fed with what it lacks, or anew.
fn current_index(
    disk: &dyn Disk,
    factory: &dyn IndexFactory,
    dir: &Path,
    index: &Path,
    manifest: &Manifest,
    options: StateOptions,
    counts: &Counts,
) -> Result<(Arc<Packed>, Complete), StateError> {
    let oldest = manifest.base.as_ref().map_or(0, |base| base.mark);
    let found: Arc<dyn Index> = factory.open(index)?;
    let packed = Arc::new(Packed::new(found));
    match packed.complete() {
        Ok(complete) => {
            let complete = complete.unwrap_or_default();
            if (oldest..=manifest.mark).contains(&complete.mark) {
                match feed(disk, dir, &packed, manifest, complete, options, counts) {
                    Err(StateError::Index(error)) => {
                        tracing::warn!(%error, "the index is damaged: it is rebuilt from the state files");
                    }
                    fed => return Ok((packed, fed?)),
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the index is damaged: it is rebuilt from the state files")
        }
    }
    drop(packed);
    build_index(disk, factory, dir, index, manifest, options, counts)
}

/// A new index of all files of a manifest.
pub(crate) fn build_index(
    disk: &dyn Disk,
    factory: &dyn IndexFactory,
    dir: &Path,
    index: &Path,
    manifest: &Manifest,
    options: StateOptions,
    counts: &Counts,
) -> Result<(Arc<Packed>, Complete), StateError> {
    factory.discard(index)?;
    let packed = Arc::new(Packed::new(factory.open(index)?));
    let complete = feed(
        disk,
        dir,
        &packed,
        manifest,
        Complete::default(),
        options,
        counts,
    )?;
    Ok((packed, complete))
}

fn feed(
    disk: &dyn Disk,
    dir: &Path,
    packed: &Arc<Packed>,
    manifest: &Manifest,
    mut complete: Complete,
    options: StateOptions,
    counts: &Counts,
) -> Result<Complete, StateError> {
    let done = complete.mark;
    for file in manifest.files().filter(|file| file.mark > done) {
        if file.mark == manifest.mark && planted(Bug::NewestFileSkippedAtStart) {
            complete.mark = file.mark;
            break;
        }
        let source = RecordReader::open(disk, &dir.join(&file.name))?;
        let (now, counters) = Feeder::new(packed.clone(), source, options, complete, None).run()?;
        counts.add_feed(counters);
        complete = now;
    }
    Ok(complete)
}
