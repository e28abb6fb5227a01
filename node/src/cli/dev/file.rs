//! `dev.json`: where the cluster is, for tests and tools.

use crate::cli::dev::DevError;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Name of the file inside the data directory.
pub const NAME: &str = "dev.json";

/// The file's content. It is there while the cluster serves, and replaced whole whenever a node
/// was started again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DevFile {
    /// The cluster's id.
    pub cluster_id: String,
    /// The front door for workers and clients.
    pub grpc: String,
    /// The front door for health and metrics.
    pub http: String,
    /// The process of `steadfast dev`, which also carries the front door's bytes.
    pub pid: u32,
    /// The nodes, by id.
    pub nodes: Vec<DevNode>,
}

/// One node in the file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DevNode {
    /// Its number.
    pub id: u64,
    /// Its process now.
    pub pid: u32,
    /// `HOST:PORT`.
    pub grpc: String,
    /// `HOST:PORT`.
    pub raft: String,
    /// `HOST:PORT`.
    pub http: String,
    /// Its log and state.
    pub data_dir: PathBuf,
}

impl DevFile {
    /// Replaces the file; a reader sees the old one or the new one.
    pub fn write(&self, data_dir: &Path) -> Result<(), DevError> {
        let path = data_dir.join(NAME);
        let failed = |why: String| DevError::File {
            path: path.clone(),
            why,
        };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.to_string()))?;
        write_atomically(&path, &text).map_err(|error| failed(error.to_string()))
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<DevFile, DevError> {
        let failed = |why: String| DevError::File {
            path: path.into(),
            why,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }

    /// Removes the file of an earlier run, so that nobody mistakes it for this one's.
    pub fn remove(data_dir: &Path) -> Result<(), DevError> {
        let path = data_dir.join(NAME);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(DevError::File {
                path,
                why: error.to_string(),
            }),
        }
    }
}

/// Writes a small file so that it is there whole or not at all, also after a power cut.
pub(crate) fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests and tools in other languages read these names.
    #[test]
    fn the_shape_is_a_promise() {
        let file = DevFile {
            cluster_id: "c".into(),
            grpc: "127.0.0.1:7233".into(),
            http: "127.0.0.1:8233".into(),
            pid: 1,
            nodes: vec![DevNode {
                id: 1,
                pid: 2,
                grpc: "127.0.0.1:7261".into(),
                raft: "127.0.0.1:7271".into(),
                http: "127.0.0.1:8261".into(),
                data_dir: "/data/node-1".into(),
            }],
        };
        let want = serde_json::json!({
            "cluster_id": "c", "grpc": "127.0.0.1:7233", "http": "127.0.0.1:8233", "pid": 1,
            "nodes": [{
                "id": 1, "pid": 2, "grpc": "127.0.0.1:7261", "raft": "127.0.0.1:7271",
                "http": "127.0.0.1:8261", "data_dir": "/data/node-1",
            }],
        });
        assert_eq!(serde_json::to_value(&file).unwrap(), want);

        let dir = tempfile::tempdir().unwrap();
        file.write(dir.path()).unwrap();
        file.write(dir.path()).unwrap();
        assert_eq!(DevFile::read(&dir.path().join(NAME)).unwrap(), file);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing left behind"
        );
        DevFile::remove(dir.path()).unwrap();
        DevFile::remove(dir.path()).unwrap();
    }
}
