//! Faults of the network between places, and between them and the clients.

use super::{Fault, Nemesis};
use crate::processes::switch::Link;
use rand::Rng;
use std::time::Duration;

const CUT: Link = Link {
    cut: true,
    delay: Duration::ZERO,
    jitter: Duration::ZERO,
    lost: 0.0,
    twice: 0.0,
    bent: 0.0,
    bytes_a_second: None,
    reset: 0.0,
};

impl Nemesis {
    pub(super) fn bring_to_network(&mut self, fault: Fault) -> Option<String> {
        self.cluster.switch.as_ref()?;
        let settled = self.cluster.settled();
        match fault {
            Fault::IsolateLeader => {
                let at = self.leader()?;
                self.cut(&[at], true, true);
                self.told("isolated", &[at])
            }
            Fault::IsolateFollower => {
                let at = self.follower()?;
                self.cut(&[at], true, true);
                self.told("isolated", &[at])
            }
            Fault::SplitMinority => {
                let part = self.several(self.minority());
                self.cut(&part, true, true);
                self.told("in the smaller part:", &part)
            }
            Fault::Bridge => {
                let between = self.anyone()?;
                let others: Vec<usize> = settled.into_iter().filter(|at| *at != between).collect();
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
            Fault::OneWayFromLeader => {
                let at = self.leader()?;
                self.cut(&[at], true, false);
                self.told("heard by nobody:", &[at])
            }
            Fault::OneWayToLeader => {
                let at = self.leader()?;
                self.cut(&[at], false, true);
                self.told("hears nobody:", &[at])
            }
            Fault::CutClients => {
                let at = self.leader()?;
                self.to_clients(at, CUT);
                self.from_clients(at, CUT);
                self.told("not reached by clients:", &[at])
            }
            Fault::CutAnswers => {
                for at in &settled {
                    self.to_clients(*at, CUT);
                }
                self.told("heard by no client:", &settled)
            }
            Fault::SlowLink => {
                let (leader, other) = (self.leader()?, self.follower()?);
                let link = Link {
                    delay: self.millis(50, 500),
                    ..Link::default()
                };
                self.cluster.link(leader, other, link);
                self.cluster.link(other, leader, link);
                let what = format!("{:?} each way between", link.delay);
                self.told(&what, &[leader, other])
            }
            _ => {
                let link = self.weather(fault)?;
                self.everywhere(link);
                Some(format!("everywhere: {link:?}"))
            }
        }
    }

    /// How all links are.
    fn weather(&mut self, fault: Fault) -> Option<Link> {
        let good = Link::default();
        match fault {
            Fault::SlowNetwork => Some(Link {
                delay: self.millis(20, 100),
                jitter: self.millis(0, 100),
                ..good
            }),
            Fault::LossyNetwork => Some(Link {
                lost: self.chance.random_range(0.01..0.2),
                ..good
            }),
            Fault::DoubledPackets => Some(Link { twice: 0.5, ..good }),
            Fault::ReorderedPackets => Some(Link {
                jitter: Duration::from_millis(20),
                ..good
            }),
            Fault::BentPackets => Some(Link { bent: 0.1, ..good }),
            Fault::NarrowNetwork => Some(Link {
                bytes_a_second: Some(128 << 10),
                ..good
            }),
            Fault::ResetConnections => Some(Link {
                reset: 0.01,
                ..good
            }),
            _ => None,
        }
    }

    /// All links between places, and those to and from clients.
    fn everywhere(&self, link: Link) {
        let settled = self.cluster.settled();
        for a in &settled {
            for b in settled.iter().filter(|b| *b != a) {
                self.cluster.link(*a, *b, link);
            }
            self.to_clients(*a, link);
            self.from_clients(*a, link);
        }
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

    fn to_clients(&self, at: usize, link: Link) {
        if let Some(switch) = &self.cluster.switch {
            switch.set(self.cluster.hosts[at].address, self.cluster.clients(), link);
        }
    }

    fn from_clients(&self, at: usize, link: Link) {
        if let Some(switch) = &self.cluster.switch {
            switch.set(self.cluster.clients(), self.cluster.hosts[at].address, link);
        }
    }
}
