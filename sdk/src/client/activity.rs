//! Activities that are completed from elsewhere than the code that began them.

use crate::client::Client;
use crate::client::error::CallError;
use crate::client::start::input;
use crate::converter::{Arguments, Value};
use crate::failure::Failure;
use prost::bytes::Bytes;
use steadfast_proto::temporal::common::v1::Payloads;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// What the server says to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeartbeatAnswer {
    /// The activity should end: report the cancellation then.
    pub cancel_requested: bool,
    /// The activity is paused.
    pub paused: bool,
    /// The activity was reset: this attempt should end.
    pub reset: bool,
}

/// An activity that is completed from outside.
#[derive(Debug, Clone)]
pub struct ActivityHandle {
    client: Client,
    name: Name,
}

#[derive(Debug, Clone)]
enum Name {
    Token(Bytes),
    Ids {
        workflow_id: String,
        run_id: String,
        activity_id: String,
    },
}

impl Client {
    /// The activity of a task token, which its code was given.
    pub fn activity_by_token(&self, token: impl Into<Bytes>) -> ActivityHandle {
        ActivityHandle {
            client: self.clone(),
            name: Name::Token(token.into()),
        }
    }

    /// The activity of this id in a workflow; without a run id, in its current run.
    pub fn activity_by_id(
        &self,
        workflow_id: impl Into<String>,
        run_id: Option<&str>,
        activity_id: impl Into<String>,
    ) -> ActivityHandle {
        ActivityHandle {
            client: self.clone(),
            name: Name::Ids {
                workflow_id: workflow_id.into(),
                run_id: run_id.unwrap_or_default().to_string(),
                activity_id: activity_id.into(),
            },
        }
    }
}

/// Calls by token or by ids, which differ in nothing else.
macro_rules! respond {
    ($handle:ident, $by_token:ident($token_request:ident), $by_id:ident($id_request:ident),
     $($field:ident: $value:expr),+) => {{
        let calls = &$handle.client.calls;
        let namespace = $handle.client.namespace().to_string();
        let identity = $handle.client.identity().to_string();
        match $handle.name.clone() {
            Name::Token(task_token) => {
                let request = wire::$token_request {
                    task_token,
                    namespace,
                    identity,
                    $($field: $value,)+
                    ..Default::default()
                };
                calls.$by_token(request).await.map(|answer| answer.into())
            }
            Name::Ids { workflow_id, run_id, activity_id } => {
                let request = wire::$id_request {
                    workflow_id,
                    run_id,
                    activity_id,
                    namespace,
                    identity,
                    $($field: $value,)+
                    ..Default::default()
                };
                calls.$by_id(request).await.map(|answer| answer.into())
            }
        }
    }};
}

/// An answer that says nothing.
struct Done;

macro_rules! says_nothing {
    ($($answer:ident)+) => {
        $(impl From<wire::$answer> for Done {
            fn from(_: wire::$answer) -> Self {
                Done
            }
        })+
    };
}

says_nothing! {
    RespondActivityTaskCompletedResponse RespondActivityTaskCompletedByIdResponse
    RespondActivityTaskFailedResponse RespondActivityTaskFailedByIdResponse
    RespondActivityTaskCanceledResponse RespondActivityTaskCanceledByIdResponse
}

macro_rules! heartbeat_answer {
    ($($answer:ident)+) => {
        $(impl From<wire::$answer> for HeartbeatAnswer {
            fn from(answer: wire::$answer) -> Self {
                Self {
                    cancel_requested: answer.cancel_requested,
                    paused: answer.activity_paused,
                    reset: answer.activity_reset,
                }
            }
        })+
    };
}

heartbeat_answer! {
    RecordActivityTaskHeartbeatResponse RecordActivityTaskHeartbeatByIdResponse
}

impl ActivityHandle {
    /// Completes the activity with its result.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when it does not run any more.
    pub async fn complete<O: Value>(&self, result: O) -> Result<(), CallError> {
        let payload = self.client.calls.data.converter().to_payload(&result)?;
        drop(result);
        let result = Some(Payloads {
            payloads: vec![payload],
        });
        let done: Result<Done, CallError> = respond!(
            self,
            complete_activity(RespondActivityTaskCompletedRequest),
            complete_activity_by_id(RespondActivityTaskCompletedByIdRequest),
            result: result
        );
        done.map(drop)
    }

    /// Fails this attempt of the activity; its retry policy says whether there is another.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when it does not run any more.
    pub async fn fail(&self, failure: impl Into<Failure>) -> Result<(), CallError> {
        let failure = self.client.calls.data.to_wire(&failure.into());
        let done: Result<Done, CallError> = respond!(
            self,
            fail_activity(RespondActivityTaskFailedRequest),
            fail_activity_by_id(RespondActivityTaskFailedByIdRequest),
            failure: Some(failure)
        );
        done.map(drop)
    }

    /// Reports that the activity has ended because it was asked to.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when it does not run any more; [`CallError::Rpc`] when it was
    /// not asked to.
    pub async fn report_cancellation<D: Arguments>(&self, details: D) -> Result<(), CallError> {
        let payloads = details.to_payloads(self.client.calls.data.converter())?;
        drop(details);
        let done: Result<Done, CallError> = respond!(
            self,
            cancel_activity(RespondActivityTaskCanceledRequest),
            cancel_activity_by_id(RespondActivityTaskCanceledByIdRequest),
            details: input(payloads)
        );
        done.map(drop)
    }

    /// Says that the activity is alive, and how far it is.
    ///
    /// # Errors
    /// [`CallError::is_not_found`] when it does not run any more.
    pub async fn heartbeat<D: Arguments>(&self, details: D) -> Result<HeartbeatAnswer, CallError> {
        let payloads = details.to_payloads(self.client.calls.data.converter())?;
        drop(details);
        respond!(
            self,
            heartbeat(RecordActivityTaskHeartbeatRequest),
            heartbeat_by_id(RecordActivityTaskHeartbeatByIdRequest),
            details: input(payloads)
        )
    }
}
