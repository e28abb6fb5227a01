//! The network between simulated nodes: slow, lossy, partitioned, as told.
//!
//! A lane is a stream, as TCP gives: what is lost is sent again, later, and holds up what follows.
//! So frames are delayed and never reordered within a lane. Lanes that break do reorder and
//! duplicate: what was on its way may still arrive, after the first frames of the next lane.

mod lane;

use super::Trace;
use lane::Direction;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_raft::transport::{LANE_FRAMES, Lane, LinkError, Wire};
use steadfast_raft::{Inbound, Transport};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// How links behave that are not cut. The default is a perfect network: no delay, no loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// Each frame needs at least so long.
    pub delay: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// Probability that a frame has to be sent again.
    pub lost: f64,
    /// How long that takes.
    pub sent_again: Duration,
    /// Probability, for each frame, that its lane breaks.
    pub broken: f64,
}

/// The nodes of one simulation and the links between them. Clones are the same.
#[derive(Debug, Clone)]
pub struct SimulatedNetwork {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

#[derive(Debug)]
struct State {
    members: BTreeMap<String, Member>,
    /// Directed pairs: what the first sends does not reach the second.
    cut: BTreeSet<(String, String)>,
    /// Machines that stand still: nothing leaves them and nothing is taken in.
    held: BTreeSet<String>,
    /// Snapshots whose receiver said that it took them.
    installs: u32,
    /// Directed pairs on which everything takes longer.
    slow: BTreeMap<(String, String), Duration>,
    conditions: Conditions,
    chance: ChaCha8Rng,
    /// Counts changes of members and cuts: lanes look again.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Member {
    /// `None` until it listens.
    inbound: Option<Inbound>,
    /// Cancelled when the machine is gone; what it still says then is not heard.
    life: CancellationToken,
}

impl SimulatedNetwork {
    /// A perfect network without members.
    #[must_use]
    pub fn new(seed: u64, trace: &Trace) -> Self {
        let state = State {
            members: BTreeMap::new(),
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            installs: 0,
            slow: BTreeMap::new(),
            conditions: Conditions::default(),
            chance: ChaCha8Rng::seed_from_u64(seed),
            changes: watch::Sender::new(0),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            trace: trace.clone(),
        }
    }

    /// The transport of a machine that begins a life at `address`.
    pub fn transport(&self, address: &str) -> Arc<dyn Transport> {
        let life = CancellationToken::new();
        let member = Member {
            inbound: None,
            life: life.clone(),
        };
        self.state().members.insert(address.to_owned(), member);
        Arc::new(SimulatedTransport {
            network: self.clone(),
            from: address.to_owned(),
            life,
        })
    }

    /// Lets others reach the machine at `address`.
    pub fn listen(&self, address: &str, inbound: Inbound) {
        self.change(|state| {
            if let Some(member) = state.members.get_mut(address) {
                member.inbound = Some(inbound);
            }
        });
    }

    /// The machine is gone; its lanes break, and what it still tries to send is not heard.
    pub fn remove(&self, address: &str) {
        self.change(|state| {
            if let Some(member) = state.members.remove(address) {
                member.life.cancel();
            }
        });
    }

    /// What `from` sends does not reach `to` until links are mended.
    pub fn cut(&self, from: &str, to: &str) {
        self.change(|state| {
            state.cut.insert((from.to_owned(), to.to_owned()));
        });
    }

    /// What `from` sends to `to` takes longer by `delay`.
    pub fn slow(&self, from: &str, to: &str, delay: Duration) {
        self.change(|state| {
            state.slow.insert((from.to_owned(), to.to_owned()), delay);
        });
    }

    /// Holds what a machine sends, and what is sent to it, until [`SimulatedNetwork::release`].
    pub fn hold(&self, address: &str) {
        self.change(|state| {
            state.held.insert(address.to_owned());
        });
    }

    /// What was held goes on at once.
    pub fn release(&self, address: &str) {
        self.change(|state| {
            state.held.remove(address);
        });
    }

    /// Mends every link: what waited arrives at once.
    pub fn heal(&self) {
        self.change(|state| {
            state.cut.clear();
            state.slow.clear();
        });
    }

    /// Changes how all links behave, for what is sent from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.state().conditions = conditions;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.changes.send_modify(|changes| *changes += 1);
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.state().changes.subscribe()
    }

    fn open(&self, from: &str, to: &str) -> bool {
        let state = self.state();
        let held = || state.held.contains(from) || state.held.contains(to);
        let cut = || state.cut.contains(&(from.to_owned(), to.to_owned()));
        (state.held.is_empty() || !held()) && (state.cut.is_empty() || !cut())
    }

