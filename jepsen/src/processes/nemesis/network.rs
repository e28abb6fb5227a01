//! Faults of the network between places, and between them and the clients.

use super::Nemesis;
use crate::processes::switch::Link;
use rand::Rng;
use std::time::Duration;

const GOOD: Link = Link {
    cut: false,
    delay: Duration::ZERO,
    jitter: Duration::ZERO,
    lost: 0.0,
    twice: 0.0,
    bent: 0.0,
    bytes_a_second: None,
    reset: 0.0,
};
const CUT: Link = Link { cut: true, ..GOOD };

/// How all links are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Weather {
    Slow { delay: Duration, jitter: Duration },
    Lossy { lost: f64 },
    Doubled,
    Reordered,
    Bent,
    Narrow,
    Resets,
}

impl Weather {
    fn link(self) -> Link {
        match self {
            Weather::Slow { delay, jitter } => Link {
                delay,
                jitter,
                ..GOOD
            },
            Weather::Lossy { lost } => Link { lost, ..GOOD },
            Weather::Doubled => Link { twice: 0.5, ..GOOD },
            Weather::Reordered => Link {
                jitter: Duration::from_millis(20),
                ..GOOD
            },
            Weather::Bent => Link { bent: 0.1, ..GOOD },
            Weather::Narrow => Link {
                bytes_a_second: Some(128 << 10),
                ..GOOD
            },
            Weather::Resets => Link {
                reset: 0.01,
                ..GOOD
            },
        }
    }
}

impl Nemesis {
    /// A part of the places hears and is heard by none of the others.
    pub(super) fn isolate(&self, part: impl IntoIterator<Item = usize>) -> Option<String> {
        let part: Vec<usize> = part.into_iter().collect();
        self.cut(&part, true, true);
        self.told("alone:", &part)
    }

    pub(super) fn mute_leader(&self) -> Option<String> {
        let at = self.leader()?;
        self.cut(&[at], true, false);
        self.told("heard by nobody:", &[at])
    }

    pub(super) fn deafen_leader(&self) -> Option<String> {
        let at = self.leader()?;
        self.cut(&[at], false, true);
        self.told("hears nobody:", &[at])
    }

    pub(super) fn bridge(&mut self) -> Option<String> {
        let between = self.anyone()?;
        let others = self.cluster.settled().into_iter();
        let others: Vec<usize> = others.filter(|at| *at != between).collect();
        let (here, there) = others.split_at(others.len() / 2);
        for (a, b) in here
            .iter()
            .flat_map(|a| there.iter().map(move |b| (*a, *b)))
        {
            self.cluster.link(a, b, CUT);
            self.cluster.link(b, a, CUT);
        }
        self.told("the bridge is", &[between])
    }

    pub(super) fn cut_clients(&self) -> Option<String> {
        let at = self.leader()?;
        self.link_to_clients(at, CUT);
        self.link_from_clients(at, CUT);
        self.told("not reached by clients:", &[at])
    }

    pub(super) fn cut_answers(&self) -> Option<String> {
        let settled = self.cluster.settled();
        for at in &settled {
            self.link_to_clients(*at, CUT);
        }
        self.told("heard by no client:", &settled)
    }

    pub(super) fn slow_link(&mut self) -> Option<String> {
        let (leader, other) = (self.leader()?, self.follower()?);
        let link = Link {
            delay: self.millis(50, 500),
            ..GOOD
        };
        self.cluster.link(leader, other, link);
        self.cluster.link(other, leader, link);
        let what = format!("{:?} each way between", link.delay);
        self.told(&what, &[leader, other])
    }

    pub(super) fn slow_network(&mut self) -> Option<String> {
        let (delay, jitter) = (self.millis(20, 100), self.millis(0, 100));
        self.everywhere(Weather::Slow { delay, jitter })
    }

    pub(super) fn lossy_network(&mut self) -> Option<String> {
        let lost = self.chance.random_range(0.01..0.2);
        self.everywhere(Weather::Lossy { lost })
    }

    /// All links between places, and those to and from clients.
    pub(super) fn everywhere(&self, weather: Weather) -> Option<String> {
        let (settled, link) = (self.cluster.settled(), weather.link());
        for a in &settled {
            for b in settled.iter().filter(|b| *b != a) {
                self.cluster.link(*a, *b, link);
            }
            self.link_to_clients(*a, link);
            self.link_from_clients(*a, link);
        }
        Some(format!("everywhere: {weather:?}"))
    }

    /// Cuts what leaves a part of the places, or what reaches it.
    fn cut(&self, part: &[usize], leaves: bool, reaches: bool) {
        let others = self.cluster.settled();
        for other in others.into_iter().filter(|at| !part.contains(at)) {
            for at in part {
                if leaves {
                    self.cluster.link(*at, other, CUT);
                }
                if reaches {
                    self.cluster.link(other, *at, CUT);
                }
            }
        }
    }

    fn link_to_clients(&self, at: usize, link: Link) {
        if let Some(switch) = &self.cluster.switch {
            switch.set(self.cluster.hosts[at].address, self.cluster.clients(), link);
        }
    }

    fn link_from_clients(&self, at: usize, link: Link) {
        if let Some(switch) = &self.cluster.switch {
            switch.set(self.cluster.clients(), self.cluster.hosts[at].address, link);
        }
    }
}
