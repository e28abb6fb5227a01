//! What the process that keeps tells, a line each. What it is about to do is told before it is
//! done; what storage called durable, after.

use std::fmt;
use std::str::FromStr;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Entries go to the log.
    Append {
        /// Of all of them.
        term: u64,
        /// The first index.
        from: u64,
        /// The last index.
        to: u64,
        /// [`Report::Done`] names it.
        call: u64,
    },
    /// A vote goes to the log.
    Vote {
        /// Which.
        vote: u64,
        /// [`Report::Done`] names it.
        call: u64,
    },
    /// The entries after this one are taken back.
    Truncate(u64),
    /// The entries up to this one are not needed any more.
    Purge(u64),
    /// The log called this and all before it durable.
    Done {
        /// Which call.
        call: u64,
        /// When, in nanoseconds of the monotonic clock.
        at: u64,
    },
    /// An entry is taken into the state, for good.
    Commit {
        /// Its term.
        term: u64,
        /// Its index.
        index: u64,
    },
    /// The state called a mark durable.
    Durable {
        /// Its number.
        mark: u64,
        /// Its entry.
        index: u64,
        /// When this was seen, in nanoseconds of the monotonic clock.
        at: u64,
    },
    /// The digest of the state at a mark.
    Digest {
        /// Its number.
        mark: u64,
        /// Its entry.
        index: u64,
        /// As the index was fed.
        digest: u128,
    },
    /// What the log held at the start; its entries follow.
    FoundLog(FoundLog),
    /// One entry that was found.
    Entry {
        /// Its term.
        term: u64,
        /// Its index.
        index: u64,
        /// Of its bytes.
        hash: u64,
    },
    /// That was the log.
    LogEnd,
    /// What the state was at the start; its records follow.
    FoundState(FoundState),
    /// One record of the state.
    Record {
        /// Its key.
        key: Vec<u8>,
        /// Of its bytes.
        hash: u64,
    },
    /// That was the state as it was found.
    StateEnd,
    /// That was the state after the committed entries were taken in again.
    RebuiltEnd(u64),
    /// Work begins.
    Ready,
    /// That was the state before an orderly end.
    LastEnd(u64),
    /// All is closed in order.
    Ended,
    /// What the process did so far.
    Counts(Counts),
    /// A call of the disk failed: on what, which.
    Failed {
        /// The kind of file.
        kind: String,
        /// The call.
        call: String,
    },
    /// It cannot go on.
    Fault(String),
}

impl Report {
    /// When it was told, where that matters.
    pub(super) fn at(&self) -> Option<u64> {
        if let Report::Done { at, .. } | Report::Durable { at, .. } = self {
            return Some(*at);
        }
        None
    }

    /// Whether the log may call nothing durable any more.
    pub(super) fn breaks_the_log(&self) -> bool {
        let Report::Failed { kind, call } = self else {
            return false;
        };
        kind == "segment" && (call == "write" || call == "sync")
    }

    /// Whether it is a promise, or follows from one.
    pub(super) fn binds(&self) -> bool {
        matches!(
            self,
            Report::Done { .. }
                | Report::Durable { .. }
                | Report::Digest { .. }
                | Report::Commit { .. }
        )
    }
}

/// What the log held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FoundLog {
    /// The newest vote.
    pub vote: Option<u64>,
    /// Index of the committed hint.
    pub committed: Option<u64>,
    /// Index of the last purged entry.
    pub purged: Option<u64>,
    /// Index of the last entry.
    pub last: Option<u64>,
}

/// What the state was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FoundState {
    /// The durable mark.
    pub mark: u64,
    /// Its entry; 0 before the first.
    pub index: u64,
    /// The digest as the index has it.
    pub digest: u128,
    /// The digest of the files.
    pub recomputed: u128,
    /// Hash of what was given with the mark.
    pub meta: u64,
    /// Whether sled was taken as it was.
    pub believed: bool,
    /// Milliseconds that opening both took.
    pub took_ms: u64,
}

/// Since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segment files deleted.
    pub segments: u64,
    /// Delta files.
    pub deltas: u64,
    /// Files made of others: bases, and deltas of deltas.
    pub merges: u64,
    /// Records put into and deleted from sled.
    pub sled_writes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Append {
                term,
                from,
                to,
                call,
            } => write!(f, "append {term} {from} {to} {call}"),
            Report::Vote { vote, call } => write!(f, "vote {vote} {call}"),
            Report::Truncate(after) => write!(f, "truncate {after}"),
            Report::Purge(upto) => write!(f, "purge {upto}"),
            Report::Done { call, at } => write!(f, "done {call} {at}"),
            Report::Commit { term, index } => write!(f, "commit {term} {index}"),
            Report::Durable { mark, index, at } => write!(f, "durable {mark} {index} {at}"),
            Report::Digest {
                mark,
                index,
                digest,
            } => write!(f, "digest {mark} {index} {digest}"),
            Report::FoundLog(found) => found.fmt(f),
            Report::Entry { term, index, hash } => write!(f, "entry {term} {index} {hash}"),
            Report::LogEnd => write!(f, "log-end"),
            Report::FoundState(found) => found.fmt(f),
            Report::Record { key, hash } => {
                write!(f, "record ")?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                write!(f, " {hash}")
            }
            Report::StateEnd => write!(f, "state-end"),
            Report::RebuiltEnd(index) => write!(f, "rebuilt-end {index}"),
            Report::Ready => write!(f, "ready"),
            Report::LastEnd(index) => write!(f, "last-end {index}"),
            Report::Ended => write!(f, "ended"),
            Report::Counts(counts) => counts.fmt(f),
            Report::Failed { kind, call } => write!(f, "failed {kind} {call}"),
            Report::Fault(what) => write!(f, "fault {}", what.replace('\n', " / ")),
        }
    }
}

