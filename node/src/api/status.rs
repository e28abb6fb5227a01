//! The one map from refusals to gRPC codes and Temporal's detail types.

use crate::shard::Unavailable;
use bytes::Bytes;
use prost::{Message, Name};
use steadfast_engine::{Fault, Refusal};
use steadfast_proto::google::rpc;
use steadfast_proto::temporal::enums::v1::{
    NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope,
};
use steadfast_proto::temporal::errordetails::v1 as details;
use steadfast_proto::temporal::failure::v1::{Failure, MultiOperationExecutionAborted};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Marks an answer of a node that does not lead: nothing was done, and the call may be sent to the
/// leader as it is.
pub(crate) const NOT_LEADER_HEADER: &str = "steadfast-not-leader";

/// A deterministic "no" as a status.
pub(crate) fn refused(refusal: Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::InvalidArgument(message) => Status::invalid_argument(message),
        Refusal::NotFound(message) => not_found(message),
        Refusal::NamespaceNotFound(namespace) => namespace_not_found(&namespace),
        Refusal::NamespaceAlreadyExists => with(
            Code::AlreadyExists,
            message,
            &details::NamespaceAlreadyExistsFailure {},
        ),
        Refusal::NamespaceInvalidState { namespace, state } => namespace_invalid_state(
            namespace,
            state,
            state == i32::from(NamespaceState::Deprecated),
        ),
        Refusal::WorkflowExecutionAlreadyStarted {
            message,
            start_request_id,
            run_id,
            first_execution_run_id,
        } => with(
            Code::AlreadyExists,
            message,
            &details::WorkflowExecutionAlreadyStartedFailure {
                start_request_id,
                run_id,
                first_execution_run_id,
            },
        ),
        Refusal::FailedPrecondition(message) => Status::failed_precondition(message),
        Refusal::WorkflowNotReady(message) => workflow_not_ready(message),
        Refusal::ResourceExhausted {
            cause,
            scope,
            message,
        } => with(
            Code::ResourceExhausted,
            message,
            &details::ResourceExhaustedFailure { cause, scope },
        ),
        Refusal::PermissionDenied(message) => permission_denied(message),
        Refusal::MultiOperation { start, update } => {
            let operation = |refusal: Option<Box<Refusal>>| {
                refusal.map_or(Operation::Aborted, |refusal| {
                    Operation::Failed(refused(*refusal))
                })
            };
            multi_operation(operation(start), operation(update))
        }
        Refusal::Unimplemented(message) => Status::unimplemented(message),
        Refusal::Quarantined(message) => Status::internal(message),
    }
}

/// Why the node could not even ask, or does not know the outcome.
pub(crate) fn unavailable(unavailable: Unavailable) -> Status {
    let message = unavailable.to_string();
    match unavailable {
        Unavailable::NoLeader
        | Unavailable::Unknown
        | Unavailable::Stopping
        | Unavailable::StatesDiffer => Status::unavailable(message),
        Unavailable::NotLeader => {
            let mut status = Status::unavailable(message);
            status
                .metadata_mut()
                .insert(NOT_LEADER_HEADER, MetadataValue::from_static("1"));
            status
        }
        Unavailable::Overloaded => exhausted(ResourceExhaustedCause::SystemOverloaded, message),
        Unavailable::DiskLow => exhausted(ResourceExhaustedCause::PersistenceStorageLimit, message),
        Unavailable::DeadlineExceeded => Status::deadline_exceeded(message),
    }
}

/// A read of broken storage; the node is about to stop.
pub(crate) fn fault(fault: &Fault) -> Status {
    tracing::error!(%fault, "a read failed");
    Status::unavailable("the node's storage failed")
}

/// INVALID_ARGUMENT.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// NOT_FOUND with NotFoundFailure.
pub(crate) fn not_found(message: impl Into<String>) -> Status {
    with(
        Code::NotFound,
        message.into(),
        &details::NotFoundFailure::default(),
    )
}

/// FAILED_PRECONDITION with WorkflowNotReadyFailure.
pub(crate) fn workflow_not_ready(message: impl Into<String>) -> Status {
    with(
        Code::FailedPrecondition,
        message.into(),
        &details::WorkflowNotReadyFailure {},
    )
}

/// PERMISSION_DENIED with PermissionDeniedFailure.
pub(crate) fn permission_denied(message: impl Into<String>) -> Status {
    with(
        Code::PermissionDenied,
        message.into(),
        &details::PermissionDeniedFailure::default(),
    )
}

/// What became of one operation of a failed ExecuteMultiOperation.
#[derive(Debug)]
pub(crate) enum Operation {
    /// It was done.
    Done,
    /// It was not done because of the other one.
    Aborted,
    /// It failed.
    Failed(Status),
}

