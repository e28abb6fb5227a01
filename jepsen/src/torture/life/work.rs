//! Load on the storage room: appends, votes, entries taken back, commits, marks, purges.

use super::{Life, LifeError, Voice, index_of, read_one, take_in};
use crate::torture::report::{Counts, Report};
use crate::torture::story::{self, Text};
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use steadfast_storage::log::{Log, LogFault};
use steadfast_storage::state::StateStore;

/// Calls of the log that wait for a sync at once.
const WAITING_MAX: u64 = 16;
/// So long it waits for one of them.
const WAITS: Duration = Duration::from_millis(5);
/// So long it lets the state come to rest.
const RESTS: Duration = Duration::from_millis(300);
/// Leaderships in one life; each takes back what the one before had not committed.
const TERMS_PER_LIFE: u64 = 1_000;

/// The monotonic clock of the machine, which the one who cuts the power reads, too.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

/// What the log answered.
struct Answer {
    /// Of the entries; 0 for a vote.
    term: u64,
    last: u64,
    result: Result<(), LogFault>,
}

/// The load of one life.
pub(super) struct Work<'a> {
    voice: &'a Voice,
    log: &'a Log,
    store: &'a StateStore<Text>,
    story: u64,
    chance: ChaCha8Rng,
    first_term: u64,
    term: u64,
    calls: u64,
    waiting: u64,
    last: u64,
    /// Entries up to this one are durable.
    durable: u64,
    committed: u64,
    purged: u64,
    told_mark: u64,
    told_digest: u64,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        life: &Life,
        voice: &'a Voice,
        log: &'a Log,
        store: &'a StateStore<Text>,
    ) -> Work<'a> {
        let (answer, answers) = channel();
        let first_term = life.number * TERMS_PER_LIFE;
        let last = index_of(log.last());
        let mark = store.durable().borrow().mark;
        Work {
            voice,
            log,
            store,
            story: life.story,
            chance: ChaCha8Rng::seed_from_u64(life.seed),
            first_term,
            term: first_term,
            calls: 0,
            waiting: 0,
            last,
            // What was found is durable.
            durable: last,
            committed: index_of(store.applied()),
            purged: index_of(log.purged()),
            told_mark: mark,
            told_digest: mark,
            answers,
            answer,
        }
    }

    /// Does something.
    pub(super) fn step(&mut self) -> Result<(), LifeError> {
        self.hear(Duration::ZERO)?;
        if self.waiting >= WAITING_MAX {
            return self.hear(WAITS);
        }
        match self.chance.random_range(0..60) {
            0..=2 => self.vote(),
            3 => self.take_back(),
            4 => self.rest(),
            5..=8 => std::thread::sleep(Duration::from_micros(self.chance.random_range(0..2_000))),
            _ => self.append(),
        }
        self.commit()?;
        self.tell_marks();
        self.purge()
    }

    /// Waits for all answers; tells the last committed entry.
    pub(super) fn end(&mut self) -> Result<u64, LifeError> {
        while self.waiting > 0 {
            self.hear(WAITS)?;
        }
        Ok(self.committed)
    }

    /// Takes in what the log answered.
    fn hear(&mut self, within: Duration) -> Result<(), LifeError> {
        let mut next = self.answers.recv_timeout(within).ok();
        while let Some(answer) = next {
            answer.result?;
            self.waiting -= 1;
            // What an earlier leadership appended may have been taken back since.
            if answer.term == self.term {
                self.durable = self.durable.max(answer.last);
            }
            next = self.answers.try_recv().ok();
        }
        Ok(())
    }

    /// What the log calls when it is done.
    fn done(&mut self, term: u64, last: u64) -> (u64, steadfast_storage::log::Done) {
        let (call, answer, voice) = (self.calls, self.answer.clone(), self.voice.clone());
        self.calls += 1;
        self.waiting += 1;
        let done = move |result: Result<(), LogFault>| {
            if result.is_ok() {
                let at = now();
                voice.say(&Report::Done { call, at });
            }
            // At the end nobody listens.
            answer.send(Answer { term, last, result }).ok();
        };
        (call, Box::new(done))
    }

    fn append(&mut self) {
        let (from, term) = (self.last + 1, self.term);
        let to = self.last + self.chance.random_range(1..=4);
        let (call, done) = self.done(term, to);
        self.voice.say(&Report::Append {
            term,
            from,
            to,
            call,
        });
        let entries = (from..=to).map(|index| story::entry(self.story, term, index));
        self.log.append(entries.collect(), done);
        self.last = to;
    }

    /// Lets the keeper come to the end of its work: only then it begins to merge files.
    fn rest(&mut self) {
        let until = Instant::now() + RESTS;
        while self.store.counters().frozen > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(self.chance.random_range(0..40)));
    }

    fn vote(&mut self) {
        let (call, done) = self.done(0, 0);
        let vote = self.first_term * TERMS_PER_LIFE + call;
        self.voice.say(&Report::Vote { vote, call });
        self.log.save_vote(Bytes::from(vote.to_string()), done);
    }

    /// Another leadership takes back entries that were not committed.
    fn take_back(&mut self) {
        if self.term + 1 >= self.first_term + TERMS_PER_LIFE {
            return;
        }
        self.term += 1;
        let after = self.chance.random_range(self.committed..=self.last);
        self.voice.say(&Report::Truncate(after));
        self.log.truncate_after(Some(after));
        self.last = after;
        self.durable = self.durable.min(after);
    }

    /// Takes durable entries into the state.
    fn commit(&mut self) -> Result<(), LifeError> {
        let upto = self.chance.random_range(self.committed..=self.durable);
        for index in self.committed + 1..=upto {
            let entry = read_one(self.log, self.story, index)?;
            let term = entry.position.term;
            self.voice.say(&Report::Commit { term, index });
            self.committed = index;
            if self.chance.random_bool(0.3) {
                self.log.save_committed(Some(entry.position));
            }
            take_in(self.store, self.story, &entry)?;
        }
        Ok(())
    }

    fn tell_marks(&mut self) {
        let durable = *self.store.durable().borrow();
        if durable.mark > self.told_mark {
            self.told_mark = durable.mark;
            let index = index_of(durable.position);
            let mark = durable.mark;
            let at = now();
            self.voice.say(&Report::Durable { mark, index, at });
            let state = self.store.counters();
            self.voice.say(&Report::Counts(Counts {
                segments: self.log.counters().segments_deleted,
                deltas: state.deltas_written,
                merges: state.merges,
                sled_writes: state.index_puts + state.index_deletes,
            }));
        }
        let digest = *self.store.newest_digest().borrow();
        if let Some(known) = digest.filter(|known| known.mark > self.told_digest) {
            self.told_digest = known.mark;
            self.voice.say(&Report::Digest {
                mark: known.mark,
                index: known.position.index,
                digest: known.digest,
            });
        }
    }

    /// The log is not needed below the durable mark.
    fn purge(&mut self) -> Result<(), LifeError> {
        let durable = self.told_mark * story::ENTRIES_PER_MARK;
        let kept = self.chance.random_range(0..60);
        let upto = durable.saturating_sub(kept);
        if upto < self.purged + story::ENTRIES_PER_MARK {
            return Ok(());
        }
        let position = read_one(self.log, self.story, upto)?.position;
        self.voice.say(&Report::Purge(upto));
        self.log.purge(position);
        self.purged = upto;
        Ok(())
    }
}
