//! Opens the real log in a directory, with its writer on a thread.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use steadfast_storage::disk::{Disk, RealDisk};
use steadfast_storage::log::{Log, LogOptions};

/// The log, and what to join before it is opened again.
pub(crate) fn open(dir: &Path) -> (Log, JoinHandle<()>) {
    open_on(Arc::new(RealDisk), dir)
}

pub(crate) fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> (Log, JoinHandle<()>) {
    let (log, writer, _recovered) =
        Log::open(disk, dir, LogOptions::default()).expect("the log opens");
    (log, std::thread::spawn(move || writer.run()))
}
