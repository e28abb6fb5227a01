//! A good request of each served RPC.

use super::field;
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// A request that is good but for a task or a workflow that may not be there.
pub(super) struct Base {
    pub(super) request: Bytes,
    /// The field of its task token or page token.
    pub(super) token: Option<u32>,
    /// The field of its namespace, when a wrong one is the first thing that is wrong with it.
    pub(super) namespace: Option<u32>,
}

fn of(parts: &[(u32, &[u8])]) -> Bytes {
    let mut request = Vec::new();
    for (number, content) in parts {
        request.extend_from_slice(&field(*number, content));
    }
    request.into()
}

/// The rows by RPC.
#[expect(clippy::too_many_lines, reason = "one table")]
pub(super) fn bases() -> BTreeMap<&'static str, Base> {
    let default: (u32, &[u8]) = (1, b"default");
    let execution = WorkflowExecution {
        workflow_id: "w".into(),
        run_id: String::new(),
    };
    let execution = execution.encode_to_vec();
    let kind = WorkflowType { name: "wf".into() }.encode_to_vec();
    let queue = TaskQueue {
        name: "q".into(),
        ..TaskQueue::default()
    };
    let queue = queue.encode_to_vec();
    let query = field(1, b"state");
    let in_namespace = |parts: &[(u32, &[u8])]| Base {
        request: of(&[&[default], parts].concat()),
        token: None,
        namespace: Some(1),
    };
    let paged = |token: u32, parts: &[(u32, &[u8])]| Base {
        token: Some(token),
        ..in_namespace(parts)
    };
    let tokened = || Base {
        request: of(&[(1, b"not a token")]),
        token: Some(1),
        namespace: None,
    };
    let free = |parts: &[(u32, &[u8])]| Base {
        request: of(parts),
        token: None,
        namespace: None,
    };
    let start: &[(u32, &[u8])] = &[(2, b"w"), (3, &kind), (4, &queue)];
    let by_id: &[(u32, &[u8])] = &[(2, b"w"), (4, b"a")];
    let known = paged(4, &[(2, &execution)]);
    let reverse = paged(4, &[(2, &execution)]);
    let update = of(&[(1, &field(1, b"u")), (2, &field(2, b"update"))]);
    let update_ref = of(&[(1, &execution), (2, b"u")]);
    BTreeMap::from([
        ("AddOrUpdateRemoteCluster", free(&[(1, b"127.0.0.1:1")])),
        ("AddSearchAttributes", free(&[(2, b"default")])),
        ("CountWorkflowExecutions", in_namespace(&[])),
        ("DeleteWorkflowExecution", in_namespace(&[(2, &execution)])),
        ("DescribeNamespace", in_namespace(&[])),
        ("DescribeTaskQueue", in_namespace(&[(2, &queue)])),
        (
            "DescribeWorkflowExecution",
            in_namespace(&[(2, &execution)]),
        ),
        ("ExecuteMultiOperation", in_namespace(&[])),
        ("GetClusterInfo", free(&[])),
        ("GetSearchAttributes", free(&[])),
        ("GetSystemInfo", free(&[])),
        ("GetWorkflowExecutionHistory", known),
        ("GetWorkflowExecutionHistoryReverse", reverse),
        ("ListClusters", free(&[])),
        ("ListClosedWorkflowExecutions", paged(3, &[(4, b"")])),
        ("ListNamespaces", free(&[])),
        ("ListOpenWorkflowExecutions", paged(3, &[(4, b"")])),
        ("ListSearchAttributes", free(&[(1, b"default")])),
        ("ListTaskQueuePartitions", in_namespace(&[(2, &queue)])),
        ("ListWorkflowExecutions", paged(3, &[])),
        ("PollActivityTaskQueue", in_namespace(&[(2, &queue)])),
        ("PollWorkflowTaskQueue", in_namespace(&[(2, &queue)])),
        (
            "QueryWorkflow",
            in_namespace(&[(2, &execution), (3, &query)]),
        ),
        ("RecordActivityTaskHeartbeat", tokened()),
        ("RecordActivityTaskHeartbeatById", in_namespace(by_id)),
        ("RegisterNamespace", free(&[(1, b"another")])),
        (
            "RequestCancelWorkflowExecution",
            in_namespace(&[(2, &execution)]),
        ),
        ("ResetStickyTaskQueue", in_namespace(&[(2, &execution)])),
        (
            "ResetWorkflowExecution",
            in_namespace(&[(2, &execution), (5, b"r")]),
        ),
        ("RespondActivityTaskCanceled", tokened()),
        ("RespondActivityTaskCanceledById", in_namespace(by_id)),
        ("RespondActivityTaskCompleted", tokened()),
        ("RespondActivityTaskCompletedById", in_namespace(by_id)),
        ("RespondActivityTaskFailed", tokened()),
        ("RespondActivityTaskFailedById", in_namespace(by_id)),
        ("RespondQueryTaskCompleted", tokened()),
        ("RespondWorkflowTaskCompleted", tokened()),
        ("RespondWorkflowTaskFailed", tokened()),
        ("ScanWorkflowExecutions", paged(3, &[])),
        ("ShutdownWorker", in_namespace(&[(2, b"sticky")])),
        (
            "SignalWithStartWorkflowExecution",
            in_namespace(&[start, &[(12, b"signal")]].concat()),
        ),
        (
            "SignalWorkflowExecution",
            in_namespace(&[(2, &execution), (3, b"signal")]),
        ),
        ("StartWorkflowExecution", in_namespace(start)),
        (
            "TerminateWorkflowExecution",
            in_namespace(&[(2, &execution)]),
        ),
        (
            "PollWorkflowExecutionUpdate",
            in_namespace(&[(2, &update_ref)]),
        ),
        (
            "UpdateWorkflowExecution",
            in_namespace(&[(2, &execution), (5, &update)]),
        ),
        ("UpdateNamespace", in_namespace(&[(2, &field(1, b"x"))])),
    ])
}
