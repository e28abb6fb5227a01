//! The engine's records as the state store keeps them, and views of them as the engine reads them.

use prost::Message;
use std::ops::Bound;
use std::sync::Arc;
use steadfast_engine::tables::Changes;
use steadfast_engine::{Fault, Key, Record, Tables};
use steadfast_planted::{Bug, planted};
use steadfast_storage::codec;
use steadfast_storage::state::{self, DecodeError, MAX_VALUE_BYTES, StateFault};

const VALUE_BYTES: u64 = MAX_VALUE_BYTES as u64 - 1;

/// A record of the state. The inner counter is what views hand out.
#[derive(Debug, Clone)]
pub struct StateRecord(Arc<Record>);

impl state::Record for StateRecord {
    fn encode(&self) -> Vec<u8> {
        match codec::encode(&*self.0, VALUE_BYTES) {
            Ok(bytes) => bytes,
            // Requests of 4 MiB and the engine's limits keep records far below.
            Err(error) => panic!("a record fits its bound: {error}"),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut record =
            codec::decode(bytes, VALUE_BYTES).map_err(|error| DecodeError(error.to_string()))?;
        if let Record::Request(request) = &mut record
            && planted(Bug::RequestIdsNotInFiles)
        {
            request.event_type = 0;
        }
        Ok(Self(Arc::new(record)))
    }

    fn weight(&self) -> usize {
        match &*self.0 {
            Record::HistoryBatch(batch) => 256 + batch.events.len(),
            Record::BufferedEvent(event) => 256 + event.event.len(),
            Record::Run(_) => 2_048,
            Record::Update(update) => {
                let request = update.request.as_ref();
                512 + request.map_or(0, |request| request.0.encoded_len())
            }
            Record::Message(message) => 1_024 + message.payload_bytes(),
            Record::Activity(_)
            | Record::Child(_)
            | Record::External(_)
            | Record::Config(_)
            | Record::Namespace(_) => 1_024,
            Record::Meta(_)
            | Record::NamespaceName(_)
            | Record::ActivityById(_)
            | Record::UserTimer(_)
            | Record::Request(_)
            | Record::BranchUse(_)
            | Record::Due(_)
            | Record::QueueTask(_)
            | Record::Visibility(_)
            | Record::OpenUpdate(_) => 256,
        }
    }
}

/// What the store takes for a mutation's changes.
pub(crate) fn stored(changes: Changes) -> Vec<(Key, Option<Arc<StateRecord>>)> {
    changes
        .into_iter()
        .map(|(key, change)| (key, change.map(|record| Arc::new(StateRecord(record)))))
        .collect()
}

/// A consistent view of this node's applied state. Hold it shortly.
#[derive(Debug, Clone)]
pub struct View(pub(super) state::View<StateRecord>);

impl View {
    /// Of a store that no shard has.
    pub(crate) fn of(store: &state::StateStore<StateRecord>) -> Self {
        Self(store.view())
    }

    /// Index of the last log entry that the view contains; 0 before the first.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.0.position().map_or(0, |position| position.index)
    }
}

impl Tables for View {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault> {
        let found = self.0.get(key).map_err(|error| fault(&error))?;
        Ok(found.map(|record| record.0.clone()))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        let found = self
            .0
            .scan(Bound::Included(from), Bound::Excluded(to), limit, reverse);
        let found = found.map_err(|error| fault(&error))?;
        Ok(found
            .into_iter()
            .map(|(key, record)| (key, record.0.clone()))
            .collect())
    }
}

fn fault(error: &StateFault) -> Fault {
    Fault::Storage(error.to_string())
}
