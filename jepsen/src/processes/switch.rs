//! The network between namespaces: every packet passes through this process, which loses, delays,
//! doubles or bends it as it is told. It needs TUN devices and nothing else of the kernel: no
//! netem, no packet filter.

mod packet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tappers::{Interface, Tun};

/// The greatest packet.
pub(super) const MTU: usize = 9_000;
/// Packets that wait for their time; more are lost.
const LATE_MAX: usize = 100_000;
/// A slow link holds so much, then it loses packets.
const BACKLOG: Duration = Duration::from_millis(500);

/// How packets fare from one address to another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Link {
    /// None arrives.
    pub cut: bool,
    /// Each takes so long.
    pub delay: Duration,
    /// And up to so much more, drawn for each: they overtake each other.
    pub jitter: Duration,
    /// Probability that one is lost.
    pub lost: f64,
    /// Probability that one arrives twice.
    pub twice: f64,
    /// Probability that one has a bit turned.
    pub bent: f64,
    /// Bytes that pass in a second; `None`: any number.
    pub bytes_a_second: Option<u64>,
    /// Probability that one ends its connection instead.
    pub reset: f64,
}

/// A device of the switch with the address behind it.
#[derive(Debug, Clone)]
pub(super) struct Port {
    /// The device's name, here or in a namespace.
    pub name: String,
    /// Who is behind it.
    pub address: Ipv4Addr,
}

/// A packet on its way.
struct Late {
    due: Instant,
    /// Which port.
    to: usize,
    packet: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Late) -> bool {
        self.due == other.due
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Late) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    /// The heap gives the greatest: the one that is due first.
    fn cmp(&self, other: &Late) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

/// What the threads share.
struct Wires {
    ports: Vec<(Tun, Ipv4Addr)>,
    rules: Mutex<Rules>,
    late: Mutex<BinaryHeap<Late>>,
    wake: Condvar,
}

struct Rules {
    links: BTreeMap<(Ipv4Addr, Ipv4Addr), Link>,
    /// Until when a slow link is busy.
    busy: BTreeMap<(Ipv4Addr, Ipv4Addr), Instant>,
    chance: ChaCha8Rng,
    counts: Counts,
}

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// They arrived.
    pub passed: u64,
    /// They did not.
    pub lost: u64,
    /// Connections that were reset.
    pub reset: u64,
}

/// The switch. It works until the process ends.
#[derive(Clone)]
pub(super) struct Switch(Arc<Wires>);

impl fmt::Debug for Switch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Switch({:?})", self.counts())
    }
}

impl Switch {
    /// Makes the devices, in the namespace of this process, and begins to work.
    ///
    /// # Errors
    /// When the machine gives no TUN device.
    pub(super) fn start(seed: u64, ports: &[Port]) -> io::Result<Switch> {
        let made = ports.iter().map(|port| {
            let tun = Tun::new_named(Interface::new(&port.name)?)?;
            Ok((tun, port.address))
        });
        let wires = Arc::new(Wires {
            ports: made.collect::<io::Result<Vec<_>>>()?,
            rules: Mutex::new(Rules {
                links: BTreeMap::new(),
                busy: BTreeMap::new(),
                chance: ChaCha8Rng::seed_from_u64(seed),
                counts: Counts::default(),
            }),
            late: Mutex::default(),
            wake: Condvar::new(),
        });
        for port in 0..ports.len() {
            let wires = wires.clone();
            std::thread::spawn(move || wires.read(port));
        }
        let sender = wires.clone();
        std::thread::spawn(move || sender.send_late());
        Ok(Switch(wires))
    }

    /// How packets fare from one to another from now on.
    pub(super) fn set(&self, from: Ipv4Addr, to: Ipv4Addr, link: Link) {
        self.0.rules().links.insert((from, to), link);
    }

    /// All links are good again.
    pub(super) fn heal(&self) {
        self.0.rules().links.clear();
    }

    /// What became of packets so far.
    #[must_use]
    pub(super) fn counts(&self) -> Counts {
        self.0.rules().counts
    }
}

/// What becomes of one packet.
struct Fate {
    /// When it arrives, and again, if it does.
    due: Vec<Instant>,
    bent: bool,
    reset: bool,
}

