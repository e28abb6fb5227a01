//! What workflow code reaches while it is polled: the run that it belongs to.

use crate::converter::{Converter, DataConverter};
use crate::executor::local::{Backoff, LocalActivityRequest};
use crate::executor::operation::{
    CancellationType, ChildCancellationType, Kind, Operation, OperationId,
};
use crate::executor::scope::{ScopeId, Scopes};
use crate::failure::{Failure, Result};
use crate::workflow::Info;
use futures::future::LocalBoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::SystemTime;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::{Payload, SearchAttributes};
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::sdk::v1::EventGroupMarker;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

/// A run, as its code sees it.
pub(crate) struct Context {
    /// How values become payloads.
    pub(crate) converter: Converter,
    /// How values and failures travel.
    pub(crate) data: DataConverter,
    /// Everything that changes. Never borrowed while code of the workflow runs.
    pub(crate) state: RefCell<State>,
}

/// A command that code gave.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// The operation that it begins or cancels.
    pub(crate) operation: Option<OperationId>,
    /// As it goes to the server.
    pub(crate) command: Command,
}

/// Waits until the state of the workflow is as it should be.
pub(crate) struct Condition {
    predicate: Option<Box<dyn FnMut() -> bool>>,
    waker: Waker,
    met: bool,
}

/// Numbers that commands are named by.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) activity: u32,
    pub(crate) timer: u32,
}

/// Everything of a run that changes.
pub(crate) struct State {
    pub(crate) info: Info,
    pub(crate) now: SystemTime,
    pub(crate) replaying: bool,
    /// Code that may only look: queries and validators. What it is called.
    pub(crate) read_only: Option<&'static str>,
    pub(crate) random: ChaCha8Rng,
    pub(crate) counters: Counters,
    pub(crate) next_operation: OperationId,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) conditions: BTreeMap<OperationId, Condition>,
    pub(crate) scopes: Scopes,
    /// Given in this activation.
    pub(crate) commands: Vec<Issued>,
    pub(crate) messages: Vec<Message>,
    pub(crate) event_group_markers: Vec<EventGroupMarker>,
    pub(crate) spawned: Vec<LocalBoxFuture<'static, ()>>,
    pub(crate) local_requests: Vec<(OperationId, LocalActivityRequest)>,
    pub(crate) local_cancels: Vec<u32>,
    pub(crate) backoffs: BTreeMap<OperationId, Backoff>,
    /// What the history says of patches, as far as it was read.
    pub(crate) patches_in_history: BTreeSet<String>,
    /// What code was told of patches.
    pub(crate) patches: BTreeMap<String, bool>,
    pub(crate) search_attributes: SearchAttributes,
    pub(crate) memo: BTreeMap<String, Payload>,
    pub(crate) cancel_reason: Option<String>,
    /// Handlers of signals and updates that have not ended.
    pub(crate) handlers: usize,
    /// The run goes away: dropping a future means nothing.
    pub(crate) closing: bool,
}

/// Makes the context reachable on this thread until it is dropped.
pub(crate) struct Entered(Option<Rc<Context>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.0.take()));
    }
}

impl Context {
    pub(crate) fn new(data: DataConverter, info: Info) -> Rc<Self> {
        let seed = seed(&info.original_run_id);
        let search_attributes = info.search_attributes.clone();
        let memo = info.memo.clone().into_iter().collect();
        let state = State {
            now: info.start_time,
            info,
            replaying: true,
            read_only: None,
            random: ChaCha8Rng::from_seed(seed),
            counters: Counters::default(),
            next_operation: 0,
            operations: BTreeMap::new(),
            conditions: BTreeMap::new(),
            scopes: Scopes::new(),
            commands: Vec::new(),
            messages: Vec::new(),
            event_group_markers: Vec::new(),
            spawned: Vec::new(),
            local_requests: Vec::new(),
            local_cancels: Vec::new(),
            backoffs: BTreeMap::new(),
            patches_in_history: BTreeSet::new(),
            patches: BTreeMap::new(),
            search_attributes,
            memo,
            cancel_reason: None,
            handlers: 0,
            closing: false,
        };
        Rc::new(Self {
            converter: data.converter().clone(),
            data,
            state: RefCell::new(state),
        })
    }