impl fmt::Display for FoundLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [vote, committed, purged, last] =
            [self.vote, self.committed, self.purged, self.last].map(Maybe);
        write!(f, "found-log {vote} {committed} {purged} {last}")
    }
}

impl fmt::Display for FoundState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FoundState {
            mark,
            index,
            digest,
            recomputed,
            meta,
            believed,
            took_ms,
        } = self;
        write!(f, "found-state {mark} {index} {digest} {recomputed} ")?;
        write!(f, "{meta} {believed} {took_ms}")
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            segments,
            deltas,
            merges,
            sled_writes,
        } = self;
        write!(f, "counts {segments} {deltas} {merges} {sled_writes}")
    }
}

struct Maybe(Option<u64>);

impl fmt::Display for Maybe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => write!(f, "-"),
        }
    }
}

/// A line that is none; the last line of a killed process may be cut off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a report: {0}")]
pub struct NotAReport(String);

/// The words of a line, one after the other.
struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl Words<'_> {
    fn next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn maybe(&mut self) -> Option<Option<u64>> {
        match self.0.next()? {
            "-" => Some(None),
            number => number.parse().ok().map(Some),
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let text = self.0.next()?;
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect()
    }
}

impl FromStr for Report {
    type Err = NotAReport;

    fn from_str(line: &str) -> Result<Report, NotAReport> {
        read(line).ok_or_else(|| NotAReport(line.to_owned()))
    }
}

fn read(line: &str) -> Option<Report> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut words = Words(rest.split_ascii_whitespace());
    Some(match kind {
        "append" => Report::Append {
            term: words.next()?,
            from: words.next()?,
            to: words.next()?,
            call: words.next()?,
        },
        "vote" => Report::Vote {
            vote: words.next()?,
            call: words.next()?,
        },
        "truncate" => Report::Truncate(words.next()?),
        "purge" => Report::Purge(words.next()?),
        "done" => Report::Done {
            call: words.next()?,
            at: words.next()?,
        },
        "commit" => Report::Commit {
            term: words.next()?,
            index: words.next()?,
        },
        "durable" => Report::Durable {
            mark: words.next()?,
            index: words.next()?,
            at: words.next()?,
        },
        "digest" => Report::Digest {
            mark: words.next()?,
            index: words.next()?,
            digest: words.next()?,
        },
        "log-end" => Report::LogEnd,
        "state-end" => Report::StateEnd,
        "rebuilt-end" => Report::RebuiltEnd(words.next()?),
        "ready" => Report::Ready,
        "last-end" => Report::LastEnd(words.next()?),
        "ended" => Report::Ended,
        "failed" => Report::Failed {
            kind: words.next()?,
            call: words.next()?,
        },
        "fault" => Report::Fault(rest.to_owned()),
        _ => return read_found(kind, &mut words),
    })
}

fn read_found(kind: &str, words: &mut Words<'_>) -> Option<Report> {
    Some(match kind {
        "found-log" => Report::FoundLog(FoundLog {
            vote: words.maybe()?,
            committed: words.maybe()?,
            purged: words.maybe()?,
            last: words.maybe()?,
        }),
        "entry" => Report::Entry {
            term: words.next()?,
            index: words.next()?,
            hash: words.next()?,
        },
        "found-state" => Report::FoundState(FoundState {
            mark: words.next()?,
            index: words.next()?,
            digest: words.next()?,
            recomputed: words.next()?,
            meta: words.next()?,
            believed: words.next()?,
            took_ms: words.next()?,
        }),
        "record" => Report::Record {
            key: words.bytes()?,
            hash: words.next()?,
        },
        "counts" => Report::Counts(Counts {
            segments: words.next()?,
            deltas: words.next()?,
            merges: words.next()?,
            sled_writes: words.next()?,
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let found = FoundLog {
            vote: Some(3),
            purged: Some(7),
            ..FoundLog::default()
        };
        let record = Report::Record {
            key: vec![0, 255, 16],
            hash: 9,
        };
        let append = Report::Append {
            term: 1,
            from: 2,
            to: 3,
            call: 4,
        };
        let fault = Report::Fault("a b / c".into());
        let state = Report::FoundState(FoundState {
            digest: u128::MAX,
            believed: true,
            ..FoundState::default()
        });
        for report in [Report::FoundLog(found), record, append, fault, state] {
            assert_eq!(report.to_string().parse(), Ok(report));
        }
        // A line that was cut off.
        assert!("append 1 2 3".parse::<Report>().is_err());
    }
}
