//! How clients and workers reach nodes, and the journal they keep.

use super::transport::{Channels, Transport, Workflow};
use crate::operation::{ANSWER_LOST, Asked, Journal, Outcome};
use crate::simulation::{Door, Doors, Trace};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Response, Status};

/// Between two tries to find a leader.
const PAUSE: Duration = Duration::from_millis(50);

/// A caller waits so much longer than its deadline for a node that stands still.
const GRACE: Duration = Duration::from_secs(1);

/// A request with a deadline.
pub(super) fn timed<R>(request: R, within: Duration) -> Request<R> {
    let mut request = Request::new(request);
    request.set_timeout(within);
    request
}

/// What callers and their connections do, drawn from the seed.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Longest way of a request or an answer.
    pub delay: Duration,
    /// Probability that an answer is lost.
    pub answer_lost: f64,
    /// Probability that a call goes to a node that need not lead.
    pub astray: f64,
    /// Probability that a worker dies with a task.
    pub dies: f64,
    /// Probability that a worker is too slow for a task.
    pub slow: f64,
    /// Probability that an activity fails.
    pub fails: f64,
    /// Mean pause of a client between calls.
    pub pause: Duration,
}

impl Habits {
    /// Perfect callers: for the end of a simulation.
    #[must_use]
    pub fn calm(self) -> Habits {
        Habits {
            delay: Duration::from_millis(2),
            answer_lost: 0.0,
            astray: 0.0,
            dies: 0.0,
            slow: 0.0,
            fails: 0.0,
            pause: Duration::from_millis(200),
        }
    }
}

/// One client or worker.
#[derive(Debug)]
pub struct Caller {
    transport: Transport,
    trace: Trace,
    seed: u64,
    chance: Mutex<ChaCha8Rng>,
    journal: Arc<Mutex<Journal>>,
    habits: Arc<Mutex<Habits>>,
}

impl Caller {
    /// The first one; the others are forks of it.
    #[must_use]
    pub fn new(seed: u64, transport: Transport, habits: Habits, trace: &Trace) -> Caller {
        Caller {
            transport,
            trace: trace.clone(),
            seed,
            chance: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            journal: Arc::default(),
            habits: Arc::new(Mutex::new(habits)),
        }
    }

    /// Another one with the same journal and habits, and chance of its own.
    #[must_use]
    pub fn fork(&self, number: u64) -> Caller {
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
        Caller {
            transport: self.transport.clone(),
            trace: self.trace.clone(),
            seed,
            chance: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            journal: self.journal.clone(),
            habits: self.habits.clone(),
        }
    }