    fn installed(&self) {
        self.state().installs += 1;
    }

    /// How many snapshots were taken over so far.
    #[must_use]
    pub fn installs(&self) -> u32 {
        self.state().installs
    }

    /// How long the next frame needs.
    fn delay(&self, from: &str, to: &str) -> Duration {
        let mut state = self.state();
        let Conditions {
            delay,
            jitter,
            lost,
            sent_again,
            ..
        } = state.conditions;
        let mut needs = delay;
        if !jitter.is_zero() {
            needs += jitter.mul_f64(state.chance.random::<f64>());
        }
        if lost > 0.0 && state.chance.random_bool(lost) {
            needs += sent_again;
        }
        let slow = state.slow.get(&(from.to_owned(), to.to_owned()));
        needs + slow.copied().unwrap_or_default()
    }

    /// Whether a lane breaks now, and if so, whether what is on its way still arrives.
    fn breaks(&self) -> Option<bool> {
        let mut state = self.state();
        let broken = state.conditions.broken;
        if broken > 0.0 && state.chance.random_bool(broken) {
            return Some(state.chance.random());
        }
        None
    }

    /// The life and the inbound side of a machine that listens.
    fn reached(&self, address: &str) -> Option<(Inbound, CancellationToken)> {
        let state = self.state();
        let member = state.members.get(address)?;
        Some((member.inbound.clone()?, member.life.clone()))
    }
}

struct SimulatedTransport {
    network: SimulatedNetwork,
    from: String,
    life: CancellationToken,
}

impl fmt::Debug for SimulatedTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SimulatedTransport({})", self.from)
    }
}

impl Transport for SimulatedTransport {
    fn connect(
        &self,
        address: &str,
        lane: Lane,
    ) -> Pin<Box<dyn Future<Output = Result<Wire, LinkError>> + Send>> {
        let (network, life) = (self.network.clone(), self.life.clone());
        let (from, to) = (self.from.clone(), address.to_owned());
        Box::pin(async move {
            let connected = life.run_until_cancelled(connect(&network, &life, &from, &to, lane));
            let connected = connected
                .await
                .unwrap_or_else(|| Err(LinkError::Unreachable(format!("{from} is gone"))));
            network.trace.line(|| {
                let opened = if connected.is_ok() {
                    "opened"
                } else {
                    "refused"
                };
                format!("lane {from}->{to} {lane:?} {opened}")
            });
            connected
        })
    }
}

/// One round trip; the caller bounds its time.
async fn connect(
    network: &SimulatedNetwork,
    life: &CancellationToken,
    from: &str,
    to: &str,
    lane: Lane,
) -> Result<Wire, LinkError> {
    let mut changes = network.changes();
    let both_ways = || network.open(from, to) && network.open(to, from);
    if changes.wait_for(|_| both_ways()).await.is_err() {
        return Err(LinkError::Unreachable("the simulation ends".to_owned()));
    }
    let round_trip = network.delay(from, to) + network.delay(to, from);
    if !round_trip.is_zero() {
        sleep(round_trip).await;
    }
    let Some((inbound, other_life)) = network.reached(to) else {
        return Err(LinkError::Unreachable(format!("no {to}")));
    };
    let broken = CancellationToken::new();
    let direction = |ends: [&str; 2], lives: [&CancellationToken; 2]| Direction {
        network: network.clone(),
        from: ends[0].to_owned(),
        to: ends[1].to_owned(),
        lane,
        sender_life: lives[0].clone(),
        receiver_life: lives[1].clone(),
        broken: broken.clone(),
    };
    let there = direction([from, to], [life, &other_life]).run();
    let back = direction([to, from], [&other_life, life]).run();
    inbound.accept(Wire {
        sender: back.0,
        receiver: there.1,
    });
    Ok(Wire {
        sender: there.0,
        receiver: back.1,
    })
}

type Ends = (
    mpsc::Sender<steadfast_raft::transport::Frame>,
    Pin<Box<ReceiverStream<steadfast_raft::transport::Frame>>>,
);

impl Direction {
    /// Carries frames until an end is gone: the end to send into, and the end to receive from.
    fn run(self) -> Ends {
        let (sender, frames) = mpsc::channel(LANE_FRAMES);
        let (out, received) = mpsc::channel(LANE_FRAMES);
        tokio::spawn(self.carry(frames, out));
        (sender, Box::pin(ReceiverStream::new(received)))
    }
}