impl Rules {
    fn fate(&mut self, from: Ipv4Addr, to: Ipv4Addr, bytes: usize) -> Fate {
        let now = Instant::now();
        let mut fate = Fate {
            due: vec![now],
            bent: false,
            reset: false,
        };
        let Some(link) = self.links.get(&(from, to)).copied() else {
            return fate;
        };
        if link.cut || self.chance.random_bool(link.lost) {
            fate.due.clear();
            return fate;
        }
        let mut due = now + link.delay + link.jitter.mul_f64(self.chance.random());
        if let Some(rate) = link.bytes_a_second {
            let busy = self.busy.entry((from, to)).or_insert(now);
            let begins = (*busy).max(now);
            if begins - now > BACKLOG {
                fate.due.clear();
                return fate;
            }
            *busy = begins + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            due = due.max(*busy);
        }
        fate.due = vec![due];
        if self.chance.random_bool(link.twice) {
            fate.due.push(due + Duration::from_millis(1));
        }
        fate.bent = self.chance.random_bool(link.bent);
        fate.reset = self.chance.random_bool(link.reset);
        fate
    }
}

impl Wires {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn port(&self, address: Ipv4Addr) -> Option<usize> {
        self.ports.iter().position(|(_, own)| *own == address)
    }

    fn read(&self, port: usize) {
        let mut buffer = vec![0; MTU + 64];
        loop {
            match self.ports[port].0.recv(&mut buffer) {
                Ok(bytes) => self.take(&buffer[..bytes]),
                // The device is not up yet, or no more.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn take(&self, packet: &[u8]) {
        let Some((from, to)) = packet::ends(packet) else {
            return;
        };
        let (Some(back), Some(port)) = (self.port(from), self.port(to)) else {
            return;
        };
        let fate = {
            let mut rules = self.rules();
            let fate = rules.fate(from, to, packet.len());
            match fate.due.is_empty() {
                true => rules.counts.lost += 1,
                false => rules.counts.passed += 1,
            }
            fate
        };
        if fate.reset
            && let Some([there, here]) = packet::resets(packet)
        {
            self.rules().counts.reset += 1;
            self.put(port, &there);
            self.put(back, &here);
            return;
        }
        let mut packet = packet.to_vec();
        if fate.bent
            && let Some(last) = packet.last_mut()
        {
            *last ^= 0x10;
        }
        let now = Instant::now();
        for due in fate.due {
            if due <= now {
                self.put(port, &packet);
                continue;
            }
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            if late.len() < LATE_MAX {
                late.push(Late {
                    due,
                    to: port,
                    packet: packet.clone(),
                });
                self.wake.notify_one();
            }
        }
    }

    fn put(&self, port: usize, packet: &[u8]) {
        // What a device does not take is lost, as on any wire.
        self.ports[port].0.send(packet).ok();
    }

    fn send_late(&self) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            match late.peek().map(|first| first.due) {
                Some(due) if due <= now => {
                    if let Some(first) = late.pop() {
                        self.put(first.to, &first.packet);
                    }
                }
                Some(due) => {
                    let waited = self.wake.wait_timeout(late, due - now);
                    late = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    let waited = self.wake.wait(late);
                    late = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            links: BTreeMap::new(),
            busy: BTreeMap::new(),
            chance: ChaCha8Rng::seed_from_u64(1),
            counts: Counts::default(),
        }
    }

    #[test]
    fn a_cut_goes_one_way_only() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut rules = rules();
        rules.links.insert(
            (a, b),
            Link {
                cut: true,
                ..Link::default()
            },
        );
        assert!(rules.fate(a, b, 100).due.is_empty());
        assert_eq!(rules.fate(b, a, 100).due.len(), 1);
    }

    #[test]
    fn a_narrow_link_delays_and_then_loses() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut rules = rules();
        let narrow = Link {
            bytes_a_second: Some(1_000),
            ..Link::default()
        };
        rules.links.insert((a, b), narrow);
        let begin = Instant::now();
        let first = rules.fate(a, b, 300).due;
        assert!(first[0] >= begin + Duration::from_millis(300));
        assert_eq!(rules.fate(a, b, 300).due.len(), 1);
        assert!(rules.fate(a, b, 300).due.is_empty());
    }
}
