//! The borders of the wire, for each served RPC: what no client should send gets an answer that
//! tells whose fault it was, and the node lives.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "parts/as_bytes.rs"]
mod as_bytes;
#[path = "parts/options.rs"]
mod options;
#[path = "wire_borders/raw.rs"]
mod raw;
#[path = "wire_borders/requests.rs"]
mod requests;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use options::options;
use prost::Message;
use raw::Raw;
use requests::{Base, bases};
use steadfast::node::Node;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Code, Status};

/// gRPC-Go's limit.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls at once: polls that found nothing wrong wait.
const AT_ONCE: usize = 128;
/// Field numbers of the requests go up to here.
const FIELDS: u32 = 32;
const WORKFLOW_SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService";

async fn start(dir: &std::path::Path) -> (Node, Raw) {
    let node = Node::start(options(dir)).await.unwrap();
    let raw = Raw::connect(&node.addresses().grpc).await;
    (node, raw)
}

/// `key` then length-delimited content.
fn field(number: u32, content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    prost::encoding::encode_key(
        number,
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.put_slice(content);
    bytes.freeze()
}

fn number_field(number: u32, value: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::Varint, &mut bytes);
    prost::encoding::encode_varint(value, &mut bytes);
    bytes.freeze()
}

fn duration(seconds: i64, nanos: i32) -> Vec<u8> {
    prost_types::Duration { seconds, nanos }.encode_to_vec()
}

/// What is appended to a good request: a later field wins over, or is merged into, an earlier one.
fn probes() -> Vec<(String, Bytes)> {
    let mut probes = vec![
        ("garbage".to_owned(), Bytes::from_static(&[0xff; 40])),
        (
            "a cut field".to_owned(),
            Bytes::from_static(&[0x0a, 0x7f, b'x']),
        ),
        ("a group's end".to_owned(), Bytes::from_static(&[0x0c])),
    ];
    let long = vec![b'x'; 64 * 1024];
    let contents: [(&str, Vec<u8>); 8] = [
        ("not UTF-8", vec![0xc3, 0x28]),
        ("64 KiB", long.clone()),
        ("a message with 64 KiB", field(1, &long).to_vec()),
        (
            "a message that is not UTF-8",
            field(1, &[0xff, 0xfe]).to_vec(),
        ),
        ("a negative duration", duration(-5, 0)),
        ("an absurd duration", duration(i64::MAX, i32::MAX)),
        ("mixed signs", duration(1, -1)),
        ("nothing", Vec::new()),
    ];
    for number in 1..=FIELDS {
        for (what, content) in &contents {
            let name = format!("field {number}: {what}");
            probes.push((name, field(number, content)));
        }
        for value in [u64::MAX, 77_777, 1 << 31] {
            let name = format!("field {number}: number {value}");
            probes.push((name, number_field(number, value)));
        }
    }
    probes
}

/// The codes that say: something broke here.
/// What cannot be read is INTERNAL, too, as in Temporal's server: its words tell it apart.
fn is_our_fault(status: &Status) -> bool {
    let unread = status.message().starts_with("grpc: error unmarshalling");
    match status.code() {
        Code::Internal => !unread,
        code => matches!(code, Code::Unknown | Code::DataLoss),
    }
}

