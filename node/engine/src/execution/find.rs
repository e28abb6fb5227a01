//! Finding namespaces and runs by the names that callers use.

use super::Execution;
use crate::id::NamespaceNumber;
use crate::mutation::ExecutionTarget;
use crate::read;
use crate::reply::{Fault, Refusal, Stop};
use crate::tables::{Namespace, Record, WriteSet};
use steadfast_proto::temporal::enums::v1::NamespaceState;

/// The text that Temporal answers for anything done to a closed run.
pub(crate) const ALREADY_COMPLETED: &str = "workflow execution already completed";

/// A namespace by name, ready for calls on its executions.
///
/// # Errors
/// Refused when it is unknown or deleted.
pub fn namespace_of(set: &WriteSet<'_>, name: &str) -> Result<Namespace, Stop> {
    let Some(record) = set.namespace_by_name(name)? else {
        return Err(Refusal::NamespaceNotFound(name.to_owned()).into());
    };
    let Record::Namespace(namespace) = record.as_ref() else {
        return Err(crate::tables::wrong_record(&record).into());
    };
    if namespace.state == i32::from(NamespaceState::Deleted) {
        let (namespace, state) = (name.to_owned(), namespace.state);
        return Err(Refusal::NamespaceInvalidState { namespace, state }.into());
    }
    Ok(namespace.clone())
}

/// The namespace of a run that exists.
pub(crate) fn namespace_by_number(
    set: &WriteSet<'_>,
    number: NamespaceNumber,
) -> Result<Namespace, Fault> {
    set.namespace(number)?
        .ok_or_else(|| Fault::Decode("a run's namespace is gone".to_owned()))
}

impl<'set, 'tables> Execution<'set, 'tables> {
    /// Opens the run that a caller names; without a run id the newest one.
    ///
    /// # Errors
    /// Refused when namespace or run do not exist, or the run is quarantined.
    pub fn find(set: &'set mut WriteSet<'tables>, target: &ExecutionTarget) -> Result<Self, Stop> {
        let execution = Self::find_any(set, target)?;
        execution.check_quarantine()?;
        Ok(execution)
    }

    /// As [`Execution::find`], quarantined runs included: for deleting them.
    ///
    /// # Errors
    /// Refused when namespace or run do not exist.
    pub fn find_any(
        set: &'set mut WriteSet<'tables>,
        target: &ExecutionTarget,
    ) -> Result<Self, Stop> {
        let namespace = namespace_of(set, &target.namespace)?;
        let (workflow_id, run_id) = (&target.workflow_id, &target.run_id);
        let run = read::resolve(&*set, namespace.number, workflow_id, run_id)??;
        let run = Box::new((*run).clone());
        Ok(Self::with(set, run))
    }

    /// Refuses a run that is quarantined.
    ///
    /// # Errors
    /// INTERNAL with the reason.
    pub fn check_quarantine(&self) -> Result<(), Refusal> {
        if self.run.quarantined.is_empty() {
            return Ok(());
        }
        let text = format!(
            "workflow execution is quarantined: {}",
            self.run.quarantined
        );
        Err(Refusal::Quarantined(text))
    }

    /// Refuses a closed run.
    ///
    /// # Errors
    /// NOT_FOUND with Temporal's text.
    pub fn check_open(&self) -> Result<(), Refusal> {
        if self.is_open() {
            return Ok(());
        }
        Err(Refusal::NotFound(ALREADY_COMPLETED.to_owned()))
    }
}
