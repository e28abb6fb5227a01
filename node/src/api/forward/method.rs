//! What a path says of a call.

use tonic::Status;

const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";
const OPERATOR_SERVICE: &str = "temporal.api.operatorservice.v1.OperatorService";
/// Services whose every node answers for itself.
const LOCAL_SERVICES: &[&str] = &[
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "steadfast.admin.v1.AdminService",
];
/// Methods that need no leader.
const LOCAL_METHODS: &[&str] = &["GetSystemInfo", "GetClusterInfo", "GetSearchAttributes"];
const POLLS: &[&str] = &["PollWorkflowTaskQueue", "PollActivityTaskQueue"];
/// Methods whose names begin like this change nothing.
const READS: &[&str] = &[
    "Get",
    "List",
    "Describe",
    "Count",
    "Scan",
    "Query",
    "PollWorkflowExecutionUpdate",
];

/// A service's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method<'path> {
    /// Of a service that every node answers for itself.
    Local,
    /// Of one of Temporal's services.
    Temporal(&'path str, &'path str),
}

impl<'path> Method<'path> {
    /// Splits a path; refuses services that are not served.
    pub(super) fn of(path: &'path str) -> Result<Self, Status> {
        let (service, method) = path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or((path, ""));
        if LOCAL_SERVICES.contains(&service) {
            return Ok(Self::Local);
        }
        if service == WORKFLOW_SERVICE || service == OPERATOR_SERVICE {
            return Ok(Self::Temporal(service, method));
        }
        Err(Status::unimplemented(format!("unknown service {service}")))
    }

    /// The answer to a method that its service does not have.
    pub(super) fn unknown(self) -> Status {
        match self {
            Self::Local => Status::unimplemented("unknown method"),
            Self::Temporal(service, method) => {
                Status::unimplemented(format!("unknown method {method} for service {service}"))
            }
        }
    }

    pub(super) fn is_local(self) -> bool {
        match self {
            Self::Local => true,
            Self::Temporal(_, method) => LOCAL_METHODS.contains(&method),
        }
    }

    pub(super) fn is_poll(self) -> bool {
        match self {
            Self::Local => false,
            Self::Temporal(_, method) => POLLS.contains(&method),
        }
    }

    /// Whether doing it twice is the same as doing it once, for everyone.
    pub(super) fn is_read(self) -> bool {
        match self {
            Self::Local => true,
            Self::Temporal(_, method) => READS.iter().any(|prefix| method.starts_with(prefix)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_where_a_call_goes() {
        let of = |method| format!("/{WORKFLOW_SERVICE}/{method}");
        assert!(Method::of(&of("GetSystemInfo")).unwrap().is_local());
        assert!(
            Method::of("/grpc.health.v1.Health/Check")
                .unwrap()
                .is_local()
        );
        assert!(Method::of(&of("PollActivityTaskQueue")).unwrap().is_poll());
        assert!(Method::of(&of("DescribeNamespace")).unwrap().is_read());
        assert!(!Method::of(&of("StartWorkflowExecution")).unwrap().is_read());
        assert_eq!(
            Method::of("/no.such.Service/X").unwrap_err().message(),
            "unknown service no.such.Service"
        );
        assert!(Method::of("").is_err());
    }
}
