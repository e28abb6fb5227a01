//! The data directory of a node: one process at a time, one node of one cluster for ever.

use crate::disk::{Disk, DiskLock};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const LOCK: &str = "LOCK";
const IDENTITY: &str = "IDENTITY";
const IDENTITY_NEW: &str = "IDENTITY.new";
/// There since the log held something: from then on an empty log is a lost one.
const LOG_BEGUN: &str = "LOG-BEGUN";
const TITLE: &str = "steadfast data directory";
/// Layout of the data directory; a program that does not know it must not touch it.
pub(crate) const FORMAT: u32 = 3;
/// Bounds the read of a file that may be anything.
const MAX_IDENTITY_BYTES: u64 = 64 << 10;

/// Whose data a directory holds. Written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What people call the cluster. (Its id is made by its first leader and lies in the state.)
    pub cluster_name: String,
    /// The node's number in the cluster.
    pub node_id: u64,
    /// Random at creation: a node that lost its disk is another node.
    pub node_uuid: Uuid,
    /// The members the cluster was founded with, as `HOST:PORT` by node id; empty for a node that
    /// joined later.
    pub initial_members: BTreeMap<u64, String>,
}

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process works on it.
    #[error("the data directory {} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It belongs to another node or cluster, or was founded with other members.
    #[error(
        "the data directory {} belongs to {field} {found}, not {wanted}; give this node its own \
         --data-dir, or start it with the values it was created with", dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What differs.
        field: &'static str,
        /// What the directory says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The identity cannot be read.
    #[error(
        "the file {} is damaged ({what}); restore it from a backup, or remove this node from the \
         cluster (`steadfast cluster remove`) and start one with a new --node-id, an empty \
         --data-dir and --join", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A newer program made it.
    #[error("the data directory {} has format {found}; this version knows format {FORMAT}", dir.display())]
    UnknownFormat {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: String,
    },
    /// The log of a node that had one is gone, and with it the node's votes and what it had
    /// acknowledged: it must not come back under its id.
    #[error(
        "the log of node {node_id} in {} is missing, empty or without the node's vote, but the \
         node had one: what it had promised is lost, so it must not run under this id again; put \
         the log back, or remove the node from the cluster (`steadfast cluster remove --member \
         {node_id}`) and start one with a new --node-id, an empty --data-dir and --join",
        dir.display()
    )]
    LogLost {
        /// The directory of the log.
        dir: PathBuf,
        /// Whose it was.
        node_id: u64,
    },
    /// The identity has a line break or is too long to be stored.
    #[error("{field} cannot be stored: it has a line break, or is too long")]
    Unstorable {
        /// Which field.
        field: &'static str,
    },
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A data directory, locked for this process while it lives.
#[derive(Debug)]
pub struct Directory {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: Option<Identity>,
    _lock: Box<dyn DiskLock>,
}

/// Notes that a directory's log holds something.
#[derive(Debug, Clone)]
pub struct LogMarker {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl LogMarker {
    /// Durable when this returns. To be called only when an entry or a vote is durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set(&self) -> Result<(), DirectoryError> {
        let path = self.dir.join(LOG_BEGUN);
        let exists = self.disk.exists(&path).map_err(failed("read", &path))?;
        if !exists {
            self.disk.create(&path).map_err(failed("create", &path))?;
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(failed("sync", &self.dir))
    }
}

impl Directory {
    /// Creates the directory when needed, locks it, and reads whose it is.
    ///
    /// # Errors
    /// When another process holds it, its identity is damaged, or the disk fails.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Directory, DirectoryError> {
        disk.create_dir_all(dir).map_err(failed("create", dir))?;
        let path = dir.join(LOCK);
        let lock = disk.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DirectoryError::Locked {
                dir: dir.to_path_buf(),
            },
            _ => failed("lock", &path)(error),
        })?;
        let identity = read_identity(disk.as_ref(), dir)?;
        Ok(Directory {
            disk,
            dir: dir.to_path_buf(),
            identity,
            _lock: lock,
        })
    }

    /// Whose directory this is; nothing when it is new.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Makes a new directory that of a node, durable when this returns. When it already has an
    /// identity, cluster, node and (unless `wanted` names none) founding members must be the same;
    /// the node's uuid stays what it was. Returns the identity that holds.
    ///
    /// # Errors
    /// When it is another node's, or the disk fails.
    pub fn establish(&mut self, wanted: Identity) -> Result<&Identity, DirectoryError> {
        match &self.identity {
            Some(found) => {
                self.check(found, &wanted)?;
                self.check_log(found.node_id)?;
            }
            None => write_identity(self.disk.as_ref(), &self.dir, &wanted)?,
        }
        Ok(self.identity.get_or_insert(wanted))
    }

    /// To note that the log holds something.
    pub fn log_marker(&self) -> LogMarker {
        LogMarker {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
        }
    }

    /// The refusal of a node whose log is gone.
    pub fn log_lost(&self, node_id: u64) -> DirectoryError {
        DirectoryError::LogLost {
            dir: self.log_dir(),
            node_id,
        }
    }

    fn check_log(&self, node_id: u64) -> Result<(), DirectoryError> {
        let (marker, log) = (self.dir.join(LOG_BEGUN), self.log_dir());
        if !self.disk.exists(&marker).map_err(failed("read", &marker))? {
            return Ok(());
        }
        let there = self.disk.exists(&log).map_err(failed("read", &log))?;
        let files = if there {
            self.disk.list(&log).map_err(failed("list", &log))?
        } else {
            Vec::new()
        };
        if files.is_empty() {
            return Err(self.log_lost(node_id));
        }
        Ok(())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where the log is.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Where the state is.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn check(&self, found: &Identity, wanted: &Identity) -> Result<(), DirectoryError> {
        let members = !wanted.initial_members.is_empty();
        let fields = [
            (
                "cluster name",
                found.cluster_name.clone(),
                wanted.cluster_name.clone(),
                true,
            ),
            (
                "node",
                found.node_id.to_string(),
                wanted.node_id.to_string(),
                true,
            ),
            (
                "initial members",
                members_text(found),
                members_text(wanted),
                members,
            ),
        ];
        for (field, found, wanted, counts) in fields {
            if counts && found != wanted {
                return Err(DirectoryError::Foreign {
                    dir: self.dir.clone(),
                    field,
                    found,
                    wanted,
                });
            }
        }
        Ok(())
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    move |source| DirectoryError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}

fn members_text(identity: &Identity) -> String {
    let members: Vec<String> = identity
        .initial_members
        .iter()
        .map(|(id, address)| format!("{id}={address}"))
        .collect();
    members.join(",")
}

/// Lines for people, with a checksum for us.
fn to_text(identity: &Identity) -> Result<String, DirectoryError> {
    let members = members_text(identity);
    for (field, text) in [
        ("the cluster name", &identity.cluster_name),
        ("the initial members", &members),
    ] {
        if text.contains(['\n', '\r']) || text.len() as u64 > MAX_IDENTITY_BYTES / 4 {
            return Err(DirectoryError::Unstorable { field });
        }
    }
    let mut text = format!(
        "{TITLE}\nformat {FORMAT}\ncluster_name {}\nnode_id {}\nnode_uuid {}\ninitial_members {members}\n",
        identity.cluster_name, identity.node_id, identity.node_uuid,
    );
    let crc = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("crc {crc:08x}\n"));
    Ok(text)
}

