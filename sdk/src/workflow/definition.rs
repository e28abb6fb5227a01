//! What a worker runs: a workflow type with its handlers, written by the macros or by hand.

use crate::converter::{Arguments, Converter, Value};
use crate::failure::{Failure, Result};
use futures::future::LocalBoxFuture;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;
use steadfast_proto::temporal::common::v1::Payload;

/// The state of a workflow, shared by its `run`, its handlers and its tasks.
///
/// It is looked at and changed in closures, so that nothing is held over an `await`.
pub struct Shared<W>(Rc<RefCell<W>>);

impl<W> Shared<W> {
    /// Shares a state.
    pub fn new(state: W) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    /// Looks at the state.
    ///
    /// # Panics
    /// Inside of [`Shared::write`] of the same state.
    pub fn read<R>(&self, look: impl FnOnce(&W) -> R) -> R {
        look(&self.0.borrow())
    }

    /// Changes the state.
    ///
    /// # Panics
    /// Inside of [`Shared::read`] or [`Shared::write`] of the same state.
    pub fn write<R>(&self, change: impl FnOnce(&mut W) -> R) -> R {
        change(&mut self.0.borrow_mut())
    }
}

impl<W: 'static> Shared<W> {
    /// Waits until the state is as it should be. Asked whenever something has happened.
    ///
    /// # Errors
    /// When the scope is cancelled first.
    pub fn wait_until<F: FnMut(&W) -> bool + 'static>(
        &self,
        mut is_met: F,
    ) -> impl Future<Output = Result<()>> + use<W, F> {
        let state = self.clone();
        crate::workflow::wait_condition(move || state.read(&mut is_met))
    }
}

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<W> fmt::Debug for Shared<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A workflow type. `#[workflow]` implements it.
pub trait WorkflowImpl: Sized + 'static {
    /// What it takes.
    type Input: Arguments + 'static;
    /// What it gives.
    type Output: Value;
    /// Its type, as the server knows it.
    const NAME: &'static str;

    /// Its state before anything happens.
    fn init(input: &Self::Input) -> Self;

    /// The workflow itself.
    fn run(
        state: Shared<Self>,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output>> + 'static;

    /// What it does when it is signalled, asked, updated.
    fn handlers() -> Handlers<Self>;
}

type SignalHandler<W> =
    Box<dyn Fn(&Shared<W>, Vec<Payload>, &Converter) -> Result<LocalBoxFuture<'static, ()>>>;
type QueryHandler<W> = Box<dyn Fn(&Shared<W>, Vec<Payload>, &Converter) -> Result<Option<Payload>>>;
type Validator<W> = Box<dyn Fn(&Shared<W>, Vec<Payload>, &Converter) -> Result<()>>;
type UpdateHandler<W> = Box<
    dyn Fn(
        &Shared<W>,
        Vec<Payload>,
        &Converter,
    ) -> Result<LocalBoxFuture<'static, Result<Option<Payload>>>>,
>;

/// The handlers of a workflow type, by their names.
pub struct Handlers<W> {
    signals: BTreeMap<&'static str, SignalHandler<W>>,
    queries: BTreeMap<&'static str, QueryHandler<W>>,
    validators: BTreeMap<&'static str, Validator<W>>,
    updates: BTreeMap<&'static str, UpdateHandler<W>>,
}

impl<W: 'static> Default for Handlers<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> fmt::Debug for Handlers<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Handlers")
            .field("signals", &self.signals.keys())
            .field("queries", &self.queries.keys())
            .field("updates", &self.updates.keys())
            .finish_non_exhaustive()
    }
}

fn given<O: Value>(converter: &Converter, output: &O) -> Result<Option<Payload>> {
    Ok(Some(converter.to_payload(output)?))
}