/// The served RPCs, from the table that tidy compares with the code.
fn served() -> Vec<(String, String)> {
    let table = include_str!("../../docs/api.md");
    let rows = table.lines().filter(|line| line.contains("| served |"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (rpc, _, handler) = (cells.next(), cells.next(), cells.next());
        let service = if handler.unwrap().contains("operator_service.rs") {
            "/temporal.api.operatorservice.v1.OperatorService"
        } else {
            WORKFLOW_SERVICE
        };
        (rpc.unwrap().to_owned(), service.to_owned())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_sends_is_our_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (node, raw) = start(folder.path()).await;
    let bases = bases();
    let probes = probes();
    let mut wrong = Vec::new();
    for (rpc, service) in served() {
        let path = format!("{service}/{rpc}");
        // An RPC without a row here is a new one: give it a good request.
        let base = bases.get(rpc.as_str());
        let Some(Base { request, .. }) = base else {
            panic!("{rpc} is served but has no request in wire_borders/requests.rs");
        };
        let mut tried = vec![
            ("an empty request".to_owned(), Bytes::new()),
            ("a good request".to_owned(), request.clone()),
        ];
        tried.extend(probes.iter().map(|(name, probe)| {
            let whole = [request.as_ref(), probe.as_ref()].concat();
            (name.clone(), whole.into())
        }));
        let calls = tried.into_iter().map(async |(name, bytes)| {
            let answer = raw.call(&path, bytes).await;
            answer.err().map(|status| (name, status))
        });
        let refused = futures::stream::iter(calls).buffer_unordered(AT_ONCE);
        let refused: Vec<_> = refused.collect().await;
        for (name, status) in refused.into_iter().flatten() {
            if is_our_fault(&status) {
                wrong.push(format!("{rpc}, {name}: {status:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    let path = format!("{WORKFLOW_SERVICE}/GetSystemInfo");
    raw.call(&path, Bytes::new()).await.unwrap();
    assert_eq!(node.shard().telemetry().panics.get(), 0);
    let mut page = steadfast::telemetry::Page::default();
    node.shard().render(&mut page);
    let page = page.done();
    let counted = "rpcs_total{method=\"GetSystemInfo\",code=\"0\"}";
    assert!(page.contains(counted), "{page}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_request_is_said_as_temporal_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let (node, raw) = start(folder.path()).await;
    let bases = bases();
    for (rpc, service) in served() {
        let path = format!("{service}/{rpc}");
        let Base {
            request,
            token,
            namespace,
        } = &bases[rpc.as_str()];
        for (what, bytes) in [
            ("garbage", Bytes::from_static(&[0xff; 40])),
            ("a cut field", Bytes::from_static(&[0x0a, 0x7f, b'x'])),
        ] {
            let status = raw.call(&path, bytes).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{rpc}, {what}: {status:?}");
            let words = status.message();
            assert!(
                words.starts_with("grpc: error unmarshalling request"),
                "{words}"
            );
        }
        if let Some(number) = *namespace {
            let other = [request.as_ref(), &field(number, b"nobody's")].concat();
            let status = raw.call(&path, other.into()).await.unwrap_err();
            assert_eq!(status.code(), Code::NotFound, "{rpc}: {status:?}");
            assert!(
                status
                    .message()
                    .contains("Namespace nobody's is not found."),
                "{status:?}"
            );
            let cut = [request.as_ref(), &field(number, &[0xc3, 0x28])].concat();
            let status = raw.call(&path, cut.into()).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{rpc}: {status:?}");
        }
        if let Some(number) = *token {
            for garbage in [&b"x"[..], &[0x11], &[0x11, 0xff, 0xff, 0xff], &[0x21, 9]] {
                let bytes = [request.as_ref(), &field(number, garbage)].concat();
                let status = raw.call(&path, bytes.into()).await.unwrap_err();
                assert_eq!(
                    status.code(),
                    Code::InvalidArgument,
                    "{rpc} {garbage:?}: {status:?}"
                );
            }
        }
    }
    node.stop().await;
}

/// A signal of exactly so many bytes to nobody.
fn signal_of(bytes: usize) -> Bytes {
    let mut request = wire::SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        ..Default::default()
    };
    // The field of the longest text here: its key and length take what the difference shows.
    request.identity = "x".repeat(bytes - 64);
    let missing = bytes - request.encoded_len();
    request.identity.push_str(&"x".repeat(missing));
    assert_eq!(request.encoded_len(), bytes);
    request.encode_to_vec().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_mebibytes_are_taken_and_one_byte_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (node, raw) = start(folder.path()).await;
    let path = format!("{WORKFLOW_SERVICE}/SignalWorkflowExecution");
    let over = MESSAGE_BYTES_MAX + 1;
    let refusal =
        format!("grpc: received message larger than max ({over} vs. {MESSAGE_BYTES_MAX})");

    // Read whole, and then refused for what it says.
    let status = raw
        .call(&path, signal_of(MESSAGE_BYTES_MAX))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let status = raw.call(&path, signal_of(over)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.message(), refusal);

    // Compressed, the size that counts is the one after decompression.
    let whole = signal_of(MESSAGE_BYTES_MAX);
    let status = raw.compressed(&path, whole).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let status = raw.compressed(&path, signal_of(over)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let grown = "grpc: received message after decompression larger than max";
    assert_eq!(status.message(), format!("{grown} {MESSAGE_BYTES_MAX}"));
    node.stop().await;
}
