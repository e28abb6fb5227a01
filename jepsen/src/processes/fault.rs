//! The kinds of fault, by name, and what each needs of the machine.

use super::machine::Machine;

/// What a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing but processes.
    Nothing,
    /// A network namespace for each node.
    Switch,
    /// An ext4 image for each node.
    Images,
    /// The block controller of cgroups, on images.
    BlockGroup,
    /// The memory controller.
    MemoryGroup,
    /// The CPU controller.
    CpuGroup,
    /// libfaketime.
    FakeTime,
    /// The tool `prlimit`.
    Prlimit,
    /// A program that knows the next engine version, as builds of tests do.
    NextVersion,
}

macro_rules! faults {
    ($($fault:ident $name:literal $need:expr, $what:literal;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $(#[doc = $what] $fault),* }

        /// All of them.
        pub const FAULTS: &[Fault] = &[$(Fault::$fault),*];

        impl Fault {
            /// As it is named on the command line and in the verdict.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Fault::$fault => $name),* }
            }

            /// What it needs.
            #[must_use]
            pub fn need(self) -> Need {
                match self { $(Fault::$fault => $need),* }
            }

            /// What happens, for people.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Fault::$fault => $what),* }
            }
        }
    };
}

faults! {
    KillLeader "kill-leader" Need::Nothing, "SIGKILL to the leader";
    KillFollower "kill-follower" Need::Nothing, "SIGKILL to a follower";
    KillMajority "kill-majority" Need::Nothing, "SIGKILL to a majority at once";
    KillAll "kill-all" Need::Nothing, "SIGKILL to all nodes at once";
    StopLeader "stop-leader" Need::Nothing, "SIGTERM to the leader";
    RollingRestart "rolling-restart" Need::Nothing, "SIGTERM to one node after the other";
    PauseLeader "pause-leader" Need::Nothing, "SIGSTOP to the leader";
    PauseFollower "pause-follower" Need::Nothing, "SIGSTOP to a follower";
    PauseMajority "pause-majority" Need::Nothing, "SIGSTOP to a majority";
    PauseKill "pause-kill" Need::Nothing, "SIGSTOP to a follower, then SIGKILL to the leader, then SIGCONT";
    TransferStorm "transfer-storm" Need::Nothing, "leadership handed over again and again";
    IsolateLeader "isolate-leader" Need::Switch, "the leader hears and is heard by no other node";
    IsolateFollower "isolate-follower" Need::Switch, "a follower hears and is heard by no other node";
    SplitMinority "split-minority" Need::Switch, "the leader is in the smaller part of the network";
    Bridge "bridge" Need::Switch, "two parts that only one node connects";
    OneWayFromLeader "one-way-from-leader" Need::Switch, "the leader is heard by nobody, but hears";
    OneWayToLeader "one-way-to-leader" Need::Switch, "the leader is heard, but hears nobody";
    CutClients "cut-clients" Need::Switch, "clients and workers do not reach the leader";
    CutAnswers "cut-answers" Need::Switch, "clients and workers reach the nodes, and no answer comes back";
    SlowNetwork "slow-network" Need::Switch, "each packet takes 20 to 200 ms";
    SlowLink "slow-link" Need::Switch, "each packet between the leader and one node takes 50 to 500 ms";
    LossyNetwork "lossy-network" Need::Switch, "1 to 20 % of the packets are lost";
    DoubledPackets "doubled-packets" Need::Switch, "half of the packets arrive twice";
    ReorderedPackets "reordered-packets" Need::Switch, "packets overtake each other";
    BentPackets "bent-packets" Need::Switch, "a bit of each tenth packet is turned";
    NarrowNetwork "narrow-network" Need::Switch, "128 KiB/s between nodes";
    ResetConnections "reset-connections" Need::Switch, "TCP connections are reset";
    PowerCut "power-cut" Need::Images, "the power of one node fails: what was not synced is lost";
    PowerCutMinority "power-cut-minority" Need::Images, "the power of the greatest minority fails";
    PowerCutAll "power-cut-all" Need::Images, "the power of all nodes fails at once";
    PausePowerCut "pause-power-cut" Need::Images, "SIGSTOP to a follower, then the power of the leader fails";
    DiskErrors "disk-errors" Need::Images, "every call of a node's disk fails";
    FullDisk "full-disk" Need::Images, "no byte is free on a node's disk";
    LowDisk "low-disk" Need::Images, "300 MiB are free on a node's disk";
    SlowDisk "slow-disk" Need::BlockGroup, "a node's disk takes ten writes a second";
    FlipLog "flip-log" Need::Nothing, "a bit of a log segment is turned while its node is down";
    FlipBase "flip-base" Need::Nothing, "a bit of a base file is turned while its node is down";
    FlipDelta "flip-delta" Need::Nothing, "a bit of a delta file is turned while its node is down";
    FlipManifest "flip-manifest" Need::Nothing, "a bit of the manifest is turned while its node is down";
    FlipIndex "flip-index" Need::Nothing, "bits of sled's files are turned while their node is down";
    FlipIdentity "flip-identity" Need::Nothing, "a bit of the identity is turned while its node is down";
    TruncateLog "truncate-log" Need::Nothing, "a log segment is cut short while its node is down";
    TruncateDelta "truncate-delta" Need::Nothing, "a delta file is cut short while its node is down";
    TruncateManifest "truncate-manifest" Need::Nothing, "the manifest is cut short while its node is down";
    TruncateIndex "truncate-index" Need::Nothing, "sled's files are cut short while their node is down";
    LostDisk "lost-disk" Need::Nothing, "a node loses its disk and is replaced by a new node";
    Membership "membership" Need::Nothing, "a node joins, gets the vote, and another is removed";
    ClockJump "clock-jump" Need::FakeTime, "one node's wall clock jumps by up to an hour";
    ClockSkew "clock-skew" Need::FakeTime, "one node's wall clock runs at half or double speed";
    MemoryLimit "memory-limit" Need::MemoryGroup, "a node gets no more memory";
    FileDescriptors "file-descriptors" Need::Prlimit, "a node gets no more file descriptors";
    CpuQuota "cpu-quota" Need::CpuGroup, "a node gets a tenth of a CPU";
    KillWorkers "kill-workers" Need::Nothing, "workers die with their tasks, others take their place";
    KillClients "kill-clients" Need::Nothing, "clients die in their calls, others take their place";
    SlowConsumer "slow-consumer" Need::Nothing, "a client asks for much and reads nothing";
    RollingUpgrade "rolling-upgrade" Need::NextVersion, "one node after the other gets a newer program, then the cluster its rules";
    RestoredBackup "restored-backup" Need::Nothing, "at the end, all nodes are killed, and a cluster made of a backup is read";
}

