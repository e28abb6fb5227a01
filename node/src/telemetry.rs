//! Counters and gauges, as `/metrics` shows them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use steadfast_engine::Mutation;

/// Methods and codes counted apart at most; Temporal's services have far fewer.
const RPC_KINDS: usize = 4_096;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What this node has counted since it started.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Mutations proposed here.
    pub proposals: Counter,
    /// Log entries proposed here.
    pub entries: Counter,
    /// Proposals refused by admission.
    pub overloaded: Counter,
    /// Proposals whose outcome stayed unknown.
    pub unknown: Counter,
    /// Linearizable reads.
    pub reads: Counter,
    /// Polls that got a task or a query.
    pub polls_answered: Counter,
    /// Polls that ended empty.
    pub polls_empty: Counter,
    /// Claims proposed for waiting polls.
    pub claims: Counter,
    /// Reservations sent with proposals.
    pub reservations: Counter,
    /// Tasks handed back because their poller left.
    pub returned: Counter,
    /// Mutations that panicked.
    pub panics: Counter,
    /// Times that nodes were found to hold different states.
    pub digest_mismatches: Counter,
    /// Times that this node's state was replaced by that of the majority.
    pub rebuilds: Counter,
    /// How late the last due item was proposed, in microseconds.
    pub due_lag_micros: AtomicU64,
    mutations: Mutex<BTreeMap<&'static str, u64>>,
    rpcs: Mutex<BTreeMap<(String, i32), Rpc>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Rpc {
    count: u64,
    micros: u64,
}

impl Telemetry {
    /// Counts mutations of a batch, by kind.
    pub fn applied<'a>(&self, mutations: impl Iterator<Item = &'a Mutation>) {
        let mut counts = self
            .mutations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for mutation in mutations {
            *counts.entry(kind(mutation)).or_default() += 1;
        }
    }

    /// Counts a finished call: method, gRPC code, microseconds.
    pub fn rpc(&self, method: &str, code: i32, micros: u64) {
        let mut rpcs = self.rpcs.lock().unwrap_or_else(PoisonError::into_inner);
        let full = rpcs.len() >= RPC_KINDS;
        let key = (method.to_owned(), code);
        let rpc = match rpcs.get_mut(&key) {
            Some(rpc) => rpc,
            None if full => return,
            None => rpcs.entry(key).or_default(),
        };
        rpc.count += 1;
        rpc.micros = rpc.micros.saturating_add(micros);
    }

    /// Writes all counters into a page.
    pub fn render(&self, page: &mut Page) {
        let counters: [(&str, &Counter); 13] = [
            ("proposals_total", &self.proposals),
            ("entries_total", &self.entries),
            ("overloaded_total", &self.overloaded),
            ("unknown_total", &self.unknown),
            ("reads_total", &self.reads),
            ("polls_answered_total", &self.polls_answered),
            ("polls_empty_total", &self.polls_empty),
            ("claims_total", &self.claims),
            ("reservations_total", &self.reservations),
            ("tasks_returned_total", &self.returned),
            ("panics_total", &self.panics),
            ("digest_mismatches_total", &self.digest_mismatches),
            ("rebuilds_total", &self.rebuilds),
        ];
        for (name, counter) in counters {
            page.counter(name, counter.get());
        }
        page.gauge(
            "due_lag_microseconds",
            self.due_lag_micros.load(Ordering::Relaxed),
        );
        let mutations = self
            .mutations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        page.family("mutations_total", "counter");
        for (kind, count) in mutations {
            page.sample("mutations_total", &format!("kind=\"{kind}\""), count);
        }
        let rpcs = self
            .rpcs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        page.family("rpcs_total", "counter");
        for ((method, code), rpc) in &rpcs {
            page.sample(
                "rpcs_total",
                &format!("method=\"{method}\",code=\"{code}\""),
                rpc.count,
            );
        }
        page.family("rpc_microseconds_total", "counter");
        for ((method, code), rpc) in &rpcs {
            page.sample(
                "rpc_microseconds_total",
                &format!("method=\"{method}\",code=\"{code}\""),
                rpc.micros,
            );
        }
    }
}

/// A page of metrics in Prometheus' text format.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Announces a family of samples; names get the prefix `steadfast_`.
    pub fn family(&mut self, name: &str, kind: &str) {
        self.line(format_args!("# TYPE steadfast_{name} {kind}"));
    }

    /// One sample with labels.
    pub fn sample(&mut self, name: &str, labels: &str, value: u64) {
        self.line(format_args!("steadfast_{name}{{{labels}}} {value}"));
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, value: u64) {
        self.family(name, "counter");
        self.line(format_args!("steadfast_{name} {value}"));
    }

    /// A number as it is now.
    pub fn gauge(&mut self, name: &str, value: u64) {
        self.family(name, "gauge");
        self.line(format_args!("steadfast_{name} {value}"));
    }

    /// The text.
    #[must_use]
    pub fn done(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let written = writeln!(self.0, "{line}");
        assert!(written.is_ok(), "a string takes all text");
    }
}

/// The name of a mutation's kind.
#[must_use]
pub fn kind(mutation: &Mutation) -> &'static str {
    match mutation {
        Mutation::Bootstrap { .. } => "bootstrap",
        Mutation::SetConfig { .. } => "set_config",
        Mutation::RegisterNamespace { .. } => "register_namespace",
        Mutation::UpdateNamespace(_) => "update_namespace",
        Mutation::AddSearchAttributes { .. } => "add_search_attributes",
        Mutation::StartWorkflowExecution(_) => "start_workflow_execution",
        Mutation::SignalWorkflowExecution(_) => "signal_workflow_execution",
        Mutation::SignalWithStartWorkflowExecution(_) => "signal_with_start_workflow_execution",
        Mutation::RequestCancelWorkflowExecution(_) => "request_cancel_workflow_execution",
        Mutation::TerminateWorkflowExecution(_) => "terminate_workflow_execution",
        Mutation::DeleteWorkflowExecution(_) => "delete_workflow_execution",
        Mutation::DeleteSlice(_) => "delete_slice",
        Mutation::ClaimTask(_) => "claim_task",
        Mutation::ReturnTask(_) => "return_task",
        Mutation::RespondWorkflowTaskCompleted { .. } => "respond_workflow_task_completed",
        Mutation::RespondWorkflowTaskFailed { .. } => "respond_workflow_task_failed",
        Mutation::RespondActivityTaskCompleted { .. } => "respond_activity_task_completed",
        Mutation::RespondActivityTaskFailed { .. } => "respond_activity_task_failed",
        Mutation::RespondActivityTaskCanceled { .. } => "respond_activity_task_canceled",
        Mutation::RecordActivityTaskHeartbeat { .. } => "record_activity_task_heartbeat",
        Mutation::FireDue(_) => "fire_due",
        Mutation::DeliverMessage(_) => "deliver_message",
        Mutation::ResetStickyTaskQueue(_) => "reset_sticky_task_queue",
        Mutation::ResetWorkflowExecution(_) => "reset_workflow_execution",
        Mutation::ShutdownWorker { .. } => "shutdown_worker",
        Mutation::AbandonStickyQueue(_) => "abandon_sticky_queue",
        Mutation::QuarantineRun { .. } => "quarantine_run",
        Mutation::RaiseEngineVersion(_) => "raise_engine_version",
        Mutation::UpdateWorkflowExecution(_) => "update_workflow_execution",
        Mutation::ExecuteMultiOperation { .. } => "execute_multi_operation",
        Mutation::PurgeNamespace(_) => "purge_namespace",
    }
}
