//! Requests that are not what their method takes.

use super::super::MESSAGE_BYTES_MAX;
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

/// tonic and gRPC-Go answer bytes that are no message with INTERNAL, which SDKs try again for ever.
/// The fault is the caller's: INVALID_ARGUMENT, with gRPC-Go's words.
pub(super) fn read<B: Default>(response: Response<B>) -> Response<B> {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    let words = status.message();
    let unreadable = UNREADABLE.iter().any(|start| words.starts_with(start));
    if status.code() == Code::Internal && unreadable {
        let words = format!("grpc: error unmarshalling request: {words}");
        return Status::invalid_argument(words).into_http();
    }
    if status.code() == Code::ResourceExhausted && words.starts_with(GREW) {
        let words = format!(
            "grpc: received message after decompression larger than max {MESSAGE_BYTES_MAX}"
        );
        return Status::resource_exhausted(words).into_http();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_read_is_the_callers_fault() {
        let code = |status: Status| {
            let answer: Response<()> = read(status.into_http());
            Code::from_bytes(answer.headers()["grpc-status"].as_bytes())
        };
        let unreadable = "failed to decode Protobuf message: invalid wire type";
        assert_eq!(code(Status::internal(unreadable)), Code::InvalidArgument);
        assert_eq!(code(Status::internal("unexpected reply")), Code::Internal);
        assert_eq!(code(Status::not_found(unreadable)), Code::NotFound);
    }
}