/// Why a text is no identity of ours.
enum Unreadable {
    Format(String),
    Damaged(&'static str),
}

fn from_text(text: &str) -> Result<Identity, Unreadable> {
    let body_end = text
        .rfind("crc ")
        .ok_or(Unreadable::Damaged("it has no checksum"))?;
    let (body, crc) = text.split_at(body_end);
    let mut lines = body.lines();
    if lines.next() != Some(TITLE) {
        return Err(Unreadable::Damaged("it does not begin as it should"));
    }
    // The format comes before the checksum: a later one may check differently.
    let mut value = |name: &str| {
        let line = lines.next().and_then(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(' '))
            .ok_or(Unreadable::Damaged("a line is missing"))
    };
    let format = value("format")?;
    if format != FORMAT.to_string() {
        return Err(Unreadable::Format(format.to_owned()));
    }
    if crc != format!("crc {:08x}\n", crc32fast::hash(body.as_bytes())) {
        return Err(Unreadable::Damaged("its checksum does not hold"));
    }
    let number = |_| Unreadable::Damaged("a number is not one");
    let cluster_name = value("cluster_name")?.to_owned();
    let node_id = value("node_id")?.parse().map_err(number)?;
    let node_uuid = value("node_uuid")?
        .parse()
        .map_err(|_| Unreadable::Damaged("a uuid is not one"))?;
    let mut initial_members = BTreeMap::new();
    for member in value("initial_members")?
        .split(',')
        .filter(|member| !member.is_empty())
    {
        let (id, address) = member
            .split_once('=')
            .ok_or(Unreadable::Damaged("a member has no address"))?;
        initial_members.insert(id.parse().map_err(number)?, address.to_owned());
    }
    Ok(Identity {
        cluster_name,
        node_id,
        node_uuid,
        initial_members,
    })
}

fn read_identity(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, DirectoryError> {
    let path = dir.join(IDENTITY);
    let damaged = |what: &str| DirectoryError::Damaged {
        file: path.clone(),
        what: what.to_owned(),
    };
    if !disk.exists(&path).map_err(failed("read", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path).map_err(failed("open", &path))?;
    let len = file.len().map_err(failed("read", &path))?;
    if len > MAX_IDENTITY_BYTES {
        return Err(damaged("it is too long"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes).map_err(failed("read", &path))?;
    bytes.truncate(read);
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    match from_text(&text) {
        Ok(identity) => Ok(Some(identity)),
        Err(Unreadable::Format(found)) => Err(DirectoryError::UnknownFormat {
            dir: dir.to_path_buf(),
            found,
        }),
        Err(Unreadable::Damaged(what)) => Err(damaged(what)),
    }
}

fn write_identity(disk: &dyn Disk, dir: &Path, identity: &Identity) -> Result<(), DirectoryError> {
    let text = to_text(identity)?;
    let (new, path) = (dir.join(IDENTITY_NEW), dir.join(IDENTITY));
    if disk.exists(&new).map_err(failed("read", &new))? {
        // A creation that a crash cut off.
        disk.remove(&new).map_err(failed("remove", &new))?;
    }
    let file = disk.create(&new).map_err(failed("create", &new))?;
    file.write_at(0, text.as_bytes())
        .map_err(failed("write", &new))?;
    file.sync_data().map_err(failed("sync", &new))?;
    disk.rename(&new, &path).map_err(failed("rename", &new))?;
    disk.sync_dir(dir).map_err(failed("sync", dir))
}
