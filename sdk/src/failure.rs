//! What goes wrong in workflows and activities, in the form that all of Temporal's SDKs understand.

pub mod wire;

use std::error::Error;
use std::fmt;
use std::time::Duration;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::enums::v1::{RetryState, TimeoutType};

/// What workflow code and activities give.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a workflow, an activity or an update failed, with its causes.
///
/// Any error of Rust becomes an application failure by `?`, with the name of its type as the type of
/// the failure. So this type itself is no [`std::error::Error`].
#[derive(Clone, PartialEq)]
pub struct Failure(Box<Content>);

/// What a failure says.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// For people.
    pub message: String,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What led to it.
    pub cause: Option<Failure>,
    /// Where it happened, in the words of its language; may be empty.
    pub stack_trace: String,
    /// The SDK that made it, as `PythonSDK`; empty for one of the server's.
    pub source: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FailureKind {
    /// Code said so.
    Application(Application),
    /// Something took too long.
    Timeout {
        /// Which of the limits was passed.
        timeout_type: TimeoutType,
        /// What the activity reported last.
        last_heartbeat_details: Vec<Payload>,
    },
    /// It was asked to end, and did.
    Canceled {
        /// What it said then.
        details: Vec<Payload>,
    },
    /// It was ended from outside.
    Terminated,
    /// The server failed.
    Server {
        /// Trying again would not help.
        non_retryable: bool,
    },
    /// An activity failed; why is the cause.
    Activity(ActivityFailure),
    /// A child workflow failed; why is the cause.
    ChildWorkflow(ChildWorkflowFailure),
    /// The workflow goes on as another run. Only of this SDK's workflows, never on the wire.
    ContinueAsNew(Box<crate::workflow::ContinueAsNew>),
    /// One that this SDK knows no more of than its message.
    Other,
}

/// What code says of its failure.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Application {
    /// What retry policies and callers tell failures apart by.
    pub error_type: String,
    /// Trying again would not help.
    pub non_retryable: bool,
    /// Anything that callers may want to know.
    pub details: Vec<Payload>,
    /// When to try again, instead of what the retry policy says.
    pub next_retry_delay: Option<Duration>,
    /// Expected: it is neither logged as an error nor counted as one.
    pub benign: bool,
}

/// Which activity failed.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityFailure {
    /// As it was scheduled.
    pub activity_id: String,
    /// As it was scheduled.
    pub activity_type: String,
    /// The event that scheduled it.
    pub scheduled_event_id: i64,
    /// The event that started it; 0 when it never was.
    pub started_event_id: i64,
    /// The worker that had it.
    pub identity: String,
    /// Why it is not tried again.
    pub retry_state: RetryState,
}

/// Which child failed.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildWorkflowFailure {
    /// Its namespace.
    pub namespace: String,
    /// Its workflow id.
    pub workflow_id: String,
    /// Its run id.
    pub run_id: String,
    /// Its type.
    pub workflow_type: String,
    /// The event that asked for it.
    pub initiated_event_id: i64,
    /// The event that started it; 0 when it never was.
    pub started_event_id: i64,
    /// Why it is not tried again.
    pub retry_state: RetryState,
}

impl Failure {
    /// Of this kind.
    pub fn new(message: impl Into<String>, kind: FailureKind) -> Self {
        Self(Box::new(Content {
            message: message.into(),
            kind,
            cause: None,
            stack_trace: String::new(),
            source: String::new(),
        }))
    }

    /// An application failure of this type; it may be tried again.
    pub fn application(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        let application = Application {
            error_type: error_type.into(),
            ..Application::default()
        };
        Self::new(message, FailureKind::Application(application))
    }

    /// An application failure of this type that is not tried again.
    pub fn non_retryable(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        let application = Application {
            error_type: error_type.into(),
            non_retryable: true,
            ..Application::default()
        };
        Self::new(message, FailureKind::Application(application))
    }

    /// It was asked to end, and did.
    pub fn canceled(message: impl Into<String>) -> Self {
        let details = Vec::new();
        Self::new(message, FailureKind::Canceled { details })
    }

    /// The same with a cause.
    pub fn with_cause(mut self, cause: Failure) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.0
    }

    /// What it says, to change it.
    pub fn content_mut(&mut self) -> &mut Content {
        &mut self.0
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> &FailureKind {
        &self.0.kind
    }

    /// What led to it.
    pub fn cause(&self) -> Option<&Failure> {
        self.0.cause.as_ref()
    }

    /// The failure at the bottom: itself when it has no cause.
    pub fn root_cause(&self) -> &Failure {
        let mut failure = self;
        while let Some(cause) = failure.cause() {
            failure = cause;
        }
        failure
    }

    /// It was cancelled, or is of an activity or a child that was.
    pub fn is_canceled(&self) -> bool {
        match self.kind() {
            FailureKind::Canceled { .. } => true,
            FailureKind::Activity(_) | FailureKind::ChildWorkflow(_) => {
                self.cause().is_some_and(Failure::is_canceled)
            }
            FailureKind::Application(_)
            | FailureKind::Timeout { .. }
            | FailureKind::Terminated
            | FailureKind::Server { .. }
            | FailureKind::ContinueAsNew(_)
            | FailureKind::Other => false,
        }
    }

    /// It passed a limit of time, or is of an activity or a child that did.
    pub fn is_timeout(&self) -> bool {
        matches!(self.root_cause().kind(), FailureKind::Timeout { .. })
    }

    /// The type of the application failure that it is, or that it was caused by.
    pub fn error_type(&self) -> Option<&str> {
        match self.kind() {
            FailureKind::Application(application) => Some(&application.error_type),
            _ => self.cause().and_then(Failure::error_type),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())?;
        match self.cause() {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Failure::application(short_name::<E>(), error.to_string());
        failure.0.cause = error.source().map(cause);
        failure
    }
}

/// The rest of a chain of errors, whose types are not known any more.
fn cause(error: &(dyn Error + 'static)) -> Failure {
    let mut failure = Failure::application("", error.to_string());
    failure.0.cause = error.source().map(cause);
    failure
}

/// The name of a type without its path and parameters.
pub(crate) fn short_name<T>() -> &'static str {
    let whole = std::any::type_name::<T>();
    let bare = whole.split('<').next().unwrap_or(whole);
    bare.rsplit("::").next().unwrap_or(bare)
}
