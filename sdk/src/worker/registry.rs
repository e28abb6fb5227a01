//! What a worker can run.

use crate::converter::{Arguments, DataConverter, Value};
use crate::definition::Activity;
use crate::failure::Result;
use crate::worker::ActivityContext;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use steadfast_proto::temporal::common::v1::Payload;

/// An activity without its types.
pub(crate) type AnyActivity = Arc<
    dyn Fn(
            ActivityContext,
            Vec<Payload>,
            DataConverter,
        ) -> BoxFuture<'static, Result<Option<Payload>>>
        + Send
        + Sync,
>;

/// Activities by their names.
#[derive(Default, Clone)]
pub struct ActivityRegistry {
    activities: BTreeMap<String, AnyActivity>,
    twice: Vec<String>,
}

impl fmt::Debug for ActivityRegistry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.activities.keys())
            .finish()
    }
}

/// Activities that share a state. `#[activities]` implements it.
pub trait Activities: Send + Sync + 'static {
    /// Adds each of them.
    fn register(self: Arc<Self>, to: &mut ActivityRegistry);
}

/// An `async fn` that is an activity: of its argument, or of an [`ActivityContext`] and its argument.
pub trait ActivityFn<I, O, Form>: Send + Sync + 'static {
    /// Runs it.
    fn call(
        &self,
        context: ActivityContext,
        input: I,
    ) -> impl Future<Output = Result<O>> + Send + 'static;
}

/// Of its argument only.
#[derive(Debug)]
pub struct Plain;

/// With an [`ActivityContext`] first.
#[derive(Debug)]
pub struct WithContext;

impl<I, O, F, G> ActivityFn<I, O, Plain> for F
where
    F: Fn(I) -> G + Send + Sync + 'static,
    G: Future<Output = Result<O>> + Send + 'static,
{
    fn call(
        &self,
        _: ActivityContext,
        input: I,
    ) -> impl Future<Output = Result<O>> + Send + 'static {
        self(input)
    }
}

impl<I, O, F, G> ActivityFn<I, O, WithContext> for F
where
    F: Fn(ActivityContext, I) -> G + Send + Sync + 'static,
    G: Future<Output = Result<O>> + Send + 'static,
{
    fn call(
        &self,
        context: ActivityContext,
        input: I,
    ) -> impl Future<Output = Result<O>> + Send + 'static {
        self(context, input)
    }
}

impl ActivityRegistry {
    /// Adds an activity.
    pub fn add<I, O, Form>(&mut self, activity: Activity<I, O>, code: impl ActivityFn<I, O, Form>)
    where
        I: Arguments + Send,
        O: Value + Send,
    {
        let code = Arc::new(code);
        let any: AnyActivity = Arc::new(move |context, input, data: DataConverter| {
            let code = Arc::clone(&code);
            Box::pin(async move {
                let input = I::from_payloads(data.converter(), input)?;
                let output = code.call(context, input).await?;
                if std::any::TypeId::of::<O>() == std::any::TypeId::of::<()>() {
                    return Ok(None);
                }
                Ok(Some(data.converter().to_payload(&output)?))
            })
        });
        if self
            .activities
            .insert(activity.name().to_string(), any)
            .is_some()
        {
            self.twice.push(activity.name().to_string());
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<AnyActivity> {
        self.activities.get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.activities.keys().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.activities.is_empty()
    }

    /// A name that was given to two activities.
    pub(crate) fn twice(&self) -> Option<&String> {
        self.twice.first()
    }
}
