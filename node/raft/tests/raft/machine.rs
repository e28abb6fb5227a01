//! A state machine that remembers what it applied, with snapshots of small files in memory.

use bytes::Bytes;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use steadfast_raft::{
    Committed, Content, Fault, MissingFile, Position, SnapshotFiles, SnapshotSource, SnapshotStage,
    StateMachine,
};

/// Values per file: a mark cuts what is new into files of so many.
const VALUES_PER_FILE: usize = 100;

/// What survives a restart: files, and the manifest that names them.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    files: BTreeMap<String, Bytes>,
    manifest: Manifest,
    /// Bytes that came from peers.
    pub(crate) received: usize,
}

#[derive(Debug, Default, Clone)]
struct Manifest {
    position: Option<Position>,
    membership: Bytes,
    names: Vec<(String, u64)>,
}

/// Called once, when the next membership is applied.
type Hook = Box<dyn FnOnce() + Send>;

/// What is applied.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) values: Vec<Bytes>,
    pub(crate) position: Option<Position>,
    membership: Bytes,
    on_membership: Option<Hook>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State at {:?}", self.position)
    }
}

/// While it is closed, `apply` does not go on: a machine that is slow for as long as a test says.
#[derive(Debug, Default, Clone)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn close(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (closed, opened) = &*self.0;
        drop(opened.wait_while(closed.lock().unwrap(), |closed| *closed));
    }
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Shared {
    pub(crate) durable: Arc<Mutex<Durable>>,
    pub(crate) gate: Gate,
    state: Arc<Mutex<State>>,
    /// The suite expects a snapshot to hold what is applied when it is asked for.
    marks_by_itself: bool,
}

impl Shared {
    pub(crate) fn for_suite() -> Shared {
        Shared {
            marks_by_itself: true,
            ..Shared::default()
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn on_membership(&self, hook: impl FnOnce() + Send + 'static) {
        self.state().on_membership = Some(Box::new(hook));
    }

    /// As after a restart: only what was durable.
    pub(crate) fn reopened(&self) -> Shared {
        let reopened = Shared {
            durable: self.durable.clone(),
            ..Shared::default()
        };
        reopened.load();
        reopened
    }

    fn load(&self) {
        let durable = self.durable.lock().unwrap();
        let mut state = self.state();
        let files = durable
            .manifest
            .names
            .iter()
            .map(|(name, _)| &durable.files[name]);
        state.values = files.flat_map(|file| values_of(file)).collect();
        state.position = durable.manifest.position;
        state.membership = durable.manifest.membership.clone();
    }

    /// Makes all that is applied durable.
    pub(crate) fn mark(&self) -> Option<Position> {
        let mut durable = self.durable.lock().unwrap();
        let state = self.state();
        let kept: usize = durable
            .manifest
            .names
            .iter()
            .map(|(name, _)| values_of(&durable.files[name]).len())
            .sum();
        let fresh: Vec<&[Bytes]> = state.values[kept..].chunks(VALUES_PER_FILE).collect();
        let mut from = kept;
        for values in fresh {
            let bytes: Bytes = values.iter().flat_map(framed).collect();
            let name = format!("values-{from}-{:08x}", crc(&bytes));
            from += values.len();
            durable
                .manifest
                .names
                .push((name.clone(), bytes.len() as u64));
            durable.files.insert(name, bytes);
        }
        durable.manifest.position = state.position;
        durable.manifest.membership = state.membership.clone();
        state.position
    }
}

fn framed(value: &Bytes) -> Vec<u8> {
    let mut bytes = (value.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(value);
    bytes
}

fn values_of(mut file: &[u8]) -> Vec<Bytes> {
    let mut values = Vec::new();
    while let Some((length, rest)) = file.split_at_checked(4) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (value, rest) = rest.split_at(length);
        values.push(Bytes::copy_from_slice(value));
        file = rest;
    }
    values
}

fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h: u32, b| {
        (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    })
}

impl Manifest {
    fn encode(&self) -> Bytes {
        let position = self.position.unwrap();
        let mut text = format!("{} {} {}\n", position.term, position.leader, position.index);
        let membership: String = self.membership.iter().map(|b| format!("{b:02x}")).collect();
        text += &format!("{membership}\n");
        for (name, length) in &self.names {
            text += &format!("{name} {length}\n");
        }
        text.into()
    }

