//! Why calls of the client fail.

use crate::codec::CodecError;
use crate::converter::ConversionError;
use crate::failure::Failure;
use prost::{Message, Name};
use steadfast_proto::google::rpc;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;
use steadfast_proto::temporal::errordetails::v1 as details;
use steadfast_proto::temporal::failure::v1::MultiOperationExecutionAborted;
use tonic::{Code, Status};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server says no, or there was no answer in time. Calls that may be repeated were.
    #[error("{}: {}", .0.code(), .0.message())]
    Rpc(Status),
    /// A value is not what the types say.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// The payload codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl CallError {
    /// There is no such workflow, activity or schedule, or it is closed already.
    pub fn is_not_found(&self) -> bool {
        matches!(self, CallError::Rpc(status) if status.code() == Code::NotFound)
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        CallError::Rpc(status)
    }
}

/// Why a workflow was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The policies forbid another run of this workflow id.
    #[error("the workflow {workflow_id} has been started already, as run {run_id}")]
    AlreadyStarted {
        /// The workflow id.
        workflow_id: String,
        /// The run that is in the way.
        run_id: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl StartError {
    pub(super) fn of(error: CallError, workflow_id: &str) -> Self {
        let CallError::Rpc(status) = &error else {
            return StartError::Call(error);
        };
        match detail::<details::WorkflowExecutionAlreadyStartedFailure>(status) {
            Some(started) if status.code() == Code::AlreadyExists => StartError::AlreadyStarted {
                workflow_id: workflow_id.to_string(),
                run_id: started.run_id,
            },
            _ => StartError::Call(error),
        }
    }
}

/// Why a workflow has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// The workflow failed.
    #[error("the workflow failed: {0}")]
    Failed(Failure),
    /// The workflow was cancelled.
    #[error("the workflow was cancelled")]
    Canceled {
        /// What it said then.
        details: Vec<Payload>,
    },
    /// The workflow was terminated.
    #[error("the workflow was terminated: {reason}")]
    Terminated {
        /// What was said then; may be empty.
        reason: String,
        /// What was given then.
        details: Vec<Payload>,
    },
    /// The workflow ran out of its time.
    #[error("the workflow timed out")]
    TimedOut,
    /// The run goes on as another, which was not to be followed.
    #[error("the workflow goes on as run {run_id}")]
    ContinuedAsNew {
        /// The other run.
        run_id: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<ConversionError> for WorkflowError {
    fn from(error: ConversionError) -> Self {
        WorkflowError::Call(error.into())
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The query's code failed, or there is no such query.
    #[error("the query failed: {0}")]
    Failed(Failure),
    /// The workflow is in a state that the reject condition excludes.
    #[error("the query was rejected: the workflow is {}", status.as_str_name())]
    Rejected {
        /// The state.
        status: WorkflowExecutionStatus,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why an update has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The validator rejected the update, or its code failed.
    #[error("the update failed: {0}")]
    Failed(Failure),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why an update-with-start did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateWithStartError {
    /// The workflow was not started.
    #[error(transparent)]
    Start(StartError),
    /// The update failed.
    #[error(transparent)]
    Update(UpdateError),
}

/// Why a schedule was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateScheduleError {
    /// There is one of this id.
    #[error("the schedule {schedule_id} exists already")]
    AlreadyExists {
        /// The id.
        schedule_id: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

macro_rules! from_parts {
    ($($error:ident)+) => {
        $(impl From<ConversionError> for $error {
            fn from(error: ConversionError) -> Self {
                $error::Call(error.into())
            }
        }

        impl From<CodecError> for $error {
            fn from(error: CodecError) -> Self {
                $error::Call(error.into())
            }
        })+
    };
}

from_parts!(StartError QueryError UpdateError CreateScheduleError);

/// The detail of this type that came with a status.
pub(super) fn detail<M: Message + Name + Default>(status: &Status) -> Option<M> {
    let whole = rpc::Status::decode(status.details()).ok()?;
    let wanted = M::full_name();
    let found = whole
        .details
        .iter()
        .find(|any| any.type_url.rsplit('/').next() == Some(&wanted))?;
    M::decode(found.value.as_slice()).ok()
}

/// What went wrong in a multi-operation: the position of the operation and its own status.
pub(super) fn failed_operation(status: &Status) -> Option<(usize, Status)> {
    let aborted = MultiOperationExecutionAborted::full_name();
    let failure = detail::<details::MultiOperationExecutionFailure>(status)?;
    let (position, own) = failure.statuses.into_iter().enumerate().find(|(_, own)| {
        let mut names = own
            .details
            .iter()
            .map(|any| any.type_url.rsplit('/').next());
        own.code != 0 && !names.any(|name| name == Some(aborted.as_str()))
    })?;
    let whole = rpc::Status {
        code: own.code,
        message: own.message.clone(),
        details: own.details,
    };
    let bytes = whole.encode_to_vec().into();
    let status = Status::with_details(Code::from_i32(own.code), own.message, bytes);
    Some((position, status))
}
