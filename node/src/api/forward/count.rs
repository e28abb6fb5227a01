//! Counts clients' calls, by method and code.

use super::super::call::FORWARDED_HEADER;
use super::method::Method;
use crate::telemetry::Telemetry;
use http::{Request, Response};
use std::time::Duration;
use tonic::Code;

/// Stands for methods that nobody serves: a caller must not choose what our pages show.
const OTHER: &str = "other";

/// A call that counts once, at the node that its client is connected to.
#[derive(Debug)]
pub(super) struct Counted(Option<String>);

impl Counted {
    /// Notes the method. Calls that another node forwarded, and those of our own services, do not
    /// count.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        if request.headers().contains_key(FORWARDED_HEADER) {
            return Self(None);
        }
        match Method::of(request.uri().path()) {
            Ok(Method::Temporal(_, method)) => Self(Some(method.to_owned())),
            Ok(Method::Local) => Self(None),
            Err(_) => Self(Some(OTHER.to_owned())),
        }
    }

    /// Counts the answer. Answers are single messages: what fails does so in the headers.
    pub(super) fn answered<B>(self, telemetry: &Telemetry, answer: &Response<B>, took: Duration) {
        let Some(method) = self.0 else { return };
        let status = answer.headers().get("grpc-status");
        let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
        let method = if code == Code::Unimplemented {
            OTHER
        } else {
            &method
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        telemetry.rpc(method, i32::from(code), micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Page;

    #[test]
    fn a_call_counts_once_and_under_names_of_ours() {
        let service = "/temporal.api.workflowservice.v1.WorkflowService";
        let telemetry = Telemetry::default();
        for (path, forwarded, code) in [
            ("GetSystemInfo", false, "0"),
            ("GetSystemInfo", true, "0"),
            ("GetSystemInfo", false, "3"),
            ("No\"Such", false, "12"),
        ] {
            let uri = format!("{service}/{}", path.replace('"', "%22"));
            let mut request = Request::builder().uri(uri);
            if forwarded {
                request = request.header(FORWARDED_HEADER, "1");
            }
            let counted = Counted::of(&request.body(()).unwrap());
            let answer = Response::builder().header("grpc-status", code);
            let answer = answer.body(()).unwrap();
            counted.answered(&telemetry, &answer, Duration::from_micros(5));
        }
        let mut page = Page::default();
        telemetry.render(&mut page);
        let page = page.done();
        for line in [
            "rpcs_total{method=\"GetSystemInfo\",code=\"0\"} 1",
            "rpcs_total{method=\"GetSystemInfo\",code=\"3\"} 1",
            "rpcs_total{method=\"other\",code=\"12\"} 1",
            "rpc_microseconds_total{method=\"GetSystemInfo\",code=\"0\"} 5",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(!page.contains("Such"), "{page}");
    }
}
