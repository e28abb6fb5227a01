//! One `steadfast dev` per data directory.

use crate::cli::dev::DevError;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held for as long as the process works on the directory; the kernel releases it however the
/// process ends.
#[derive(Debug)]
pub struct DevLock {
    _file: File,
}

/// Takes the directory, or says who has it.
pub fn take(data_dir: &Path) -> Result<DevLock, DevError> {
    let path = data_dir.join("dev.lock");
    let failed = |error: std::io::Error| DevError::File {
        path: path.clone(),
        why: error.to_string(),
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(error.into()));
        }
        let mut pid = String::new();
        file.take(32).read_to_string(&mut pid).map_err(failed)?;
        return Err(DevError::InUse {
            dir: data_dir.into(),
            pid: pid.trim().into(),
        });
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(DevLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = take(dir.path()).unwrap();
        let error = take(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(lock);
        take(dir.path()).unwrap();
    }
}
