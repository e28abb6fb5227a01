//! What the log may hold: all that it called durable, and of what came after that a beginning.

use super::report::FoundLog;
use super::story;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    /// The term of each entry; the bytes follow.
    terms: BTreeMap<u64, u64>,
    vote: Option<u64>,
    purged: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Append { term: u64, from: u64, to: u64 },
    Vote(u64),
    Truncate(u64),
    Purge(u64),
}

/// The model of one directory's log.
#[derive(Debug, Default)]
pub(super) struct LogModel {
    story: u64,
    sure: Held,
    /// What was begun since, each with its call when somebody waits for it.
    begun: VecDeque<(Action, Option<u64>)>,
    found: Option<FoundLog>,
    entries: Vec<(u64, u64, u64)>,
}

impl Held {
    fn take(&mut self, action: Action) {
        match action {
            Action::Append { term, from, to } => {
                self.terms.extend((from..=to).map(|index| (index, term)));
            }
            Action::Vote(vote) => self.vote = Some(vote),
            Action::Truncate(after) => self.terms.retain(|index, _| *index <= after),
            Action::Purge(upto) => {
                self.purged = self.purged.max(Some(upto));
                self.terms.retain(|index, _| *index > upto);
            }
        }
    }

    fn last(&self) -> Option<u64> {
        self.terms.keys().next_back().copied().or(self.purged)
    }

    fn words(&self) -> String {
        format!(
            "entries {:?} to {:?}, vote {:?}, purged to {:?}",
            self.terms.keys().next(),
            self.last(),
            self.vote,
            self.purged
        )
    }
}

impl LogModel {
    pub(super) fn new(story: u64) -> LogModel {
        LogModel {
            story,
            ..LogModel::default()
        }
    }

    pub(super) fn begins(&mut self, action: Action, call: Option<u64>) {
        self.begun.push_back((action, call));
    }

    /// The log called a call durable, and with it all before. How many entries these were.
    pub(super) fn done(&mut self, call: u64) -> Result<u64, String> {
        if !self.begun.iter().any(|(_, begun)| *begun == Some(call)) {
            return Err(format!("call {call} was answered twice, or out of order"));
        }
        let mut entries = 0;
        while let Some((action, begun)) = self.begun.pop_front() {
            self.sure.take(action);
            if let Action::Append { from, to, .. } = action {
                entries += to + 1 - from;
            }
            if begun == Some(call) {
                break;
            }
        }
        Ok(entries)
    }

    /// Whether an entry is durable.
    pub(super) fn is_sure(&self, term: u64, index: u64) -> bool {
        self.sure.terms.get(&index) == Some(&term)
    }

    /// A log that was closed in order has written everything.
    pub(super) fn closed(&mut self) {
        for (action, _) in std::mem::take(&mut self.begun) {
            self.sure.take(action);
        }
    }

    pub(super) fn found(&mut self, found: FoundLog) {
        self.found = Some(found);
        self.entries.clear();
    }

    pub(super) fn found_entry(&mut self, term: u64, index: u64, hash: u64) {
        self.entries.push((term, index, hash));
    }

    /// A life ended before it had told all that it found.
    pub(super) fn forget_half_told(&mut self) {
        self.found = None;
        self.entries.clear();
    }

    /// Compares what was found.
    pub(super) fn compare(&mut self, committed: u64) -> Result<(), String> {
        let Some(found) = self.found.take() else {
            return Err("the log's end was told without its beginning".into());
        };
        let held = self.held(&found)?;
        if found.committed.unwrap_or(0) > committed.max(found.purged.unwrap_or(0)) {
            return Err(format!(
                "the log's hint says that {:?} is committed, but {committed} is",
                found.committed
            ));
        }
        if !self.may_hold(&held) {
            return Err(format!(
                "the log has {}; durable were {}; {} calls were on their way: {:?}",
                held.words(),
                self.sure.words(),
                self.begun.len(),
                self.begun.iter().take(8).collect::<Vec<_>>()
            ));
        }
        self.sure = held;
        self.begun.clear();
        Ok(())
    }

    /// The log that was told, which must have no gap and only bytes that were written.
    fn held(&mut self, found: &FoundLog) -> Result<Held, String> {
        let mut held = Held {
            vote: found.vote,
            purged: found.purged,
            ..Held::default()
        };
        let first = found.purged.unwrap_or(0) + 1;
        for (next, (term, index, hash)) in (first..).zip(std::mem::take(&mut self.entries)) {
            if index != next {
                return Err(format!("the log has entry {index} where {next} should be"));
            }
            if story::hash(&story::entry(self.story, term, index).payload) != hash {
                return Err(format!("entry {index} of term {term} has other bytes"));
            }
            held.terms.insert(index, term);
        }
        match held.last() == found.last {
            true => Ok(held),
            false => Err(format!(
                "the log calls {:?} its last entry, {:?} is",
                found.last,
                held.last()
            )),
        }
    }

    /// Whether it is what was durable, with a beginning of what came after.
    fn may_hold(&self, held: &Held) -> bool {
        let mut may = self.sure.clone();
        if may == *held {
            return true;
        }
        for (action, _) in &self.begun {
            match *action {
                // A cut may leave the first of several entries.
                Action::Append { term, from, to } => {
                    for index in from..=to {
                        may.terms.insert(index, term);
                        if may == *held {
                            return true;
                        }
                    }
                }
                Action::Vote(_) | Action::Truncate(_) | Action::Purge(_) => may.take(*action),
            }
            if may == *held {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(term: u64, from: u64, to: u64) -> Action {
        Action::Append { term, from, to }
    }

    /// A log of ten durable entries and two begun calls.
    fn model() -> LogModel {
        let mut model = LogModel::new(1);
        model.begins(append(1, 1, 10), Some(0));
        assert_eq!(model.done(0), Ok(10));
        model.begins(Action::Vote(5), Some(1));
        model.begins(append(1, 11, 13), Some(2));
        model
    }

    fn found(model: &mut LogModel, last: u64, vote: Option<u64>) -> Result<(), String> {
        model.found(FoundLog {
            vote,
            last: Some(last),
            ..FoundLog::default()
        });
        for index in 1..=last {
            let hash = story::hash(&story::entry(1, 1, index).payload);
            model.found_entry(1, index, hash);
        }
        model.compare(0)
    }

    #[test]
    fn a_beginning_of_what_was_begun_may_be_there() {
        for (last, vote) in [(10, None), (10, Some(5)), (12, Some(5)), (13, Some(5))] {
            assert_eq!(found(&mut model(), last, vote), Ok(()), "{last} {vote:?}");
        }
    }

    #[test]
    fn what_was_durable_must_be_there_and_nothing_else() {
        // Lost, out of order, from nowhere.
        for (last, vote) in [(9, None), (11, None), (14, Some(5)), (10, Some(6))] {
            assert!(found(&mut model(), last, vote).is_err(), "{last} {vote:?}");
        }
        let mut spoiled = model();
        spoiled.found(FoundLog {
            last: Some(1),
            ..FoundLog::default()
        });
        spoiled.found_entry(1, 1, 7);
        assert!(spoiled.compare(0).is_err());
    }
}
