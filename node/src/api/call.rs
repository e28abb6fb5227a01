//! What a handler knows of its call besides the message: deadline, client, poll.

use super::status::invalid;
use std::time::Duration;
use steadfast_engine::id::PollId;
use tokio::time::Instant;
use tonic::{Request, Status};

/// Workers' polls wait this long at most (`matching.longPollExpirationInterval`).
const WORKER_POLL: Duration = Duration::from_secs(60);
/// History long polls wait this long at most (`history.longPollExpirationInterval`).
const HISTORY_POLL: Duration = Duration::from_secs(20);
/// A poll with a shorter deadline is refused: it would only cost.
const SHORTEST_POLL: Duration = Duration::from_secs(2);
/// An answer leaves this long before the caller's deadline, to arrive in time.
const ANSWER_AHEAD: Duration = Duration::from_millis(1_000);
/// What a call without a deadline gets for waiting inside the node.
const NO_DEADLINE: Duration = Duration::from_secs(30);

/// The poll that a follower waits on, from `steadfast-poll`.
pub(crate) const POLL_HEADER: &str = "steadfast-poll";
/// Marks a call that another node has forwarded.
pub(crate) const FORWARDED_HEADER: &str = "steadfast-forwarded";

/// When the request arrived at the first node; set by the forward layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived(pub(crate) Instant);

/// The facts of one call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    arrived: Instant,
    /// The caller's deadline, when it gave one.
    pub(crate) deadline: Option<Instant>,
    /// `client-name`; empty when not given.
    pub(crate) client_name: String,
    /// The poll id of the node that forwarded the call.
    pub(crate) poll: Option<PollId>,
}

impl Call {
    /// Reads headers and extensions of a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let text = |name| {
            request
                .metadata()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let arrived = request
            .extensions()
            .get::<Arrived>()
            .map_or_else(Instant::now, |arrived| arrived.0);
        Self {
            arrived,
            deadline: text("grpc-timeout")
                .and_then(parse_timeout)
                .map(|timeout| arrived + timeout),
            client_name: text("client-name").unwrap_or_default().to_owned(),
            poll: text(POLL_HEADER).and_then(parse_poll),
        }
    }

    /// Until when a worker's poll waits; refuses deadlines that are missing or too short.
    pub(crate) fn worker_poll_deadline(&self) -> Result<Instant, Status> {
        let Some(deadline) = self.deadline else {
            return Err(invalid("Context timeout is not set."));
        };
        // A deadline of two seconds has lost some of it on its way here.
        let grace = Duration::from_millis(50);
        if deadline + grace < self.arrived + SHORTEST_POLL {
            return Err(Status::failed_precondition("Context timeout is too short."));
        }
        Ok(self.ahead_of(deadline).min(self.arrived + WORKER_POLL))
    }

    /// Until when a history read waits.
    pub(crate) fn history_poll_deadline(&self) -> Instant {
        let longest = self.arrived + HISTORY_POLL;
        self.deadline
            .map_or(longest, |deadline| self.ahead_of(deadline).min(longest))
    }

    /// Until when an update waits before it tells how far it is, and when the caller is gone.
    pub(crate) fn update_deadlines(&self) -> (Instant, Option<Instant>) {
        (self.arrived + HISTORY_POLL, self.deadline)
    }

    /// Until when a query waits: the caller's own deadline.
    pub(crate) fn query_deadline(&self) -> Instant {
        self.deadline.unwrap_or(self.arrived + NO_DEADLINE)
    }

    /// A little before the caller's deadline, or half the time when that is little.
    fn ahead_of(&self, deadline: Instant) -> Instant {
        let whole = deadline.saturating_duration_since(self.arrived);
        self.arrived + whole.saturating_sub(ANSWER_AHEAD).max(whole / 2)
    }
}

/// A `grpc-timeout`: at most eight digits and a unit.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// A duration as a `grpc-timeout`.
pub(crate) fn timeout_text(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    }
}

/// A poll id as it travels in `steadfast-poll`.
pub(crate) fn poll_text(poll: PollId) -> String {
    format!("{:x}-{:x}", poll.boot, poll.sequence)
}

fn parse_poll(text: &str) -> Option<PollId> {
    let (boot, sequence) = text.split_once('-')?;
    Some(PollId {
        boot: u64::from_str_radix(boot, 16).ok()?,
        sequence: u64::from_str_radix(sequence, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(timeout: Option<Duration>) -> Call {
        let arrived = Instant::now();
        Call {
            arrived,
            deadline: timeout.map(|timeout| arrived + timeout),
            client_name: String::new(),
            poll: None,
        }
    }

    #[tokio::test]
    async fn polls_answer_before_their_deadline() {
        let wait = |timeout| {
            let call = call(timeout);
            call.worker_poll_deadline()
                .map(|deadline| deadline - call.arrived)
        };
        assert_eq!(
            wait(None).unwrap_err().message(),
            "Context timeout is not set."
        );
        let short = wait(Some(Duration::from_secs(1))).unwrap_err();
        assert_eq!(
            (short.code(), short.message()),
            (
                tonic::Code::FailedPrecondition,
                "Context timeout is too short."
            )
        );
        assert_eq!(
            wait(Some(Duration::from_secs(2))).unwrap(),
            Duration::from_secs(1)
        );
        assert_eq!(
            wait(Some(Duration::from_secs(70))).unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(
            wait(Some(Duration::from_secs(30))).unwrap(),
            Duration::from_secs(29)
        );
    }

    #[test]
    fn timeouts_and_polls_are_read_back() {
        for (text, expected) in [
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("S", None),
            ("", None),
            ("1x", None),
            ("123456789S", None),
            ("-1S", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
        assert_eq!(
            parse_timeout(&timeout_text(Duration::from_millis(1_500))),
            Some(Duration::from_millis(1_500))
        );
        let poll = PollId {
            boot: u64::MAX,
            sequence: 7,
        };
        assert_eq!(parse_poll(&poll_text(poll)), Some(poll));
        assert_eq!(parse_poll("x"), None);
    }
}
