//! Work that looks like life: clients that start, signal, update, query and list; workers that are
//! slow, fail, and die; workflows of activities, timers, children and signals.

mod activity_worker;
mod caller;
mod client;
pub mod script;
mod transport;
mod workflow_worker;

pub use caller::{Caller, Habits};
pub use client::{Client, Row, all_rows, drain};
pub use transport::{Addresses, Channels, Transport};
pub(crate) use workflow_worker::hash_of;

use steadfast_proto::temporal::common::v1::{Payload, Payloads, WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::TaskQueueKind;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// The namespace of all work.
pub const NAMESPACE: &str = "default";

/// Starts so many workers of each kind; they work until the simulation ends.
pub fn work(caller: &Caller, workers: u64) {
    for number in 0..workers {
        pair(caller, number);
    }
}

/// Starts a worker of each kind; they work until they are aborted.
pub fn pair(caller: &Caller, number: u64) -> [tokio::task::JoinHandle<()>; 2] {
    [
        tokio::spawn(workflow_worker::run(caller.fork(1_000 + number))),
        tokio::spawn(activity_worker::run(caller.fork(2_000 + number))),
    ]
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue {
        name: "orders".into(),
        kind: TaskQueueKind::Normal.into(),
        ..TaskQueue::default()
    })
}

fn order() -> Option<WorkflowType> {
    Some(WorkflowType {
        name: "order".into(),
    })
}

fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: workflow_id.into(),
        run_id: run_id.into(),
    })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn payload(text: &str) -> Option<Payloads> {
    let payload = Payload {
        data: text.to_owned().into(),
        ..Payload::default()
    };
    Some(Payloads {
        payloads: vec![payload],
    })
}

fn text(payloads: Option<&Payloads>) -> String {
    let first = payloads.and_then(|payloads| payloads.payloads.first());
    first
        .map(|payload| String::from_utf8_lossy(&payload.data).into_owned())
        .unwrap_or_default()
}