    /// The run whose code is polled on this thread.
    ///
    /// # Panics
    /// Outside of workflow code.
    pub(crate) fn current() -> Rc<Context> {
        let found = CURRENT.with(|current| current.borrow().clone());
        found.expect("functions of `workflow` are for workflow code, while a worker runs it")
    }

    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered(CURRENT.with(|current| current.replace(Some(Rc::clone(self)))))
    }

    /// A number that the order of code decides.
    pub(crate) fn next_id(&self) -> OperationId {
        let mut state = self.state.borrow_mut();
        state.next_operation += 1;
        state.next_operation
    }

    /// Adds an operation in the scope where code is; its failure when that scope is cancelled.
    ///
    /// # Panics
    /// In code that may only look.
    pub(crate) fn begin(&self, kind: Kind) -> Result<OperationId> {
        self.assert_may_change();
        let id = self.next_id();
        let mut state = self.state.borrow_mut();
        let scope = state.scopes.current;
        let operation = Operation::new(scope, kind);
        if state.scopes.get(scope).canceled.is_some() {
            return Err(operation.canceled_failure());
        }
        state.operations.insert(id, operation);
        Ok(id)
    }

    /// Gives a command.
    pub(crate) fn issue(&self, operation: Option<OperationId>, attributes: Attributes) {
        self.issue_with(operation, attributes, None);
    }

    /// Gives a command with words for people.
    pub(crate) fn issue_with(
        &self,
        operation: Option<OperationId>,
        attributes: Attributes,
        summary: Option<Payload>,
    ) {
        self.assert_may_change();
        let mut state = self.state.borrow_mut();
        let mut command = super::matching::command_of(attributes);
        command.event_group_markers = state.event_group_markers.clone();
        command.user_metadata =
            summary.map(|summary| steadfast_proto::temporal::sdk::v1::UserMetadata {
                summary: Some(summary),
                details: None,
            });
        state.commands.push(Issued { operation, command });
    }

    fn assert_may_change(&self) {
        if let Some(what) = self.state.borrow().read_only {
            panic!("{what} may look at the workflow, but not make it do anything");
        }
    }

    /// Looks whether an operation has ended; if not, wakes `waker` when it has.
    pub(crate) fn poll(&self, id: OperationId, waker: &Waker) -> Poll<Result<Vec<Payload>>> {
        let mut state = self.state.borrow_mut();
        let operation = state
            .operations
            .get_mut(&id)
            .expect("an operation lives as long as its future");
        match operation.resolution.take() {
            Some(resolution) => {
                state.operations.remove(&id);
                Poll::Ready(resolution)
            }
            None => {
                operation.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Nobody asks for the end of an operation any more: what is dropped is cancelled.
    pub(crate) fn forget(&self, id: OperationId) {
        let Ok(state) = self.state.try_borrow() else {
            return;
        };
        let open = match state.operations.get(&id) {
            Some(operation) => !operation.is_over(),
            None => return,
        };
        let closing = state.closing;
        drop(state);
        if open && !closing {
            self.cancel_operation(id);
        }
        let mut state = self.state.borrow_mut();
        let Some(operation) = state.operations.get_mut(&id) else {
            return;
        };
        operation.abandoned = true;
        if operation.is_over() {
            state.operations.remove(&id);
        }
    }

    /// Cancels a scope, all in it, and all operations begun there.
    pub(crate) fn cancel_scope(&self, scope: ScopeId, reason: &str) {
        let reached = self.state.borrow_mut().scopes.cancel(scope, reason);
        let within: Vec<OperationId> = self
            .state
            .borrow()
            .operations
            .iter()
            .filter(|(_, operation)| reached.contains(&operation.scope) && !operation.is_over())
            .map(|(id, _)| *id)
            .collect();
        for id in within {
            self.cancel_operation(id);
        }
    }

    /// Cancels an operation as its kind says.
    pub(crate) fn cancel_operation(&self, id: OperationId) {
        let mut state = self.state.borrow_mut();
        let Some(operation) = state.operations.get_mut(&id) else {
            return;
        };
        if operation.canceled || operation.is_over() {
            return;
        }
        operation.canceled = true;
        let failure = operation.canceled_failure();
        let unsent = state
            .commands
            .iter()
            .position(|issued| issued.operation == Some(id));
        let operation = state.operations.get_mut(&id).expect("it was there");
        let kind = &operation.kind;
        if let Some(index) = unsent
            && !matches!(kind, Kind::ChildStart { .. })
        {
            operation.resolve(Err(failure.clone()));
            if let Kind::Child(child) = &operation.kind {
                let start = child.start;
                if let Some(start) = state.operations.get_mut(&start) {
                    start.resolve(Err(failure));
                }
            }
            state.commands.remove(index);
            return;
        }
        drop(state);
        self.cancel_sent(id, failure);
    }

    /// Cancels an operation that the server knows of.
    fn cancel_sent(&self, id: OperationId, failure: Failure) {
        use super::matching::{cancel_activity, cancel_child, cancel_timer};
        let mut state = self.state.borrow_mut();
        let operation = state.operations.get_mut(&id).expect("it was there");
        let command = match &operation.kind {
            Kind::Timer { timer_id } => {
                let command = cancel_timer(timer_id);
                operation.resolve(Err(failure));
                Some(command)
            }
            Kind::Activity {
                scheduled_event_id,
                cancellation,
                ..
            } => {
                let command = match cancellation {
                    CancellationType::Abandon => None,
                    CancellationType::TryCancel | CancellationType::WaitCancellationCompleted => {
                        Some(cancel_activity(*scheduled_event_id))
                    }
                };
                if *cancellation != CancellationType::WaitCancellationCompleted {
                    operation.resolve(Err(failure));
                }
                command
            }
            Kind::LocalActivity {
                seq, cancellation, ..
            } => {
                let seq = *seq;
                if *cancellation != CancellationType::WaitCancellationCompleted {
                    operation.resolve(Err(failure));
                }
                state.local_cancels.push(seq);
                None
            }
            Kind::Child(child) => {
                let command = match child.cancellation {
                    ChildCancellationType::Abandon => None,
                    ChildCancellationType::TryCancel
                    | ChildCancellationType::WaitCancellationCompleted
                    | ChildCancellationType::WaitCancellationRequested => Some(cancel_child(child)),
                };
                let at_once = matches!(
                    child.cancellation,
                    ChildCancellationType::Abandon | ChildCancellationType::TryCancel
                );
                if at_once {
                    operation.resolve(Err(failure));
                }
                command
            }
            Kind::ChildStart { child } => {
                let child = *child;
                drop(state);
                return self.cancel_operation(child);
            }
            // What was sent to others is sent.
            Kind::SignalExternal | Kind::CancelExternal => None,
        };
        drop(state);
        if let Some(command) = command {
            self.issue(Some(id), command);
        }
    }

    /// Adds a condition.
    pub(crate) fn wait(
        &self,
        id: OperationId,
        predicate: Option<Box<dyn FnMut() -> bool>>,
        waker: &Waker,
    ) {
        let mut state = self.state.borrow_mut();
        match state.conditions.get_mut(&id) {
            Some(condition) => condition.waker = waker.clone(),
            None => {
                let condition = Condition {
                    predicate,
                    waker: waker.clone(),
                    met: false,
                };
                state.conditions.insert(id, condition);
            }
        }
    }

    /// Whether a condition was met.
    pub(crate) fn is_met(&self, id: OperationId) -> bool {
        let state = self.state.borrow();
        state.conditions.get(&id).is_some_and(|found| found.met)
    }

    /// Nobody waits for a condition any more.
    pub(crate) fn forget_condition(&self, id: OperationId) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            let forgotten = state.conditions.remove(&id);
            drop(state);
            drop(forgotten);
        }
    }

    /// Something of this SDK will wake a task. With nothing, code that waits waits for something else.
    pub(crate) fn waits(&self) -> bool {
        let state = self.state.borrow();
        let mut operations = state.operations.values();
        operations.any(|found| found.waker.is_some() && !found.is_over())
            || !state.conditions.is_empty()
            || state.scopes.are_waited_for()
    }

    /// Asks all conditions, in the order in which code began to wait; true when one is met now.
    pub(crate) fn check_conditions(&self) -> bool {
        let ids: Vec<OperationId> = self.state.borrow().conditions.keys().copied().collect();
        let mut any = false;
        for id in ids {
            let taken = match self.state.borrow_mut().conditions.get_mut(&id) {
                Some(condition) if !condition.met => condition.predicate.take(),
                Some(_) | None => None,
            };
            let Some(mut predicate) = taken else {
                continue;
            };
            let met = predicate();
            if let Some(condition) = self.state.borrow_mut().conditions.get_mut(&id) {
                condition.predicate = Some(predicate);
                condition.met = met;
                if met {
                    condition.waker.wake_by_ref();
                }
            }
            any |= met;
        }
        any
    }
}

/// Bits of a run's random numbers: they follow from its id, so that a replay draws the same.
pub(crate) fn seed(run_id: &str) -> [u8; 32] {
    let mut seed = [0_u8; 32];
    for (index, byte) in run_id.bytes().enumerate() {
        let place = &mut seed[index % 32];
        *place = place.rotate_left(3) ^ byte;
    }
    seed
}

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Context").finish_non_exhaustive()
    }
}
