//! Tokens that clients carry for us: task tokens and page tokens. Opaque to them, versioned, and
//! anything else that comes in their place is an INVALID_ARGUMENT.

use super::status::{fault, not_found};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steadfast_engine::id::NamespaceNumber;
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::read::namespace;
use steadfast_engine::{Fault, Tables};
use tonic::Status;

/// Kinds of token, each with its version: the first byte.
const TASK: u8 = 0x11;
const QUERY: u8 = 0x21;
const HISTORY: u8 = 0x31;
const LIST: u8 = 0x41;
const NAMESPACES: u8 = 0x51;
/// Tokens hold ids of at most 1,000 bytes each and a few numbers.
const BYTES_MAX: u64 = 8 * 1024;
/// What a worker hears that had the task from a cluster before it was restored from a backup.
const OTHER_CLUSTER: &str = "the task is of another cluster: this one was restored from a backup";

/// Names a query that was handed out on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueryToken {
    /// The namespace, fenced against the request's.
    pub(crate) namespace: NamespaceNumber,
    /// The query, as [`crate::queries`] names it.
    pub(crate) id: String,
}

/// Where a history read goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryToken {
    /// The run it is pinned to.
    pub(crate) run_id: String,
    /// The next event.
    pub(crate) next: i64,
    /// The last event of the read as its first page saw it; later pages stop there unless they
    /// wait for more.
    pub(crate) until: i64,
    /// Newest first.
    pub(crate) backward: bool,
}

/// Where a list goes on: after this key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListToken {
    pub(crate) after: Bytes,
}

/// What a task token turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnyTask {
    /// Of a workflow or an activity task.
    Task(TaskToken),
    /// Of a query that was handed out on its own.
    Query(QueryToken),
}

/// Whose task a token is of: a short digest of the cluster's id. A cluster that was restored from a
/// backup hands out other tokens than the one it was made from, so that a worker of the old one
/// cannot answer for a task of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterDigest(u32);

impl ClusterDigest {
    /// Of the cluster whose state this is.
    pub(crate) fn of(tables: &dyn Tables) -> Result<Self, Fault> {
        let meta = namespace::meta(tables)?;
        Ok(Self(crc32fast::hash(meta.cluster_id.as_bytes())))
    }
}

/// Encodes a task token.
pub(crate) fn task(token: &TaskToken, cluster: ClusterDigest) -> Bytes {
    encode(TASK, &(cluster, token))
}

/// Encodes a query token.
pub(crate) fn query(token: &QueryToken) -> Bytes {
    encode(QUERY, token)
}

/// Encodes a history page token.
pub(crate) fn history(token: &HistoryToken) -> Bytes {
    encode(HISTORY, token)
}

/// Encodes a list page token.
pub(crate) fn list(token: &ListToken) -> Bytes {
    encode(LIST, token)
}

/// Encodes a page token of ListNamespaces: the last namespace of the page.
pub(crate) fn namespaces(last: NamespaceNumber) -> Bytes {
    encode(NAMESPACES, &last)
}

/// Decodes what a worker sends as a task token; it must be of this cluster.
pub(crate) fn read_task(bytes: &[u8], tables: &dyn Tables) -> Result<AnyTask, Status> {
    let (task, of) = read_any_task(bytes)?;
    let own = ClusterDigest::of(tables).map_err(|broken| fault(&broken))?;
    match of {
        Some(of) if of != own => Err(not_found(OTHER_CLUSTER)),
        Some(_) | None => Ok(task),
    }
}

/// As [`read_task`], of whatever cluster; a query's token names none, for it is one process's.
pub(crate) fn read_any_task(bytes: &[u8]) -> Result<(AnyTask, Option<ClusterDigest>), Status> {
    if bytes.is_empty() {
        return Err(Status::invalid_argument("Task token not set on request."));
    }
    decode(TASK, bytes)
        .map(|(cluster, token)| (AnyTask::Task(token), Some(cluster)))
        .or_else(|| decode(QUERY, bytes).map(|token| (AnyTask::Query(token), None)))
        .ok_or_else(|| Status::invalid_argument("Error deserializing task token."))
}