    fn decode(bytes: &Bytes) -> Manifest {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut lines = text.lines();
        let numbers: Vec<u64> = lines
            .next()
            .unwrap()
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect();
        let hex = lines.next().unwrap();
        let membership =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
        let membership = membership.collect();
        let names = lines.map(|line| {
            let (name, length) = line.split_once(' ').unwrap();
            (name.to_owned(), length.parse().unwrap())
        });
        let names = names.collect();
        let position = Position {
            term: numbers[0],
            leader: numbers[1],
            index: numbers[2],
        };
        Manifest {
            position: Some(position),
            membership,
            names,
        }
    }
}

#[derive(Debug)]
pub(crate) struct TestMachine(pub(crate) Shared);

impl StateMachine for TestMachine {
    fn applied(&self) -> (Option<Position>, Bytes) {
        let state = self.0.state();
        (state.position, state.membership.clone())
    }

    fn apply(&mut self, batch: Vec<Committed>) -> Result<(), Fault> {
        self.0.gate.pass();
        let mut state = self.0.state();
        for committed in batch {
            if let Some(last) = state.position {
                assert!(
                    last.index < committed.position.index,
                    "an entry applied twice"
                );
            }
            state.position = Some(committed.position);
            match committed.content {
                Content::Blank => {}
                Content::Normal(bytes) if bytes == "fault" => return Err(Fault::new("broken")),
                Content::Normal(bytes) => state.values.push(bytes),
                Content::Membership(bytes) => {
                    state.membership = bytes;
                    if let Some(hook) = state.on_membership.take() {
                        hook();
                    }
                }
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<SnapshotFiles>, Fault> {
        if self.0.marks_by_itself {
            self.0.mark();
        }
        let durable = self.0.durable.lock().unwrap();
        let Some(position) = durable.manifest.position else {
            return Ok(None);
        };
        Ok(Some(SnapshotFiles {
            position,
            membership: durable.manifest.membership.clone(),
            manifest: durable.manifest.encode(),
            source: Arc::new(Source(durable.files.clone())),
        }))
    }

    fn stage(&mut self, manifest: Bytes) -> Result<Box<dyn SnapshotStage>, Fault> {
        let manifest = Manifest::decode(&manifest);
        let durable = self.0.durable.clone();
        Ok(Box::new(Stage { manifest, durable }))
    }

    fn is_to_rebuild(&self, _position: Position) -> bool {
        false
    }

    fn rebuild(
        &mut self,
        _stage: Box<dyn SnapshotStage>,
        _read: &mut dyn FnMut(u64, u64) -> Result<Vec<Committed>, Fault>,
    ) -> Result<(), Fault> {
        Err(Fault::new("the test machine is always right"))
    }

    fn install(&mut self, stage: Box<dyn SnapshotStage>) -> Result<(), Fault> {
        let stage = stage.into_any().downcast::<Stage>().unwrap();
        assert!(
            stage.missing().is_empty(),
            "an incomplete snapshot is installed"
        );
        self.0.durable.lock().unwrap().manifest = stage.manifest;
        self.0.load();
        Ok(())
    }
}

#[derive(Debug)]
struct Source(BTreeMap<String, Bytes>);

impl SnapshotSource for Source {
    fn read(&self, name: &str, offset: u64, max: usize) -> Result<Bytes, Fault> {
        let file = &self.0[name];
        let from = offset as usize;
        Ok(file.slice(from..file.len().min(from + max)))
    }
}

#[derive(Debug)]
struct Stage {
    manifest: Manifest,
    durable: Arc<Mutex<Durable>>,
}

impl SnapshotStage for Stage {
    fn missing(&self) -> Vec<MissingFile> {
        let durable = self.durable.lock().unwrap();
        let here = |name: &String| durable.files.get(name).map_or(0, |file| file.len() as u64);
        let missing = self
            .manifest
            .names
            .iter()
            .filter(|(name, length)| here(name) < *length);
        missing
            .map(|(name, length)| MissingFile {
                name: name.clone(),
                offset: here(name),
                length: *length,
            })
            .collect()
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut durable = self.durable.lock().unwrap();
        durable.received += bytes.len();
        let file = durable.files.entry(name.to_owned()).or_default();
        assert_eq!(file.len() as u64, offset);
        *file = [file.as_ref(), bytes].concat().into();
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
