//! The futures of operations and conditions.

use crate::executor::context::Context;
use crate::executor::operation::OperationId;
use crate::failure::{Failure, Result};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use steadfast_proto::temporal::common::v1::Payload;

/// Waits for the end of an operation. Dropped before, it cancels it.
#[derive(Debug)]
pub(crate) struct Waiting {
    context: Rc<Context>,
    id: Option<OperationId>,
    /// It never began.
    refused: Option<Failure>,
}

impl Waiting {
    pub(crate) fn new(context: Rc<Context>, begun: Result<OperationId>) -> Self {
        let (id, refused) = match begun {
            Ok(id) => (Some(id), None),
            Err(failure) => (None, Some(failure)),
        };
        Self {
            context,
            id,
            refused,
        }
    }

    /// The operation, while it has not been seen to end.
    pub(crate) fn id(&self) -> Option<OperationId> {
        self.id
    }

    /// Asks the operation to end, and goes on waiting.
    pub(crate) fn cancel(&self) {
        if let Some(id) = self.id {
            self.context.cancel_operation(id);
        }
    }

    /// Leaves it alone when this is dropped.
    pub(crate) fn detach(&mut self) {
        if let Some(id) = self.id.take()
            && let Some(operation) = self.context.state.borrow_mut().operations.get_mut(&id)
        {
            operation.abandoned = true;
        }
    }
}

impl Future for Waiting {
    type Output = Result<Vec<Payload>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        if let Some(failure) = self.refused.take() {
            return Poll::Ready(Err(failure));
        }
        let Some(id) = self.id else {
            return Poll::Pending;
        };
        let polled = self.context.poll(id, cx.waker());
        if polled.is_ready() {
            self.id = None;
        }
        polled
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.context.forget(id);
        }
    }
}

/// Waits until a condition is met, or its scope cancelled.
pub(crate) struct WaitCondition {
    context: Rc<Context>,
    id: OperationId,
    predicate: Option<Box<dyn FnMut() -> bool>>,
}

impl WaitCondition {
    pub(crate) fn new(predicate: Box<dyn FnMut() -> bool>) -> Self {
        let context = Context::current();
        let id = context.next_id();
        Self {
            context,
            id,
            predicate: Some(predicate),
        }
    }
}

impl Future for WaitCondition {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<()>> {
        if self.context.is_met(self.id) {
            return Poll::Ready(Ok(()));
        }
        if let Some(predicate) = &mut self.predicate
            && predicate()
        {
            return Poll::Ready(Ok(()));
        }
        {
            let mut state = self.context.state.borrow_mut();
            let scope = state.scopes.current;
            if state.scopes.get(scope).canceled.is_some() {
                return Poll::Ready(Err(Failure::canceled("Wait condition cancelled")));
            }
            state.scopes.wake_at_cancel(scope, cx.waker());
        }
        let (context, id) = (Rc::clone(&self.context), self.id);
        context.wait(id, self.predicate.take(), cx.waker());
        Poll::Pending
    }
}

impl Drop for WaitCondition {
    fn drop(&mut self) {
        self.context.forget_condition(self.id);
    }
}
