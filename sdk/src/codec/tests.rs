use super::*;
use crate::converter::DataConverter;
use prost::Name;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use std::collections::HashMap;
use steadfast_proto::TEMPORAL_DESCRIPTORS;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::common::v1::Payloads;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::protocol::v1 as protocol;
use steadfast_proto::temporal::workflowservice::v1 as service;

/// Turns all bits, and says so.
struct Turned;

impl Turned {
    fn turn(mut payload: Payload) -> Payload {
        payload.data = payload.data.iter().map(|byte| byte ^ 0xff).collect();
        payload
    }
}

impl PayloadCodec for Turned {
    fn encode(&self, payloads: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>> {
        Box::pin(async move { Ok(payloads.into_iter().map(Turned::turn).collect()) })
    }

    fn decode(&self, payloads: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>> {
        self.encode(payloads)
    }
}

const PAYLOAD: &str = "temporal.api.common.v1.Payload";
/// What the codec must never see, and what holds what is no user's data.
const LEFT_OUT: &[&str] = &[
    "temporal.api.common.v1.Header",
    "temporal.api.common.v1.SearchAttributes",
    "temporal.api.common.v1.Link",
    "temporal.api.common.v1.Callback",
];
/// Deep enough for each place; failures may hold failures without end.
const DEPTH_MAX: usize = 9;

/// A message with something in every field; of a choice, the variant that the turn says.
fn filled(descriptor: &MessageDescriptor, depth: usize, turn: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if let Some(choice) = field.containing_oneof() {
            let count = choice.fields().count();
            let chosen = choice.fields().nth(turn % count).unwrap();
            if chosen.number() != field.number() {
                continue;
            }
        }
        if let Some(value) = filled_field(&field, depth, turn) {
            message.set_field(&field, value);
        }
    }
    message
}

fn filled_field(field: &FieldDescriptor, depth: usize, turn: usize) -> Option<Value> {
    let Kind::Message(inner) = field.kind() else {
        return None;
    };
    if depth == 0 {
        return None;
    }
    if field.is_map() {
        let Kind::Message(content) = inner.map_entry_value_field().kind() else {
            return None;
        };
        let key = MapKey::String("key".to_string());
        let value = Value::Message(filled_message(&content, depth - 1, turn));
        return Some(Value::Map(HashMap::from([(key, value)])));
    }
    let value = Value::Message(filled_message(&inner, depth - 1, turn));
    Some(match field.is_list() {
        true => Value::List(vec![value]),
        false => value,
    })
}

fn filled_message(descriptor: &MessageDescriptor, depth: usize, turn: usize) -> DynamicMessage {
    if descriptor.full_name() == PAYLOAD {
        let mut payload = DynamicMessage::new(descriptor.clone());
        payload.set_field_by_name("data", Value::Bytes(bytes::Bytes::from_static(b"\x0f")));
        return payload;
    }
    if descriptor.full_name().starts_with("google.protobuf") {
        return DynamicMessage::new(descriptor.clone());
    }
    filled(descriptor, depth, turn)
}

/// Looks at each payload and says where one is that is wrong.
fn check(message: &DynamicMessage, path: &str, left_out: bool, wrong: &mut Vec<String>) -> usize {
    if message.descriptor().full_name() == PAYLOAD {
        let data = message.get_field_by_name("data").unwrap();
        let turned = data.as_bytes().unwrap().as_ref() == [0xf0];
        if turned == left_out {
            wrong.push(format!("{path}: seen by the codec: {turned}"));
        }
        return 1;
    }
    let left_out = left_out || LEFT_OUT.contains(&message.descriptor().full_name());
    let mut count = 0;
    for (field, value) in message.fields() {
        // A worker decodes it, with its history, when it takes it.
        if field.name() == "eager_workflow_task" {
            continue;
        }
        let path = format!("{path}.{}", field.name());
        let inner: Vec<&Value> = match value {
            Value::List(list) => list.iter().collect(),
            Value::Map(map) => map.values().collect(),
            value => vec![value],
        };
        for one in inner.into_iter().filter_map(Value::as_message) {
            count += check(one, &path, left_out, wrong);
        }
    }
    count
}

/// Encodes a message that is filled everywhere and compares with the descriptors.
async fn covers<M>()
where
    M: Message + Name + Default + HoldsPayloads + Send + PartialEq,
{
    let pool = DescriptorPool::decode(TEMPORAL_DESCRIPTORS).unwrap();
    let descriptor = pool.get_message_by_name(&M::full_name()).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    // The longest choice is that of a history event's attributes.
    for turn in 0..70 {
        let full = filled(&descriptor, DEPTH_MAX, turn);
        let mut message = M::decode(full.encode_to_vec().as_slice()).unwrap();
        encode(&Turned, &mut message).await.unwrap();
        let bytes = message.encode_to_vec();
        let read = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap();
        count += check(&read, &M::full_name(), false, &mut wrong);
        decode(&Turned, &mut message).await.unwrap();
        assert!(message == M::decode(full.encode_to_vec().as_slice()).unwrap());
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 0, "{} holds no payload", M::full_name());
}

#[tokio::test]
async fn the_codec_sees_all_payloads_of_what_workers_send_and_get() {
    covers::<Command>().await;
    covers::<HistoryEvent>().await;
    covers::<service::RespondWorkflowTaskCompletedRequest>().await;
    covers::<service::RespondWorkflowTaskFailedRequest>().await;
    covers::<service::RespondQueryTaskCompletedRequest>().await;
    covers::<service::PollActivityTaskQueueResponse>().await;
    covers::<service::RecordActivityTaskHeartbeatRequest>().await;
    covers::<service::RecordActivityTaskHeartbeatByIdRequest>().await;
    covers::<service::RespondActivityTaskCompletedRequest>().await;
    covers::<service::RespondActivityTaskCompletedByIdRequest>().await;
    covers::<service::RespondActivityTaskFailedRequest>().await;
    covers::<service::RespondActivityTaskFailedByIdRequest>().await;
    covers::<service::RespondActivityTaskCanceledRequest>().await;
    covers::<service::RespondActivityTaskCanceledByIdRequest>().await;
}

#[tokio::test]
async fn the_codec_sees_all_payloads_of_what_clients_send_and_get() {
    covers::<service::StartWorkflowExecutionRequest>().await;
    covers::<service::SignalWithStartWorkflowExecutionRequest>().await;
    covers::<service::SignalWorkflowExecutionRequest>().await;
    covers::<service::TerminateWorkflowExecutionRequest>().await;
    covers::<service::QueryWorkflowRequest>().await;
    covers::<service::QueryWorkflowResponse>().await;
    covers::<service::UpdateWorkflowExecutionRequest>().await;
    covers::<service::UpdateWorkflowExecutionResponse>().await;
    covers::<service::PollWorkflowExecutionUpdateResponse>().await;
    covers::<service::ExecuteMultiOperationRequest>().await;
    covers::<service::ExecuteMultiOperationResponse>().await;
    covers::<service::DescribeWorkflowExecutionResponse>().await;
    covers::<service::ListWorkflowExecutionsResponse>().await;
    covers::<service::CreateScheduleRequest>().await;
    covers::<service::UpdateScheduleRequest>().await;
    covers::<service::DescribeScheduleResponse>().await;
    covers::<service::ListSchedulesResponse>().await;
}

fn plain(data: &'static [u8]) -> Payload {
    Payload {
        data: bytes::Bytes::from_static(data),
        ..Payload::default()
    }
}

#[tokio::test]
async fn the_codec_sees_into_the_messages_of_updates() {
    let request = update::Request {
        input: Some(update::Input {
            name: "pay".to_string(),
            args: Some(Payloads {
                payloads: vec![plain(b"\x0f")],
            }),
            header: None,
        }),
        ..Default::default()
    };
    let mut message = protocol::Message {
        body: Some(Any {
            type_url: format!("type.googleapis.com/{}", update::Request::full_name()),
            value: request.encode_to_vec(),
        }),
        ..Default::default()
    };
    let data = DataConverter::default().with_codec(Turned);
    data.encode(&mut message).await.unwrap();
    let body = message.body.clone().unwrap();
    let encoded = update::Request::decode(body.value.as_slice()).unwrap();
    let args = encoded.input.unwrap().args.unwrap();
    assert_eq!(args.payloads, [plain(b"\xf0")]);
    data.decode(&mut message).await.unwrap();
    assert_eq!(message.body.unwrap().value, request.encode_to_vec());
}

/// Loses everything.
struct Lost;

impl PayloadCodec for Lost {
    fn encode(&self, _: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn decode(&self, _: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>> {
        Box::pin(async { Err(CodecError::new("no key")) })
    }
}

#[tokio::test]
async fn a_codec_that_fails_or_loses_a_payload_is_an_error() {
    let data = DataConverter::default().with_codec(Lost);
    let error = data.encode(&mut plain(b"x")).await.unwrap_err();
    assert!(
        error.to_string().contains("must stay a single one"),
        "{error}"
    );
    let error = data.decode(&mut plain(b"x")).await.unwrap_err();
    assert_eq!(error.to_string(), "the payload codec failed: no key");
}
