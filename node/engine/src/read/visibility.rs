//! The list of executions: rows in order, and the filters that choose among them.

mod attribute;
mod expression;
mod lexer;
mod parser;
mod value;

#[cfg(test)]
mod tests;

pub use attribute::{Attribute, PREDEFINED, SYSTEM, is_reserved};
pub use expression::Filter;
pub use parser::Statement;
pub(crate) use value::{duration_nanoseconds, nanoseconds};

use super::describe;
use super::target::{StoredRun, run};
use crate::id::NamespaceNumber;
use crate::reply::Fault;
use crate::tables::keys::{prefix_end, visibility_prefix};
use crate::tables::{Key, Record, Tables, VisibilityRow};
use std::cell::OnceCell;
use std::sync::Arc;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;
use steadfast_proto::temporal::workflow::v1::WorkflowExecutionInfo;

/// Rows that are looked at in one go; the caller gives way to others between slices.
pub const SLICE_ROWS: usize = 512;

/// What a query says is wrong, with Temporal's text after "invalid query: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid query: {0}")]
pub struct QueryError(pub String);

/// A row of the list, and its run's record when it is needed.
pub struct Candidate<'tables> {
    tables: &'tables dyn Tables,
    key: Key,
    record: Arc<Record>,
    run: OnceCell<Option<StoredRun>>,
}

impl std::fmt::Debug for Candidate<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Candidate")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl Candidate<'_> {
    /// The row.
    #[must_use]
    pub fn row(&self) -> &VisibilityRow {
        let Record::Visibility(row) = &*self.record else {
            unreachable!("checked in slice")
        };
        row
    }

    /// The row's place in the list.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The run's record; `None` while it is being deleted.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn run(&self) -> Result<Option<&StoredRun>, Fault> {
        if self.run.get().is_none() {
            let found = run(self.tables, &self.row().run)?;
            let unused = self.run.set(found);
            assert!(unused.is_ok(), "the cell was empty");
        }
        Ok(self.run.get().and_then(Option::as_ref))
    }

    /// The entry of ListWorkflowExecutions; `None` when the run is being deleted.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn info(&self) -> Result<Option<WorkflowExecutionInfo>, Fault> {
        let Some(run) = self.run()? else {
            return Ok(None);
        };
        let mut info = describe::execution_info(run);
        let row = self.row();
        if let Some(closed_at) = row.closed_at {
            info.history_length = row.history_length;
            info.history_size_bytes = row.history_bytes;
            info.state_transition_count = row.state_transitions;
            info.execution_duration = Some(closed_at.since(row.execution_at).to_proto());
        }
        Ok(Some(info))
    }
}

/// Up to [`SLICE_ROWS`] rows of a namespace after the one with key `after`, in listing order.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn slice<'tables>(
    tables: &'tables dyn Tables,
    namespace: NamespaceNumber,
    after: Option<&Key>,
) -> Result<Vec<Candidate<'tables>>, Fault> {
    let prefix = visibility_prefix(namespace);
    let from = match after {
        Some(key) => {
            // The least key above `key`.
            let mut next = key.to_vec();
            next.push(0);
            Key::from(next)
        }
        None => prefix.clone(),
    };
    tables
        .scan(&from, &prefix_end(&prefix), SLICE_ROWS, false)?
        .into_iter()
        .map(|(key, record)| match &*record {
            Record::Visibility(_) => Ok(Candidate {
                tables,
                key,
                record,
                run: OnceCell::new(),
            }),
            other => Err(Fault::Decode(format!("a visibility key holds {other:?}"))),
        })
        .collect()
}

/// The group of a row under `GROUP BY ExecutionStatus`, as a payload.
#[must_use]
pub fn status_payload(status: i32) -> common::Payload {
    keyword_payload(status_name(status))
}

/// A Keyword value as a payload.
#[must_use]
pub fn keyword_payload(value: &str) -> common::Payload {
    let metadata = [("encoding", "json/plain"), ("type", "Keyword")]
        .map(|(name, value)| (name.to_owned(), bytes::Bytes::from_static(value.as_bytes())))
        .into();
    let mut data = String::with_capacity(value.len() + 2);
    data.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            data.push('\\');
        }
        data.push(character);
    }
    data.push('"');
    common::Payload {
        metadata,
        data: data.into(),
        ..Default::default()
    }
}

/// A status as queries name it.
#[must_use]
pub fn status_name(status: i32) -> &'static str {
    match WorkflowExecutionStatus::try_from(status) {
        Ok(WorkflowExecutionStatus::Running) => "Running",
        Ok(WorkflowExecutionStatus::Completed) => "Completed",
        Ok(WorkflowExecutionStatus::Failed) => "Failed",
        Ok(WorkflowExecutionStatus::Canceled) => "Canceled",
        Ok(WorkflowExecutionStatus::Terminated) => "Terminated",
        Ok(WorkflowExecutionStatus::ContinuedAsNew) => "ContinuedAsNew",
        Ok(WorkflowExecutionStatus::TimedOut) => "TimedOut",
        Ok(WorkflowExecutionStatus::Paused) => "Paused",
        Ok(WorkflowExecutionStatus::Unspecified) | Err(_) => "Unspecified",
    }
}
