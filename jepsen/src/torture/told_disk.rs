//! The real file system, which tells of the first call that fails on each kind of file: that was
//! what a power cut met.

use super::life::Voice;
use super::report::Report;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use steadfast_storage::disk::{Disk, DiskFile, DiskLock, RealDisk, Space};

/// The real file system.
#[derive(Debug, Clone)]
pub(super) struct ToldDisk {
    voice: Voice,
}

#[derive(Debug)]
struct ToldFile {
    file: Arc<dyn DiskFile>,
    kind: &'static str,
    voice: Voice,
}

impl ToldDisk {
    pub(super) fn new(voice: Voice) -> ToldDisk {
        ToldDisk { voice }
    }

    fn told<T>(&self, path: &Path, call: &str, result: io::Result<T>) -> io::Result<T> {
        told(&self.voice, kind(path), call, result)
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(ToldFile {
            file,
            kind: kind(path),
            voice: self.voice.clone(),
        })
    }
}

/// A failure that the machine made: what is missing or locked is an answer.
fn told<T>(voice: &Voice, kind: &str, call: &str, result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result
        && !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists | io::ErrorKind::WouldBlock
        )
    {
        voice.say_once(&Report::Failed {
            kind: kind.to_owned(),
            call: call.to_owned(),
        });
    }
    result
}

/// What a file is for, by its name.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.as_ref() {
        name if name.ends_with(".log") => "segment",
        name if name.starts_with("MANIFEST") => "manifest",
        name if name.starts_with("delta") => "delta",
        name if name.starts_with("base") || name.starts_with("merge") => "merge",
        _ => "directory",
    }
}

impl Disk for ToldDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.told(path, "create", RealDisk.create(path))?;
        Ok(self.file(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.told(path, "open", RealDisk.open(path))?;
        Ok(self.file(path, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.told(to, "rename", RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.told(path, "remove", RealDisk.remove(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.told(path, "remove", RealDisk.remove_dir_all(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.told(path, "create", RealDisk.create_dir_all(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.told(dir, "list", RealDisk.list(dir))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.told(path, "exists", RealDisk.exists(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.told(dir, "sync", RealDisk.sync_dir(dir))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        RealDisk.space(dir)
    }

    fn sync_takes(&self) -> Duration {
        RealDisk.sync_takes()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.told(path, "lock", RealDisk.lock(path))
    }
}

impl DiskFile for ToldFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_at(offset, bytes);
        told(&self.voice, self.kind, "write", written)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(offset, buffer);
        told(&self.voice, self.kind, "read", read)
    }

    fn sync_data(&self) -> io::Result<()> {
        told(&self.voice, self.kind, "sync", self.file.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        told(&self.voice, self.kind, "resize", self.file.set_len(len))
    }
}