    /// What all forks do from now on.
    pub fn set_habits(&self, habits: Habits) {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner) = habits;
    }

    /// What all forks do.
    #[must_use]
    pub fn habits(&self) -> Habits {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all forks noted.
    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.trace.elapsed()
    }

    pub(super) fn chance(&self) -> MutexGuard<'_, ChaCha8Rng> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn happens(&self, probability: f64) -> bool {
        self.chance().random_bool(probability)
    }

    /// A time between nothing and twice the mean.
    pub(super) fn around(&self, mean: Duration) -> Duration {
        mean.mul_f64(2.0 * self.chance().random::<f64>())
    }

    /// How long a request or an answer needs.
    fn way(&self, habits: Habits) -> Duration {
        habits.delay.mul_f64(self.chance().random::<f64>())
    }

    /// Notes a call that begins now. Until it is [answered](Caller::answered) nobody knows what comes
    /// of it, and when this caller dies in it nobody ever will.
    pub(super) fn asks(&self, asked: Asked) -> UnderWay {
        let invoked = self.now();
        UnderWay(self.journal().asks(invoked, asked))
    }

    /// Notes what came of a call.
    pub(super) fn answered(&self, call: UnderWay, outcome: Outcome) {
        let returned = self.now();
        let mut journal = self.journal();
        // Nothing leaves the journal.
        let operation = &mut journal.operations[call.0];
        (operation.returned, operation.outcome) = (returned, outcome);
        self.trace.line(|| {
            let (invoked, asked) = (operation.invoked, &operation.asked);
            format!("call since {invoked:?} {asked:?} {:?}", operation.outcome)
        });
    }

    /// A node, in a simulation with its door; not at all when there is none to ask.
    fn node(&self) -> Option<(Workflow, Option<Door>)> {
        match &self.transport {
            Transport::Decoded(doors) => {
                let door = self.door(doors)?;
                Some((Workflow::Decoded(door.shard.clone()), Some(door)))
            }
            Transport::Channels(channels) => {
                let address = self.address(channels)?;
                Some((channels.to(&address)?, None))
            }
        }
    }

    /// The leader's, as far as is known, unless the caller goes astray.
    fn address(&self, channels: &Channels) -> Option<String> {
        let known = channels.addresses().clone();
        let leader = known.leader.and_then(|leader| known.nodes.get(&leader));
        match leader {
            Some(address) if !self.happens(self.habits().astray) => Some(address.clone()),
            Some(_) | None if known.nodes.is_empty() => None,
            Some(_) | None => {
                let at = self.chance().random_range(0..known.nodes.len());
                known.nodes.values().nth(at).cloned()
            }
        }
    }

    fn door(&self, doors: &Doors) -> Option<Door> {
        let doors = doors.all();
        let leading: Vec<&Door> = doors.iter().filter(|door| door.shard.is_leader()).collect();
        if doors.is_empty() || leading.is_empty() && !self.happens(0.1) {
            return None;
        }
        if leading.is_empty() || self.happens(self.habits().astray) {
            let at = self.chance().random_range(0..doors.len());
            return doors.get(at).cloned();
        }
        let at = self.chance().random_range(0..leading.len());
        leading.get(at).map(|door| (*door).clone())
    }

    /// Sends one request to a node. The answer may be late, or lost.
    pub(super) async fn call<T, A>(
        &self,
        within: Duration,
        ask: impl FnOnce(Workflow) -> A,
    ) -> Result<T, Failed>
    where
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let Some((node, door)) = self.node() else {
            sleep(PAUSE).await;
            return Err(Failed::Unknown("no leader".into()));
        };
        let habits = self.habits();
        sleep(self.way(habits)).await;
        // As tonic ends a call at its deadline.
        let asked = timeout(within, Box::pin(ask(node)));
        let through = async {
            if let Some(door) = &door {
                door.moves().await;
            }
            let answer = asked.await;
            if let Some(door) = &door {
                door.moves().await;
            }
            answer
        };
        let through = timeout(within + GRACE, through);
        // Over gRPC, a connection that breaks says so itself.
        let life = door
            .as_ref()
            .map(|door| door.life.clone())
            .unwrap_or_default();
        let answer = match life.run_until_cancelled(through).await {
            None => return Err(Failed::Unknown("the node is gone".into())),
            Some(Err(_)) => return Err(Failed::Unknown("the node stands still".into())),
            Some(Ok(Err(_))) => return Err(Failed::Unknown("no answer in time".into())),
            Some(Ok(Ok(answer))) => answer,
        };
        if self.happens(habits.answer_lost) {
            let lost = match answer {
                Ok(_) => ANSWER_LOST,
                Err(_) => "the answer is lost",
            };
            return Err(Failed::Unknown(lost.into()));
        }
        sleep(self.way(habits)).await;
        answer.map(Response::into_inner).map_err(Failed::of)
    }
}

/// A call in the journal.
#[derive(Debug)]
pub(super) struct UnderWay(usize);

/// Why a call has no answer.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    /// Nothing was done.
    Refused(Code, String),
    /// Something may have been done.
    Unknown(String),
}

impl Failed {
    fn of(status: Status) -> Failed {
        let message = status.message().to_owned();
        // Made on this side: the connection broke, or was never there.
        if std::error::Error::source(&status).is_some() {
            return Failed::Unknown(message);
        }
        match status.code() {
            code @ (Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated
            | Code::ResourceExhausted) => Failed::Refused(code, message),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Unavailable => Failed::Unknown(message),
        }
    }
}

impl From<Failed> for Outcome {
    fn from(failed: Failed) -> Outcome {
        match failed {
            Failed::Refused(code, message) => Outcome::Refused(format!("{code:?}: {message}")),
            Failed::Unknown(message) => Outcome::Unknown(message),
        }
    }
}