impl<W: 'static> Handlers<W> {
    /// None.
    pub fn new() -> Self {
        Self {
            signals: BTreeMap::new(),
            queries: BTreeMap::new(),
            validators: BTreeMap::new(),
            updates: BTreeMap::new(),
        }
    }

    /// A signal that changes the state and is done.
    pub fn signal<I: Arguments + 'static>(
        self,
        name: &'static str,
        handler: fn(&mut W, I),
    ) -> Self {
        self.signal_async(name, move |state: Shared<W>, input: I| async move {
            state.write(|state| handler(state, input));
        })
    }

    /// A signal whose handler waits.
    pub fn signal_async<I, F>(
        mut self,
        name: &'static str,
        handler: impl Fn(Shared<W>, I) -> F + 'static,
    ) -> Self
    where
        I: Arguments + 'static,
        F: Future<Output = ()> + 'static,
    {
        let handler = move |state: &Shared<W>, input, converter: &Converter| {
            let input = I::from_payloads(converter, input)?;
            let handling: LocalBoxFuture<'static, ()> = Box::pin(handler(state.clone(), input));
            Ok(handling)
        };
        self.signals.insert(name, Box::new(handler));
        self
    }

    /// A query.
    pub fn query<I: Arguments + 'static, O: Value>(
        mut self,
        name: &'static str,
        handler: fn(&W, I) -> Result<O>,
    ) -> Self {
        let handler = move |state: &Shared<W>, input, converter: &Converter| {
            let input = I::from_payloads(converter, input)?;
            given(converter, &state.read(|state| handler(state, input))?)
        };
        self.queries.insert(name, Box::new(handler));
        self
    }

    /// What is asked before an update is accepted.
    pub fn validator<I: Arguments + 'static>(
        mut self,
        name: &'static str,
        validator: fn(&W, &I) -> Result<()>,
    ) -> Self {
        let validator = move |state: &Shared<W>, input, converter: &Converter| {
            let input = I::from_payloads(converter, input)?;
            state.read(|state| validator(state, &input))
        };
        self.validators.insert(name, Box::new(validator));
        self
    }

    /// An update that changes the state and is done.
    pub fn update<I: Arguments + 'static, O: Value>(
        self,
        name: &'static str,
        handler: fn(&mut W, I) -> Result<O>,
    ) -> Self {
        self.update_async(name, move |state: Shared<W>, input: I| async move {
            state.write(|state| handler(state, input))
        })
    }

    /// An update whose handler waits.
    pub fn update_async<I, O, F>(
        mut self,
        name: &'static str,
        handler: impl Fn(Shared<W>, I) -> F + 'static,
    ) -> Self
    where
        I: Arguments + 'static,
        O: Value,
        F: Future<Output = Result<O>> + 'static,
    {
        let handler = move |state: &Shared<W>, input, converter: &Converter| {
            let input = I::from_payloads(converter, input)?;
            let handling = handler(state.clone(), input);
            let converter = converter.clone();
            let handling: LocalBoxFuture<'static, Result<Option<Payload>>> =
                Box::pin(async move { given(&converter, &handling.await?) });
            Ok(handling)
        };
        self.updates.insert(name, Box::new(handler));
        self
    }
}

/// Code of a workflow, ready to be polled.
pub struct Started {
    /// The workflow's own task.
    pub root: LocalBoxFuture<'static, Result<Option<Payload>>>,
    /// Its handlers, with its state.
    pub handlers: Rc<dyn AnyHandlers>,
}

impl fmt::Debug for Started {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Started").finish_non_exhaustive()
    }
}

/// A workflow type without its types in Rust.
pub trait AnyWorkflow: Send + Sync {
    /// Its type, as the server knows it.
    fn name(&self) -> &str;

    /// Makes the code of one run.
    ///
    /// # Errors
    /// When the input cannot be read.
    fn start(&self, input: Vec<Payload>, converter: &Converter) -> Result<Started>;
}

impl fmt::Debug for dyn AnyWorkflow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a run can be told and asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandlerNames {
    /// Names of its signals.
    pub signals: Vec<&'static str>,
    /// Names of its queries.
    pub queries: Vec<&'static str>,
    /// Names of its updates.
    pub updates: Vec<&'static str>,
}

/// Handlers and state of one run.
pub trait AnyHandlers {
    /// The names of all handlers, in their order.
    fn names(&self) -> HandlerNames;

    /// Signals or updates can change what the run waits for.
    fn takes_messages(&self) -> bool;

    /// The handling of a signal; nothing when there is no handler of this name.
    ///
    /// # Errors
    /// When the input cannot be read.
    fn signal(
        &self,
        name: &str,
        input: Vec<Payload>,
        converter: &Converter,
    ) -> Result<Option<LocalBoxFuture<'static, ()>>>;

