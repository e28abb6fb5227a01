use super::*;
use std::time::Duration;

fn payload(number: u32) -> Payload {
    Converter::default().to_payload(&number).unwrap()
}

fn every_kind() -> Vec<FailureKind> {
    vec![
        FailureKind::Application(Application {
            error_type: "CardRefused".to_string(),
            non_retryable: true,
            details: vec![payload(1), payload(2)],
            next_retry_delay: Some(Duration::from_millis(1500)),
            benign: true,
        }),
        FailureKind::Timeout {
            timeout_type: TimeoutType::Heartbeat,
            last_heartbeat_details: vec![payload(3)],
        },
        FailureKind::Canceled {
            details: vec![payload(4)],
        },
        FailureKind::Terminated,
        FailureKind::Server {
            non_retryable: true,
        },
        FailureKind::Activity(activity()),
        FailureKind::ChildWorkflow(ChildWorkflowFailure {
            namespace: "default".to_string(),
            workflow_id: "w".to_string(),
            run_id: "r".to_string(),
            workflow_type: "Order".to_string(),
            initiated_event_id: 5,
            started_event_id: 6,
            retry_state: RetryState::RetryPolicyNotSet,
        }),
        FailureKind::Other,
    ]
}

fn activity() -> ActivityFailure {
    ActivityFailure {
        activity_id: "1".to_string(),
        activity_type: "Charge".to_string(),
        scheduled_event_id: 5,
        started_event_id: 6,
        identity: "worker".to_string(),
        retry_state: RetryState::MaximumAttemptsReached,
    }
}

/// Out and in again.
fn through(failure: &Failure, way: DefaultFailureConverter) -> (wire::Failure, Failure) {
    let converter = Converter::default();
    let written = way.to_wire(failure, &converter);
    (written.clone(), way.from_wire(written, &converter))
}

#[test]
fn every_kind_comes_back_as_it_was() {
    for kind in every_kind() {
        for encode_common_attributes in [false, true] {
            let way = DefaultFailureConverter {
                encode_common_attributes,
            };
            let mut failure = Failure::new("went wrong", kind.clone());
            failure.content_mut().stack_trace = "at once".to_string();
            failure.content_mut().source = "GoSDK".to_string();
            let (_, read) = through(&failure, way);
            assert_eq!(read, failure);
        }
    }
}

#[test]
fn a_chain_of_causes_comes_back_as_it_was() {
    let inner = Failure::non_retryable("Bank", "no such account");
    let outer = Failure::application("Charge", "charge failed").with_cause(inner);
    let failure =
        Failure::new("Activity task failed", FailureKind::Activity(activity())).with_cause(outer);
    let (written, read) = through(&failure, DefaultFailureConverter::default());
    let outer = written.cause.as_ref().unwrap();
    let inner = outer.cause.as_ref().unwrap();
    assert_eq!(inner.message, "no such account");
    // Ours say so; what the server made stays without a source.
    assert_eq!(
        (inner.source.as_str(), outer.source.as_str()),
        (SOURCE, SOURCE)
    );
    assert_eq!(written.source, "");
    assert_eq!(read.error_type(), Some("Charge"));
    assert_eq!(read.root_cause().error_type(), Some("Bank"));
    assert_eq!(
        read.to_string(),
        "Activity task failed: charge failed: no such account"
    );
}

#[test]
fn encoded_attributes_hide_messages_and_stack_traces_at_every_depth() {
    let inner = Failure::application("Bank", "secret account");
    let mut failure = Failure::application("Charge", "secret card").with_cause(inner);
    failure.content_mut().stack_trace = "secret place".to_string();
    let way = DefaultFailureConverter {
        encode_common_attributes: true,
    };
    let (written, read) = through(&failure, way);
    let cause = written.cause.as_ref().unwrap();
    assert_eq!(
        (written.message.as_str(), cause.message.as_str()),
        (ENCODED, ENCODED)
    );
    assert_eq!(written.stack_trace, "");
    let hidden = written.encoded_attributes.unwrap();
    assert_eq!(
        hidden.data,
        r#"{"message":"secret card","stack_trace":"secret place"}"#.as_bytes()
    );
    assert_eq!(read.to_string(), "secret card: secret account");
}

#[test]
fn kinds_that_are_not_known_keep_their_message() {
    let failure = wire::Failure {
        message: "from another world".to_string(),
        failure_info: Some(FailureInfo::NexusHandlerFailureInfo(Default::default())),
        ..Default::default()
    };
    let read = DefaultFailureConverter::default().from_wire(failure, &Converter::default());
    assert_eq!(read.message(), "from another world");
    assert_eq!(read.kind(), &FailureKind::Other);
}
