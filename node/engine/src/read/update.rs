//! How far an update of a run is, for those who wait for it.

use crate::event::Attributes;
use crate::execution::closed_update_failure;
use crate::reply::Fault;
use crate::tables::{Record, Run, Tables, UpdateState, keys, wrong_record};
use prost::Message;
use steadfast_proto::temporal::history::v1::History;
use steadfast_proto::temporal::update::v1::Outcome;
use steadfast_proto::temporal::update::v1::outcome::Value;

/// How far an update is.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateStage {
    /// It waits for the workflow.
    Admitted,
    /// The workflow works on it.
    Accepted,
    /// It is done.
    Completed(Box<Outcome>),
}

/// An update that a run has a trace of.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundUpdate {
    /// How far it is.
    pub stage: UpdateStage,
    /// Its place among the run's updates.
    pub sequence: u64,
    /// Request id of the call that admitted it.
    pub request_id: String,
}

/// How far the update with this id is; `None` when the run has no trace of it.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn find(tables: &dyn Tables, run: &Run, update_id: &str) -> Result<Option<FoundUpdate>, Fault> {
    let record = tables.get(&keys::update_key(&run.run, update_id))?;
    let update = match record.as_deref() {
        Some(Record::Update(update)) => update,
        Some(other) => return Err(wrong_record(other)),
        None => return Ok(None),
    };
    let stage = match update.state {
        UpdateState::Admitted | UpdateState::Sent { .. } => UpdateStage::Admitted,
        UpdateState::Accepted { .. } if run.close.is_some() => {
            let value = Some(Value::Failure(closed_update_failure()));
            UpdateStage::Completed(Box::new(Outcome { value }))
        }
        UpdateState::Accepted { .. } => UpdateStage::Accepted,
        UpdateState::Completed { event_id, .. } => {
            UpdateStage::Completed(Box::new(outcome(tables, run, event_id)?))
        }
    };
    Ok(Some(FoundUpdate {
        stage,
        sequence: update.sequence,
        request_id: update.request_id.clone(),
    }))
}

fn outcome(tables: &dyn Tables, run: &Run, event_id: i64) -> Result<Outcome, Fault> {
    let bytes = super::history::event(tables, run, event_id)?;
    let history = History::decode(bytes).map_err(|error| Fault::Decode(error.to_string()))?;
    let event = history.events.into_iter().next();
    match event.and_then(|event| event.attributes) {
        Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(completed)) => {
            Ok(completed.outcome.unwrap_or_default())
        }
        Some(_) | None => Err(Fault::Decode(format!(
            "event {event_id} of run {} completes no update",
            run.run_id
        ))),
    }
}
