use super::*;
use steadfast_proto::temporal::common::v1::WorkflowExecution;

#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
struct Order {
    id: u64,
    note: Option<String>,
}

fn order() -> Order {
    Order {
        id: 7,
        note: Some("fragile".to_string()),
    }
}

fn encoding(payload: &Payload) -> &str {
    std::str::from_utf8(&payload.metadata[ENCODING]).unwrap()
}

/// Writes and reads a value; gives the encoding and the data in between.
fn through<T: Value + PartialEq + fmt::Debug>(value: T) -> (String, String) {
    let converter = Converter::default();
    let payload = converter.to_payload(&value).unwrap();
    let read: T = converter.from_payload(&payload).unwrap();
    assert_eq!(read, value);
    let data = String::from_utf8_lossy(&payload.data).into_owned();
    (encoding(&payload).to_string(), data)
}

fn is(encoding: &str, data: &str) -> (String, String) {
    (encoding.to_string(), data.to_string())
}

#[test]
fn each_kind_of_value_travels_in_the_format_of_the_other_sdks() {
    assert_eq!(through(()), is(NULL, ""));
    assert_eq!(through(None::<Order>), is(NULL, ""));
    assert_eq!(through(None::<Vec<u8>>), is(NULL, ""));
    assert_eq!(through(serde_json::Value::Null), is(NULL, ""));
    assert_eq!(through(b"abc".to_vec()), is(PLAIN, "abc"));
    assert_eq!(through(Vec::<u8>::new()), is(PLAIN, ""));
    assert_eq!(through(Bytes::from_static(b"abc")), is(PLAIN, "abc"));
    assert_eq!(through(Some(b"abc".to_vec())), is(PLAIN, "abc"));
    assert_eq!(through(Some(Bytes::from_static(b"abc"))), is(PLAIN, "abc"));
    assert_eq!(through(vec![1_u16, 2]), is(JSON, "[1,2]"));
    assert_eq!(through("a".to_string()), is(JSON, "\"a\""));
    assert_eq!(through(Some(3_u8)), is(JSON, "3"));
    let json = r#"{"id":7,"note":"fragile"}"#;
    assert_eq!(through(order()), is(JSON, json));
}

#[test]
fn a_message_of_protobuf_travels_as_json_with_its_type() {
    let execution = WorkflowExecution {
        workflow_id: "w".to_string(),
        run_id: "r".to_string(),
    };
    let json = r#"{"workflowId":"w","runId":"r"}"#;
    assert_eq!(through(Proto(execution.clone())), is(proto::JSON, json));
    assert_eq!(
        through(Some(Proto(execution.clone()))),
        is(proto::JSON, json)
    );
    let payload = Converter::default().to_payload(&Proto(execution)).unwrap();
    let name: &[u8] = b"temporal.api.common.v1.WorkflowExecution";
    assert_eq!(payload.metadata["messageType"], name);
    let minute = prost_types::Duration {
        seconds: 60,
        nanos: 0,
    };
    assert_eq!(through(Proto(minute)), is(proto::JSON, "\"60s\""));
}

#[test]
fn binary_protobuf_of_other_sdks_is_read() {
    let execution = WorkflowExecution {
        workflow_id: "w".to_string(),
        run_id: "r".to_string(),
    };
    let data = prost::Message::encode_to_vec(&execution).into();
    let payload = payload(proto::BINARY, data);
    let read: Proto<WorkflowExecution> = Converter::default().from_payload(&payload).unwrap();
    assert_eq!(read.0, execution);
}

#[test]
fn a_message_of_protobuf_is_not_read_as_something_else() {
    let converter = Converter::default();
    let payload = converter
        .to_payload(&Proto(WorkflowExecution::default()))
        .unwrap();
    let error = converter.from_payload::<String>(&payload).unwrap_err();
    assert!(error.to_string().contains("`Proto` only"), "{error}");
    let error = converter
        .to_payload(&vec![Proto(WorkflowExecution::default())])
        .unwrap_err();
    assert!(error.to_string().contains("stands alone"), "{error}");
}

