//! The columns of the list: system, predefined and custom search attributes.

use super::value::Value;
use super::{Candidate, QueryError, status_name};
use crate::reply::Fault;
use crate::tables::Namespace;
use steadfast_proto::temporal::enums::v1::IndexedValueType;

/// Name and type of the system search attributes: facts of each run.
pub const SYSTEM: &[(&str, IndexedValueType)] = &[
    ("CloseTime", IndexedValueType::Datetime),
    ("ExecutionDuration", IndexedValueType::Int),
    ("ExecutionStatus", IndexedValueType::Keyword),
    ("ExecutionTime", IndexedValueType::Datetime),
    ("HistoryLength", IndexedValueType::Int),
    ("HistorySizeBytes", IndexedValueType::Int),
    ("ParentRunId", IndexedValueType::Keyword),
    ("ParentWorkflowId", IndexedValueType::Keyword),
    ("RootRunId", IndexedValueType::Keyword),
    ("RootWorkflowId", IndexedValueType::Keyword),
    ("RunId", IndexedValueType::Keyword),
    ("StartTime", IndexedValueType::Datetime),
    ("StateTransitionCount", IndexedValueType::Int),
    ("TaskQueue", IndexedValueType::Keyword),
    ("WorkflowId", IndexedValueType::Keyword),
    ("WorkflowType", IndexedValueType::Keyword),
];

/// Name and type of the predefined search attributes: set by the server and by SDKs.
pub const PREDEFINED: &[(&str, IndexedValueType)] = &[
    ("BatcherNamespace", IndexedValueType::Keyword),
    ("BatcherUser", IndexedValueType::Keyword),
    ("BinaryChecksums", IndexedValueType::KeywordList),
    ("BuildIds", IndexedValueType::KeywordList),
    ("TemporalChangeVersion", IndexedValueType::KeywordList),
    ("TemporalExternalPayloadCount", IndexedValueType::Int),
    ("TemporalExternalPayloadSizeBytes", IndexedValueType::Int),
    ("TemporalNamespaceDivision", IndexedValueType::Keyword),
    ("TemporalPauseInfo", IndexedValueType::KeywordList),
    ("TemporalReportedProblems", IndexedValueType::KeywordList),
    ("TemporalSchedulePaused", IndexedValueType::Bool),
    ("TemporalScheduledById", IndexedValueType::Keyword),
    ("TemporalScheduledStartTime", IndexedValueType::Datetime),
    (
        "TemporalUsedWorkerDeploymentVersions",
        IndexedValueType::KeywordList,
    ),
    ("TemporalWorkerDeployment", IndexedValueType::Keyword),
    ("TemporalWorkerDeploymentVersion", IndexedValueType::Keyword),
    (
        "TemporalWorkflowVersioningBehavior",
        IndexedValueType::Keyword,
    ),
];

/// Whether no custom search attribute may have this name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("Temporal")
        || lookup(SYSTEM, name).is_some()
        || lookup(PREDEFINED, name).is_some()
}