/// Decodes a history page token.
pub(crate) fn read_history(bytes: &[u8], backward: bool) -> Result<Option<HistoryToken>, Status> {
    let token: Option<HistoryToken> = read_page(HISTORY, bytes)?;
    match token {
        Some(token) if token.backward != backward => Err(bad_page_token()),
        token => Ok(token),
    }
}

/// Decodes a list page token.
pub(crate) fn read_list(bytes: &[u8]) -> Result<Option<ListToken>, Status> {
    read_page(LIST, bytes)
}

/// Decodes a page token of ListNamespaces.
pub(crate) fn read_namespaces(bytes: &[u8]) -> Result<Option<NamespaceNumber>, Status> {
    read_page(NAMESPACES, bytes)
}

fn read_page<T: DeserializeOwned>(kind: u8, bytes: &[u8]) -> Result<Option<T>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    decode(kind, bytes).map(Some).ok_or_else(bad_page_token)
}

fn bad_page_token() -> Status {
    Status::invalid_argument("Invalid NextPageToken.")
}

fn options() -> impl bincode::Options {
    use bincode::Options;
    bincode::DefaultOptions::new()
        .with_varint_encoding()
        .with_limit(BYTES_MAX)
        .reject_trailing_bytes()
}

fn encode<T: Serialize>(kind: u8, token: &T) -> Bytes {
    use bincode::Options;
    let mut bytes = vec![kind];
    let written = options().serialize_into(&mut bytes, token);
    assert!(
        written.is_ok(),
        "ids are checked at the border, so a token stays below {BYTES_MAX} bytes"
    );
    bytes.into()
}

fn decode<T: DeserializeOwned>(kind: u8, bytes: &[u8]) -> Option<T> {
    use bincode::Options;
    let (first, rest) = bytes.split_first()?;
    if *first != kind {
        return None;
    }
    options().deserialize(rest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_engine::id::{RunRef, TaskKind};

    #[test]
    fn tokens_come_back_and_garbage_is_refused() {
        let token = TaskToken {
            kind: TaskKind::Activity,
            run: RunRef {
                namespace: NamespaceNumber(3),
                workflow_id: "w".repeat(1_000),
                number: 9,
            },
            run_id: "r".to_owned(),
            scheduled_event_id: 5,
            started_event_id: 0,
            attempt: 2,
            claim: 7,
        };
        let cluster = ClusterDigest(7);
        let bytes = task(&token, cluster);
        let read = read_any_task(&bytes).unwrap();
        assert_eq!(read, (AnyTask::Task(token), Some(cluster)));
        let query_token = QueryToken {
            namespace: NamespaceNumber(3),
            id: "q".to_owned(),
        };
        assert_eq!(
            read_any_task(&query(&query_token)).unwrap(),
            (AnyTask::Query(query_token), None)
        );
        for garbage in [
            &b"garbage"[..],
            &[TASK],
            &[TASK, 0xff, 0xff],
            &bytes[..bytes.len() - 1],
            b"\x31\0",
        ] {
            assert_eq!(
                read_any_task(garbage).unwrap_err().message(),
                "Error deserializing task token."
            );
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(read_any_task(&longer).is_err());
        assert_eq!(
            read_any_task(b"").unwrap_err().message(),
            "Task token not set on request."
        );
        assert_eq!(
            read_history(b"garbage", false).unwrap_err().message(),
            "Invalid NextPageToken."
        );
        assert!(read_list(&bytes).is_err());
        assert_eq!(read_namespaces(b"").unwrap(), None);
    }

    #[test]
    fn a_page_token_keeps_its_direction() {
        let token = HistoryToken {
            run_id: "r".to_owned(),
            next: 9,
            until: 20,
            backward: true,
        };
        let bytes = history(&token);
        assert_eq!(read_history(&bytes, true).unwrap(), Some(token));
        assert!(read_history(&bytes, false).is_err());
    }
}
