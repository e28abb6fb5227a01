//! Cancellation that reads like ordinary Rust: a scope is a future, and what is dropped is cancelled.

use crate::executor::context::Context;
use crate::executor::scope::{ROOT, ScopeId};
use crate::failure::{Failure, Result};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use steadfast_proto::temporal::sdk::v1::EventGroupMarker;

/// A future whose operations belong to a scope.
pub(crate) struct InScope<F> {
    scope: ScopeId,
    markers: Option<Vec<EventGroupMarker>>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let context = Context::current();
        let (scope, markers) = {
            let mut state = context.state.borrow_mut();
            let scope = std::mem::replace(&mut state.scopes.current, self.scope);
            let markers = self
                .markers
                .clone()
                .map(|markers| std::mem::replace(&mut state.event_group_markers, markers));
            (scope, markers)
        };
        let polled = self.future.as_mut().poll(cx);
        let mut state = context.state.borrow_mut();
        state.scopes.current = scope;
        if let Some(markers) = markers {
            state.event_group_markers = markers;
        }
        polled
    }
}

/// A future in the scope of the whole workflow, whose commands carry these markers.
pub(crate) fn in_root<F: Future>(markers: Vec<EventGroupMarker>, future: F) -> InScope<F> {
    InScope {
        scope: ROOT,
        markers: Some(markers),
        future: Box::pin(future),
    }
}

/// Cancels a scope. Clones cancel the same one.
#[derive(Debug, Clone)]
pub struct CancelHandle {
    scope: ScopeId,
}

impl CancelHandle {
    /// Cancels what was begun in the scope, and what will be.
    pub fn cancel(&self, reason: &str) {
        Context::current().cancel_scope(self.scope, reason);
    }

    /// It was cancelled.
    pub fn is_canceled(&self) -> bool {
        let context = Context::current();
        let state = context.state.borrow();
        state.scopes.get(self.scope).canceled.is_some()
    }
}

/// Opens a scope: everything that `future` begins can be cancelled by the handle. The cancellation of
/// the workflow reaches it, too.
pub fn cancellable<F: Future>(
    future: F,
) -> (CancelHandle, impl Future<Output = F::Output> + use<F>) {
    let scope = Context::current().state.borrow_mut().scopes.open(false);
    let future = InScope {
        scope,
        markers: None,
        future: Box::pin(future),
    };
    (CancelHandle { scope }, future)
}

/// A scope that no cancellation reaches: for what must be done in the end, as compensations.
pub fn shielded<F: Future>(future: F) -> impl Future<Output = F::Output> + use<F> {
    let scope = Context::current().state.borrow_mut().scopes.open(true);
    InScope {
        scope,
        markers: None,
        future: Box::pin(future),
    }
}

/// Waits until the scope where code is, or the whole workflow, is cancelled; gives the reason.
pub async fn canceled() -> String {
    let scope = Context::current().state.borrow().scopes.current;
    std::future::poll_fn(move |cx| {
        let context = Context::current();
        let mut state = context.state.borrow_mut();
        if let Some(reason) = &state.scopes.get(scope).canceled {
            return Poll::Ready(reason.clone());
        }
        state.scopes.wake_at_cancel(scope, cx.waker());
        Poll::Pending
    })
    .await
}

/// The scope where code is was cancelled, or the whole workflow was.
pub fn is_canceled() -> bool {
    let context = Context::current();
    let state = context.state.borrow();
    state.scopes.get(state.scopes.current).canceled.is_some()
}

/// A task of the workflow beside its own.
#[derive(Debug)]
pub struct JoinHandle<T> {
    result: Rc<RefCell<Joined<T>>>,
}

#[derive(Debug)]
struct Joined<T> {
    value: Option<T>,
    waker: Option<task::Waker>,
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<T> {
        let mut joined = self.result.borrow_mut();
        match joined.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                joined.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Begins a task beside the workflow's own, in the scope where code is. It goes on when its handle is
/// dropped, until the workflow ends.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let result = Rc::new(RefCell::new(Joined {
        value: None,
        waker: None,
    }));
    let context = Context::current();
    let (scope, markers) = {
        let state = context.state.borrow();
        (state.scopes.current, state.event_group_markers.clone())
    };
    let joined = Rc::clone(&result);
    let task = InScope {
        scope,
        markers: Some(markers),
        future: Box::pin(async move {
            let value = future.await;
            let mut joined = joined.borrow_mut();
            joined.value = Some(value);
            if let Some(waker) = joined.waker.take() {
                waker.wake();
            }
        }),
    };
    context.state.borrow_mut().spawned.push(Box::pin(task));
    JoinHandle { result }
}

/// Ends with a failure when `future` takes longer; what it began is cancelled then.
///
/// # Errors
/// A time-out of type `StartToClose`, or the cancellation of the scope.
pub async fn timeout<F: Future>(limit: std::time::Duration, future: F) -> Result<F::Output> {
    use crate::failure::FailureKind;
    use steadfast_proto::temporal::enums::v1::TimeoutType;
    let mut future = Box::pin(future);
    let mut timer = Box::pin(crate::workflow::sleep(limit));
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => {
                let kind = FailureKind::Timeout {
                    timeout_type: TimeoutType::StartToClose,
                    last_heartbeat_details: Vec::new(),
                };
                Poll::Ready(Err(Failure::new("it took too long", kind)))
            }
            Poll::Ready(Err(canceled)) => Poll::Ready(Err(canceled)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
