//! Takes in what was told, life after life, and says what must not be.

use super::log_model::{Action, LogModel};
use super::report::{Counts, Report};
use super::state_model::StateModel;
use super::verdict::Tally;

/// The model of one directory.
#[derive(Debug, Default)]
pub(super) struct Model {
    log: LogModel,
    state: StateModel,
    /// Term and index of entries that were committed when the power was being cut: they may be.
    perhaps: Vec<(u64, u64)>,
}

impl Model {
    /// Of an empty directory.
    pub(super) fn new(story: u64) -> Model {
        Model {
            log: LogModel::new(story),
            state: StateModel::new(story),
            perhaps: Vec::new(),
        }
    }

    /// Index of the last committed entry.
    pub(super) fn committed(&self) -> u64 {
        self.state.committed()
    }

    /// Takes in one life, whose power was cut at a moment. What storage called durable before binds
    /// it. Afterwards every call fails, so it must not call anything durable; only the one sync that
    /// was under way may still succeed, and what it wrote may be there or not: the kernel's cut of a
    /// file system is not one instant.
    pub(super) fn live(
        &mut self,
        told: Vec<Report>,
        cut_at: Option<u64>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let mut counts = Counts::default();
        let cut_at = cut_at.unwrap_or(u64::MAX);
        let (mut late, mut broken) = (false, false);
        for report in told {
            late |= report.at().is_some_and(|at| at >= cut_at);
            broken |= report.breaks_the_log();
            if broken && let Report::Done { call, .. } = report {
                return Err(format!(
                    "call {call} was called durable after the log had failed"
                ));
            }
            match (late, report.binds()) {
                (true, true) => {
                    tally.late += 1;
                    if let Report::Commit { term, index } = report {
                        self.perhaps.push((term, index));
                    }
                }
                (true, false) | (false, _) => self.take(report, tally, &mut counts)?,
            }
        }
        tally.add(counts);
        self.log.forget_half_told();
        self.state.forget_half_told();
        Ok(())
    }

    fn take(
        &mut self,
        report: Report,
        tally: &mut Tally,
        counts: &mut Counts,
    ) -> Result<(), String> {
        match report {
            Report::Append {
                term,
                from,
                to,
                call,
            } => self
                .log
                .begins(Action::Append { term, from, to }, Some(call)),
            Report::Vote { vote, call } => {
                self.log.begins(Action::Vote(vote), Some(call));
                tally.votes += 1;
            }
            Report::Truncate(after) => {
                self.log.begins(Action::Truncate(after), None);
                tally.truncations += 1;
            }
            Report::Purge(upto) => {
                self.log.begins(Action::Purge(upto), None);
                tally.purges += 1;
            }
            Report::Done { call, .. } => tally.entries += self.log.done(call)?,
            Report::Commit { term, index } => {
                if !self.log.is_sure(term, index) {
                    return Err(format!("entry {index} was committed before it was durable"));
                }
                self.state.commit(term, index)?;
            }
            Report::Durable { mark, index, .. } => {
                self.state.durable(mark, index)?;
                tally.marks += 1;
            }
            Report::Digest {
                mark,
                index,
                digest,
            } => self.state.digest(mark, index, digest)?,
            Report::FoundLog(found) => self.log.found(found),
            Report::Entry { term, index, hash } => self.log.found_entry(term, index, hash),
            Report::LogEnd => {
                let perhaps = self.perhaps.last().map_or(0, |(_, index)| *index);
                self.log.compare(self.state.committed().max(perhaps))?;
            }
            Report::FoundState(found) => {
                tally.opened(&found);
                for (term, index) in std::mem::take(&mut self.perhaps) {
                    if index <= found.index && index > self.state.committed() {
                        self.state.commit(term, index)?;
                    }
                }
                self.state.found(found);
            }
            Report::Record { key, hash } => self.state.found_record(key, hash),
            Report::StateEnd => self.state.compare_found()?,
            Report::RebuiltEnd(index) | Report::LastEnd(index) => {
                self.state.compare_whole(index)?;
            }
            Report::Ready | Report::Fault(_) => {}
            Report::Ended => self.log.closed(),
            Report::Counts(now) => *counts = now,
            Report::Failed { kind, call } => tally.met(format!("{kind} {call}")),
        }
        Ok(())
    }
}