/// MultiOperationExecutionFailure: a status for each operation; the code is the failed one's.
pub(crate) fn multi_operation(start: Operation, update: Operation) -> Status {
    let mut code = None;
    let mut status = |operation| match operation {
        Operation::Done => details::multi_operation_execution_failure::OperationStatus::default(),
        Operation::Aborted => operation_status(&with(
            Code::Aborted,
            "Operation was aborted.".to_owned(),
            &MultiOperationExecutionAborted {},
        )),
        Operation::Failed(status) => {
            code.get_or_insert(status.code());
            operation_status(&status)
        }
    };
    let statuses = vec![status(start), status(update)];
    with(
        code.unwrap_or(Code::Aborted),
        "Update-with-Start could not be executed.".to_owned(),
        &details::MultiOperationExecutionFailure { statuses },
    )
}

fn operation_status(
    status: &Status,
) -> details::multi_operation_execution_failure::OperationStatus {
    let packed = rpc::Status::decode(status.details()).unwrap_or_default();
    details::multi_operation_execution_failure::OperationStatus {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: packed.details,
    }
}

/// RESOURCE_EXHAUSTED of one workflow that is about to close.
pub(crate) fn workflow_closing() -> Status {
    with(
        Code::ResourceExhausted,
        "workflow operation can not be applied because workflow is closing".to_owned(),
        &details::ResourceExhaustedFailure {
            cause: ResourceExhaustedCause::BusyWorkflow.into(),
            scope: ResourceExhaustedScope::Namespace.into(),
        },
    )
}

/// INVALID_ARGUMENT with QueryFailedFailure.
pub(crate) fn query_failed(message: String, failure: Option<Failure>) -> Status {
    with(
        Code::InvalidArgument,
        message,
        &details::QueryFailedFailure { failure },
    )
}

/// NOT_FOUND with NamespaceNotFoundFailure.
pub(crate) fn namespace_not_found(namespace: &str) -> Status {
    let detail = details::NamespaceNotFoundFailure {
        namespace: namespace.to_owned(),
    };
    with(
        Code::NotFound,
        format!("Namespace {namespace} is not found."),
        &detail,
    )
}

/// FAILED_PRECONDITION with NamespaceInvalidStateFailure; starts need a registered namespace,
/// everything else takes a deprecated one as well.
pub(crate) fn namespace_invalid_state(
    namespace: String,
    state: i32,
    only_registered: bool,
) -> Status {
    let shown = match NamespaceState::try_from(state) {
        Ok(NamespaceState::Registered) => "Registered",
        Ok(NamespaceState::Deprecated) => "Deprecated",
        Ok(NamespaceState::Deleted) => "Deleted",
        Ok(NamespaceState::Unspecified) | Err(_) => "Unspecified",
    };
    let (allowed, names): (&[NamespaceState], _) = if only_registered {
        (&[NamespaceState::Registered], "Registered")
    } else {
        (
            &[NamespaceState::Registered, NamespaceState::Deprecated],
            "Registered or Deprecated",
        )
    };
    let allowed_states = allowed.iter().map(|state| i32::from(*state)).collect();
    with(
        Code::FailedPrecondition,
        format!("Namespace has invalid state: {shown}. Must be {names}."),
        &details::NamespaceInvalidStateFailure {
            namespace,
            state,
            allowed_states,
        },
    )
}

/// RESOURCE_EXHAUSTED of the whole system.
fn exhausted(cause: ResourceExhaustedCause, message: String) -> Status {
    let scope = ResourceExhaustedScope::System.into();
    with(
        Code::ResourceExhausted,
        message,
        &details::ResourceExhaustedFailure {
            cause: cause.into(),
            scope,
        },
    )
}

/// A status with one detail, packed as gRPC's clients expect it.
pub(crate) fn with<M: Message + Name>(code: Code, message: String, detail: &M) -> Status {
    let any = prost_types::Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: detail.encode_to_vec(),
    };
    let packed = rpc::Status {
        code: code.into(),
        message: message.clone(),
        details: vec![any],
    };
    Status::with_details(code, message, Bytes::from(packed.encode_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_detail() {
        let status = refused(Refusal::NamespaceNotFound("n".to_owned()));
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "Namespace n is not found.")
        );
        let packed = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(packed.code, 5);
        assert_eq!(
            packed.details[0].type_url,
            "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure"
        );
        let detail = details::NamespaceNotFoundFailure::decode(&*packed.details[0].value).unwrap();
        assert_eq!(detail.namespace, "n");
    }

    #[test]
    fn a_state_names_what_is_allowed() {
        let status = namespace_invalid_state("n".to_owned(), 3, false);
        assert_eq!(
            status.message(),
            "Namespace has invalid state: Deleted. Must be Registered or Deprecated."
        );
        let status = refused(Refusal::NamespaceInvalidState {
            namespace: "n".to_owned(),
            state: 2,
        });
        assert_eq!(
            status.message(),
            "Namespace has invalid state: Deprecated. Must be Registered."
        );
    }
}