fn lookup(
    table: &[(&'static str, IndexedValueType)],
    name: &str,
) -> Option<(&'static str, IndexedValueType)> {
    table.iter().find(|(known, _)| *known == name).copied()
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, as queries give it.
    pub name: String,
    /// Its type.
    pub value_type: IndexedValueType,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A fact of the run, by its name in [`SYSTEM`].
    System(&'static str),
    /// A search attribute that is stored under this name.
    Stored(String),
}

impl Attribute {
    /// The column with this name in a namespace. A custom attribute comes first, then the system's,
    /// with or without the prefix "Temporal".
    ///
    /// # Errors
    /// [`QueryError`] when there is none.
    pub fn named(namespace: &Namespace, name: &str) -> Result<Self, QueryError> {
        let made = |value_type, place| Self {
            name: name.to_owned(),
            value_type,
            place,
        };
        if let Some(value_type) = namespace.search_attributes.get(name) {
            let value_type =
                IndexedValueType::try_from(*value_type).unwrap_or(IndexedValueType::Keyword);
            return Ok(made(value_type, Place::Stored(name.to_owned())));
        }
        if name == "ScheduleId" {
            return Ok(made(IndexedValueType::Keyword, Place::System("WorkflowId")));
        }
        let prefixed = format!("Temporal{name}");
        let bare = name.strip_prefix("Temporal").unwrap_or(name);
        for candidate in [name, bare, prefixed.as_str()] {
            if let Some((known, value_type)) = lookup(SYSTEM, candidate) {
                return Ok(made(value_type, Place::System(known)));
            }
            if let Some((known, value_type)) = lookup(PREDEFINED, candidate) {
                return Ok(made(value_type, Place::Stored(known.to_owned())));
            }
        }
        Err(QueryError(format!(
            "invalid expression: column name '{name}' is not a valid search attribute"
        )))
    }

    /// Whether this is the status column.
    #[must_use]
    pub fn is_status(&self) -> bool {
        self.place == Place::System("ExecutionStatus")
    }

    /// Whether this is the duration column.
    pub(super) fn is_duration(&self) -> bool {
        self.place == Place::System("ExecutionDuration")
    }

    /// Whether a count may be grouped by this column.
    #[must_use]
    pub fn may_group(&self) -> bool {
        self.is_status() || self.is_division()
    }

    /// Whether this is the column that hides the system's own executions.
    #[must_use]
    pub fn is_division(&self) -> bool {
        self.place == Place::Stored("TemporalNamespaceDivision".to_owned())
    }

    /// A row's value in this column; `None` when it has none.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(super) fn value_of(&self, candidate: &Candidate<'_>) -> Result<Option<Value>, Fault> {
        match &self.place {
            Place::System(name) => system_value(name, candidate),
            Place::Stored(name) => {
                let Some(run) = candidate.run()? else {
                    return Ok(None);
                };
                let payload = run.search_attributes.get(name);
                Ok(payload.and_then(|payload| Value::from_json(&payload.data, self.value_type)))
            }
        }
    }
}

fn system_value(name: &str, candidate: &Candidate<'_>) -> Result<Option<Value>, Fault> {
    let row = candidate.row();
    let closed = row.closed_at.is_some();
    let keyword = |text: &str| Some(Value::Keyword(text.to_owned()));
    Ok(match name {
        "WorkflowId" => keyword(&row.run.workflow_id),
        "RunId" => keyword(&row.run_id),
        "WorkflowType" => keyword(&row.workflow_type),
        "TaskQueue" => keyword(&row.task_queue),
        "ExecutionStatus" => keyword(status_name(row.status)),
        "StartTime" => Some(Value::Int(row.started_at.0)),
        "ExecutionTime" => Some(Value::Int(row.execution_at.0)),
        "CloseTime" => row.closed_at.map(|at| Value::Int(at.0)),
        "HistoryLength" => closed.then_some(Value::Int(row.history_length)),
        "HistorySizeBytes" => closed.then_some(Value::Int(row.history_bytes)),
        "StateTransitionCount" => closed.then_some(Value::Int(row.state_transitions)),
        "ExecutionDuration" => row
            .closed_at
            .map(|at| Value::Int(at.since(row.execution_at).0)),
        // Only what is left needs the run's record: parent and root.
        other => {
            let Some(run) = candidate.run()? else {
                return Ok(None);
            };
            match (other, &run.parent) {
                ("ParentWorkflowId", Some(parent)) => keyword(&parent.run.workflow_id),
                ("ParentRunId", Some(parent)) => keyword(&parent.run_id),
                ("RootWorkflowId", Some(parent)) => keyword(&parent.root.0),
                ("RootRunId", Some(parent)) => keyword(&parent.root.1),
                ("RootWorkflowId", None) => keyword(&row.run.workflow_id),
                ("RootRunId", None) => keyword(&row.run_id),
                (_, Some(_) | None) => None,
            }
        }
    })
}