    /// The answer of a query.
    ///
    /// # Errors
    /// Those of the handler, or that there is none, or that the input cannot be read.
    fn query(
        &self,
        name: &str,
        input: Vec<Payload>,
        converter: &Converter,
    ) -> Result<Option<Payload>>;

    /// Whether an update may be accepted.
    ///
    /// # Errors
    /// Those of the validator, or that there is no handler, or that the input cannot be read.
    fn validate(&self, name: &str, input: Vec<Payload>, converter: &Converter) -> Result<()>;

    /// The handling of an update.
    ///
    /// # Errors
    /// When there is no handler, or the input cannot be read.
    fn update(
        &self,
        name: &str,
        input: Vec<Payload>,
        converter: &Converter,
    ) -> Result<LocalBoxFuture<'static, Result<Option<Payload>>>>;
}

/// A workflow type as a worker takes it.
pub struct Registered<W>(PhantomData<fn() -> W>);

impl<W> Default for Registered<W> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<W> fmt::Debug for Registered<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::any::type_name::<W>())
    }
}

impl<W: WorkflowImpl> AnyWorkflow for Registered<W> {
    fn name(&self) -> &str {
        W::NAME
    }

    fn start(&self, input: Vec<Payload>, converter: &Converter) -> Result<Started> {
        let input = W::Input::from_payloads(converter, input)?;
        let state = Shared::new(W::init(&input));
        let handlers = Rc::new(Bound {
            state: state.clone(),
            handlers: W::handlers(),
        });
        let converter = converter.clone();
        let running = W::run(state, input);
        let root = Box::pin(async move {
            let output = running.await?;
            match is_nothing::<W::Output>() {
                true => Ok(None),
                false => given(&converter, &output),
            }
        });
        Ok(Started { root, handlers })
    }
}

/// A type whose values say nothing: no payload, instead of one that is null.
fn is_nothing<O: 'static>() -> bool {
    std::any::TypeId::of::<O>() == std::any::TypeId::of::<()>()
}

struct Bound<W> {
    state: Shared<W>,
    handlers: Handlers<W>,
}

impl<W: 'static> AnyHandlers for Bound<W> {
    fn names(&self) -> HandlerNames {
        HandlerNames {
            signals: self.handlers.signals.keys().copied().collect(),
            queries: self.handlers.queries.keys().copied().collect(),
            updates: self.handlers.updates.keys().copied().collect(),
        }
    }

    fn takes_messages(&self) -> bool {
        !self.handlers.signals.is_empty() || !self.handlers.updates.is_empty()
    }

    fn signal(
        &self,
        name: &str,
        input: Vec<Payload>,
        converter: &Converter,
    ) -> Result<Option<LocalBoxFuture<'static, ()>>> {
        let handler = self.handlers.signals.get(name);
        let handling = handler.map(|handler| handler(&self.state, input, converter));
        handling.transpose()
    }

    fn query(
        &self,
        name: &str,
        input: Vec<Payload>,
        converter: &Converter,
    ) -> Result<Option<Payload>> {
        match self.handlers.queries.get(name) {
            Some(handler) => handler(&self.state, input, converter),
            None => Err(unknown("query", name, self.handlers.queries.keys())),
        }
    }

    fn validate(&self, name: &str, input: Vec<Payload>, converter: &Converter) -> Result<()> {
        if let Some(validator) = self.handlers.validators.get(name) {
            return validator(&self.state, input, converter);
        }
        match self.handlers.updates.contains_key(name) {
            true => Ok(()),
            false => Err(unknown("update", name, self.handlers.updates.keys())),
        }
    }

    fn update(
        &self,
        name: &str,
        input: Vec<Payload>,
        converter: &Converter,
    ) -> Result<LocalBoxFuture<'static, Result<Option<Payload>>>> {
        match self.handlers.updates.get(name) {
            Some(handler) => handler(&self.state, input, converter),
            None => Err(unknown("update", name, self.handlers.updates.keys())),
        }
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a &'static str>) -> Failure {
    let known: Vec<&str> = known.copied().collect();
    let known = known.join(" ");
    let message = format!("no handler for {what} `{name}`; known: [{known}]");
    Failure::application("UnknownHandler", message)
}
