//! The last step of handing out a task: a task whose answer could not be written goes back.

use steadfast_engine::mutation::TaskToken;
use tonic::Response;

/// Rides in a response's extensions; the forward layer sees to it that the task goes back when the
/// response is dropped before it was written.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// The task's token.
    pub(crate) token: TaskToken,
}

/// A poll's response. A task that is gone meanwhile is answered as an empty poll.
pub(crate) fn deliver<T: Default>(answer: Option<T>, delivered: Delivered) -> Response<T> {
    match answer {
        Some(answer) => {
            let mut response = Response::new(answer);
            response.extensions_mut().insert(delivered);
            response
        }
        None => Response::new(T::default()),
    }
}
