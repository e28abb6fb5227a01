//! Requests that are not what their method takes.

use super::super::MESSAGE_BYTES_MAX;
use bytes::Bytes;
use http::Response;
use tonic::{Code, Status};

/// How tonic begins to say that it could not read a request.
const UNREADABLE: &[&str] = &[
    "failed to decode Protobuf message",
    "Error decompressing",
    "protocol error",
    "Missing request message",
    "Unexpected EOF",
];

/// How it says that a message grew too large when it was decompressed.
const GREW: &str = "Error decompressing: size limit";

/// Words travel in a header, and SDKs take 8 KiB of headers by default; an id that is too long to be
/// anybody's may be part of them, each byte as three.
const WORDS_BYTES_MAX: usize = 2_048;

/// Bytes that are no message are INTERNAL, as in Temporal's server, with gRPC-Go's words; what grew too
/// large is RESOURCE_EXHAUSTED.
pub(super) fn read<B: Default>(response: Response<B>) -> Response<B> {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    let words = status.message();
    if words.len() > WORDS_BYTES_MAX {
        return cut(&status).into_http();
    }
    let unreadable = UNREADABLE.iter().any(|start| words.starts_with(start));
    if status.code() == Code::Internal && unreadable {
        let words = format!("grpc: error unmarshalling request: {words}");
        return Status::internal(words).into_http();
    }
    if status.code() == Code::ResourceExhausted && words.starts_with(GREW) {
        let words = format!(
            "grpc: received message after decompression larger than max {MESSAGE_BYTES_MAX}"
        );
        return Status::resource_exhausted(words).into_http();
    }
    response
}

/// The same with words and details that fit into a header.
fn cut(status: &Status) -> Status {
    let words = status.message();
    let mut end = words.len().min(WORDS_BYTES_MAX);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let details = if status.details().len() > WORDS_BYTES_MAX {
        Bytes::new()
    } else {
        Bytes::copy_from_slice(status.details())
    };
    Status::with_details(status.code(), format!("{}…", &words[..end]), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_in_grpc_gos_words() {
        let read = |status: Status| {
            let answer: Response<()> = read(status.into_http());
            let told = Status::from_header_map(answer.headers()).unwrap();
            (
                told.code(),
                told.message().starts_with("grpc: error unmarshalling"),
            )
        };
        let unreadable = "failed to decode Protobuf message: invalid wire type";
        assert_eq!(read(Status::internal(unreadable)), (Code::Internal, true));
        let reply = "unexpected reply";
        assert_eq!(read(Status::internal(reply)), (Code::Internal, false));
        assert_eq!(read(Status::not_found(unreadable)), (Code::NotFound, false));
    }

    #[test]
    fn words_fit_into_a_header() {
        let long = Status::not_found("ü".repeat(30_000));
        let answer: Response<()> = read(long.into_http());
        assert!(answer.headers()["grpc-message"].len() < 7_000);
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().ends_with("ü…"), "{status:?}");
    }
}