impl Fault {
    /// The fault of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Fault> {
        FAULTS.iter().copied().find(|fault| fault.name() == name)
    }

    /// Why it cannot happen on a machine; `None`: it can.
    #[must_use]
    pub fn missing(self, machine: &Machine) -> Option<String> {
        let lacks = match self.need() {
            Need::Nothing => return None,
            Need::Switch => &machine.switch,
            Need::Images => &machine.images,
            Need::BlockGroup => match &machine.images {
                Ok(()) => &machine.block_group,
                Err(_) => &machine.images,
            },
            Need::MemoryGroup => &machine.memory_group,
            Need::CpuGroup => &machine.cpu_group,
            Need::FakeTime => return machine.fake_time.as_ref().err().cloned(),
            Need::Prlimit => &machine.prlimit,
            Need::NextVersion => &machine.next_version,
        };
        lacks.as_ref().err().cloned()
    }

    /// It takes more than a minority away, or changes members or files: it comes alone.
    #[must_use]
    pub fn comes_alone(self) -> bool {
        self.damages()
            || matches!(
                self,
                Fault::LostDisk
                    | Fault::Membership
                    | Fault::KillAll
                    | Fault::PowerCutAll
                    | Fault::RollingRestart
                    | Fault::RollingUpgrade
            )
    }

    /// It makes a clock wrong.
    #[must_use]
    pub fn is_of_clocks(self) -> bool {
        matches!(self, Fault::ClockJump | Fault::ClockSkew)
    }

    /// It spoils a file of a node that is down.
    #[must_use]
    pub fn damages(self) -> bool {
        matches!(
            self,
            Fault::FlipLog
                | Fault::FlipBase
                | Fault::FlipDelta
                | Fault::FlipManifest
                | Fault::FlipIndex
                | Fault::FlipIdentity
                | Fault::TruncateLog
                | Fault::TruncateDelta
                | Fault::TruncateManifest
                | Fault::TruncateIndex
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_found_by_its_name_and_no_two_share_one() {
        for fault in FAULTS {
            assert_eq!(Fault::named(fault.name()), Some(*fault));
        }
        assert!(FAULTS.len() >= 25);
    }

    #[test]
    fn what_a_machine_cannot_do_is_missing() {
        let mut machine = Machine::able();
        assert!(Fault::RollingUpgrade.missing(&machine).is_none());
        machine.next_version = Err("a release".to_owned());
        assert!(Fault::RollingUpgrade.missing(&machine).is_some());
        assert!(Fault::PowerCutAll.missing(&machine).is_none());
    }
}
