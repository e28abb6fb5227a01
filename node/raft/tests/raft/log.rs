//! Opens the real log in a directory, with its writer on a thread.

use std::path::Path;
use std::sync::Arc;
use steadfast_storage::disk::RealDisk;
use steadfast_storage::log::{Log, LogOptions};

pub(crate) fn open(dir: &Path) -> Log {
    let disk = Arc::new(RealDisk::default());
    let (log, writer, _recovered) =
        Log::open(disk, dir, LogOptions::default()).expect("the log opens");
    std::thread::spawn(move || writer.run());
    log
}