#[test]
fn a_raw_payload_passes_as_it_is() {
    let raw = RawPayload(payload("my/own", Bytes::from_static(b"x")));
    let converter = Converter::default();
    assert_eq!(converter.to_payload(&raw).unwrap(), raw.0);
    assert_eq!(converter.from_payload::<RawPayload>(&raw.0).unwrap(), raw);
    let some: Option<RawPayload> = converter.from_payload(&raw.0).unwrap();
    assert_eq!(some, Some(raw));
}

#[test]
fn what_cannot_be_read_says_type_encoding_and_position() {
    let converter = Converter::default();
    let payloads = vec![
        converter.to_payload(&1_u8).unwrap(),
        converter.to_payload(&"two".to_string()).unwrap(),
    ];
    let error = Args::<(u8, u64)>::from_payloads(&converter, payloads).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read argument 1 of encoding `json/plain` as `u64`: invalid type: string \"two\", \
         expected u64 at line 1 column 5"
    );
    let strange = payload("binary/strange", Bytes::new());
    let error = converter.from_payload::<u8>(&strange).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read a payload of encoding `binary/strange` as `u8`: this encoding is not known"
    );
    let error = converter
        .from_payload::<u8>(&Payload::default())
        .unwrap_err();
    assert!(error.to_string().contains("names no encoding"), "{error}");
    let bytes = converter.to_payload(&b"abc".to_vec()).unwrap();
    let error = converter.from_payload::<String>(&bytes).unwrap_err();
    assert!(error.to_string().contains("plain bytes"), "{error}");
}

#[test]
fn arguments_are_one_payload_each_and_nothing_is_none() {
    let converter = Converter::default();
    assert!(().to_payloads(&converter).unwrap().is_empty());
    assert_eq!(order().to_payloads(&converter).unwrap().len(), 1);
    let two = Args((order(), "x".to_string()));
    let payloads = two.to_payloads(&converter).unwrap();
    assert_eq!(payloads.len(), 2);
    assert_eq!(
        Args::from_payloads(&converter, payloads.clone()).unwrap(),
        two
    );
    // A caller that is newer gives more.
    let first = Order::from_payloads(&converter, payloads.clone()).unwrap();
    assert_eq!(first, order());
    <()>::from_payloads(&converter, payloads.clone()).unwrap();
    let raw = Args::<Vec<Payload>>::from_payloads(&converter, payloads.clone()).unwrap();
    assert_eq!(raw.to_payloads(&converter).unwrap(), payloads);
}

#[test]
fn a_missing_argument_is_null_or_an_error() {
    let converter = Converter::default();
    let one = vec![converter.to_payload(&1_u8).unwrap()];
    let read = Args::<(u8, Option<u8>)>::from_payloads(&converter, one.clone()).unwrap();
    assert_eq!(read, Args((1, None)));
    let error = Args::<(u8, u64)>::from_payloads(&converter, one).unwrap_err();
    assert_eq!(
        error.to_string(),
        "argument 1 is missing: a `u64`, and 1 came"
    );
    assert!(order().to_payloads(&converter).is_ok());
    assert!(Order::from_payloads(&converter, Vec::new()).is_err());
}

/// JSON backwards, of orders only.
struct Backwards;

impl PayloadConverter for Backwards {
    fn encoding(&self) -> &str {
        "json/backwards"
    }

    fn to_payload(&self, value: &dyn Encodable) -> Result<Option<Payload>, BoxError> {
        if value.as_any().is::<Order>() {
            let mut json = serde_json::to_vec(value)?;
            json.reverse();
            return Ok(Some(payload(self.encoding(), json.into())));
        }
        Ok(None)
    }

    fn from_payload(&self, payload: &Payload, place: &mut dyn Place) -> Result<(), BoxError> {
        let mut json = payload.data.to_vec();
        json.reverse();
        let mut json = serde_json::Deserializer::from_slice(&json);
        place.read(&mut <dyn erased_serde::Deserializer>::erase(&mut json))
    }
}

#[test]
fn a_format_of_the_user_comes_first() {
    let converter = Converter::default().with_format(Backwards);
    let payload = converter.to_payload(&order()).unwrap();
    assert_eq!(encoding(&payload), "json/backwards");
    assert_eq!(converter.from_payload::<Order>(&payload).unwrap(), order());
    let payload = converter.to_payload(&1_u8).unwrap();
    assert_eq!(encoding(&payload), JSON);
}
