//! Identities: namespaces, executions, runs, queues, polls.

use serde::{Deserialize, Serialize};

/// A namespace's dense number; the name may change, this does not. 0 is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceNumber(pub u32);

/// One run of one workflow id. The number is dense, given in `apply`, and never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunRef {
    /// The namespace.
    pub namespace: NamespaceNumber,
    /// The workflow id, at most 1,000 bytes.
    pub workflow_id: String,
    /// The run's number.
    pub number: u64,
}

/// The 16-bit slot of an execution: a shard is a range of slots. FNV-1a, folded.
#[must_use]
pub fn slot(namespace: NamespaceNumber, workflow_id: &str) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in namespace
        .0
        .to_be_bytes()
        .iter()
        .chain(workflow_id.as_bytes())
    {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    let folded = hash ^ (hash >> 32);
    u16::try_from((folded ^ (folded >> 16)) & 0xffff).unwrap_or_default()
}

const NUMBER_BITS: u64 = (1 << 48) - 1;

/// Makes a run id (a UUID's text) of random bits and the run's number, so that the run is found by
/// its id without an index. The number is masked with the random part; it is not a secret.
#[must_use]
pub fn run_id(entropy: [u8; 16], number: u64) -> String {
    assert!(number <= NUMBER_BITS, "run numbers stay below 2^48");
    let mut bytes = entropy;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let masked = number ^ mask(&bytes);
    bytes[10..16].copy_from_slice(&masked.to_be_bytes()[2..8]);
    uuid_text(&bytes)
}

/// The run number inside a run id made by [`run_id`]; `None` when it is not a UUID. The caller
/// compares the run's stored id: a foreign UUID gives some number, too.
#[must_use]
pub fn run_number(run_id: &str) -> Option<u64> {
    let bytes = uuid_bytes(run_id)?;
    let mut low = [0_u8; 8];
    low[2..8].copy_from_slice(&bytes[10..16]);
    Some(u64::from_be_bytes(low) ^ mask(&bytes))
}

fn mask(bytes: &[u8; 16]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in &bytes[..10] {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 29)) & NUMBER_BITS
}

/// A UUID's canonical text.
#[must_use]
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

/// The 16 bytes of a UUID's canonical text, in either case.
#[must_use]
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0_u8; 16];
    let mut digits = 0_usize;
    for (position, character) in text.chars().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            if character != '-' {
                return None;
            }
            continue;
        }
        let digit = u8::try_from(character.to_digit(16)?).ok()?;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

/// The two kinds of task that workers poll for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskKind {
    /// Workflow tasks, on normal and sticky queues.
    Workflow,
    /// Activity tasks.
    Activity,
}

/// A task queue of one kind. A sticky queue is a queue of workflow tasks with a worker's own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// The namespace.
    pub namespace: NamespaceNumber,
    /// What is queued.
    pub kind: TaskKind,
    /// The queue's name, at most 1,000 bytes.
    pub name: String,
}

/// One waiting poll: the node process that holds the connection, and a number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PollId {
    /// Random number of the node process ("boot id"); a restarted node has another.
    pub boot: u64,
    /// Counts the polls of that process.
    pub sequence: u64,
}

/// A waiting poller that a mutation may hand a task to (design D5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The queue it polls.
    pub queue: QueueKey,
    /// The poll that waits.
    pub poll: PollId,
    /// The worker's identity, written into started events.
    pub identity: String,
    /// What the worker said of its version, passed through to events.
    pub worker: WorkerVersion,
}

/// A worker's version, as polls and completions carry it. Empty strings when not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerVersion {
    /// Build id of `worker_version_capabilities` or of deployment options.
    pub build_id: String,
    /// Whether the old build-id versioning is used.
    pub use_versioning: bool,
    /// Deployment name; empty without deployments.
    pub deployment_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_number_is_found_in_run_id() {
        for number in [1, 2, 77, 123_456_789, NUMBER_BITS] {
            let id = run_id([7; 16], number);
            assert_eq!(run_number(&id), Some(number));
            assert_eq!(uuid_text(&uuid_bytes(&id).unwrap()), id);
        }
        assert_eq!(run_number("no uuid"), None);
    }
}
