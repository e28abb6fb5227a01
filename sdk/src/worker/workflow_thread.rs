//! Threads that run workflow code: each run stays on one, with its cache.
//!
//! A thread whose code neither ends nor waits for a second is given up: its task fails, another thread
//! takes its place, and the runs that it kept are replayed elsewhere.

use crate::executor::{
    Completion, LocalActivityEnd, LocalActivityRequest, Run, Setup, Task, TaskFailure,
};
use crate::workflow::definition::AnyWorkflow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Code may run so long without waiting for anything.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How often stuck threads are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Threads that may be stuck for good before the worker takes no more workflow tasks.
const STUCK_MAX: usize = 16;

/// What a thread does for a run.
pub(crate) enum Work {
    /// Go through a task.
    Task {
        workflow: Arc<dyn AnyWorkflow>,
        setup: Box<Setup>,
        task: Arc<Task>,
    },
    /// A local activity of the task has ended.
    LocalActivityEnded { end: Box<LocalActivityEnd> },
    /// Answer the task.
    Complete { task: Arc<Task> },
    /// Forget what came after this event.
    Rewind { last_event_id: i64 },
    /// Forget the run.
    Evict,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    /// The code waits.
    Blocked {
        /// Local activities to begin.
        local_activities: Vec<LocalActivityRequest>,
        /// Local activities to cancel.
        local_cancels: Vec<u32>,
        /// Local activities are under way.
        waits: bool,
    },
    /// The answer.
    Completed(Box<Completion>, bool),
    /// The run is not here: the whole history is needed.
    Missing,
    /// The task fails; the run was forgotten.
    Failed(Box<TaskFailure>),
    /// Nothing to say.
    Nothing,
}

struct Job {
    run_id: String,
    work: Work,
    reply: oneshot::Sender<Done>,
}

/// What a thread has in its hands.
struct Current {
    reply: oneshot::Sender<Done>,
    run_id: String,
}

#[derive(Default)]
struct Inbox {
    jobs: VecDeque<Job>,
    current: Option<Current>,
    /// Counts the threads of this place: an older one has been given up.
    generation: u64,
    closed: bool,
}

struct Place {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    /// Moves while code runs and waits.
    pulse: Arc<AtomicU64>,
}

/// The threads.
pub(crate) struct WorkflowThreads {
    places: Vec<Arc<Place>>,
    cached: Arc<AtomicUsize>,
    cache_max: usize,
    stuck: AtomicUsize,
    closed: Arc<AtomicBool>,
}

impl std::fmt::Debug for WorkflowThreads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WorkflowThreads")
            .field("threads", &self.places.len())
            .field("cached", &self.cached())
            .finish_non_exhaustive()
    }
}

fn lock(place: &Place) -> std::sync::MutexGuard<'_, Inbox> {
    place.inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WorkflowThreads {
    /// So many threads, with room for so many runs on all of them.
    pub(crate) fn start(threads: usize, cache_max: usize) -> Arc<Self> {
        let all = Arc::new(Self {
            places: (0..threads.max(1))
                .map(|_| {
                    Arc::new(Place {
                        inbox: Mutex::default(),
                        arrived: Condvar::new(),
                        pulse: Arc::default(),
                    })
                })
                .collect(),
            cached: Arc::default(),
            cache_max,
            stuck: AtomicUsize::new(0),
            closed: Arc::default(),
        });
        for index in 0..all.places.len() {
            all.spawn(index, 0);
        }
        let watched = Arc::downgrade(&all);
        std::thread::spawn(move || {
            let mut seen: BTreeMap<usize, (u64, Instant)> = BTreeMap::new();
            while let Some(all) = watched.upgrade() {
                if all.closed.load(Ordering::SeqCst) {
                    return;
                }
                all.look_for_stuck(&mut seen);
                drop(all);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        all
    }

    /// Runs that are kept.
    pub(crate) fn cached(&self) -> usize {
        self.cached.load(Ordering::SeqCst)
    }

    /// So many threads are stuck that no more work should be taken.
    pub(crate) fn too_many_stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst) >= STUCK_MAX
    }

    fn spawn(&self, index: usize, generation: u64) {
        let place = Arc::clone(&self.places[index]);
        let share = self.cache_max.div_ceil(self.places.len());
        let cached = Arc::clone(&self.cached);
        std::thread::spawn(move || {
            let pulse = Arc::clone(&place.pulse);
            let cache = Cache {
                runs: HashMap::new(),
                turn: 0,
                max: share,
                cached,
                pulse,
            };
            work_off(&place, generation, cache);
        });
    }

    /// Gives work to the thread of a run.
    pub(crate) async fn ask(&self, run_id: &str, work: Work) -> Done {
        let (reply, answer) = oneshot::channel();
        {
            let place = self.place(run_id);
            let mut inbox = lock(place);
            if inbox.closed {
                return Done::Missing;
            }
            inbox.jobs.push_back(Job {
                run_id: run_id.to_string(),
                work,
                reply,
            });
            place.arrived.notify_one();
        }
        // The thread died with the job: it was given up, and the run with it.
        answer.await.unwrap_or(Done::Missing)
    }

    fn place(&self, run_id: &str) -> &Place {
        let hash = run_id.bytes().fold(5381_usize, |hash, byte| {
            hash.wrapping_mul(33) ^ usize::from(byte)
        });
        &self.places[hash % self.places.len()]
    }

    /// Ends the threads when they have no more work.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for place in &self.places {
            lock(place).closed = true;
            place.arrived.notify_all();
        }
    }

    fn look_for_stuck(&self, seen: &mut BTreeMap<usize, (u64, Instant)>) {
        for (index, place) in self.places.iter().enumerate() {
            let mut inbox = lock(place);
            let pulse = place.pulse.load(Ordering::SeqCst);
            if inbox.current.is_none() {
                seen.remove(&index);
                continue;
            }
            let (last, since) = seen.entry(index).or_insert((pulse, Instant::now()));
            if *last != pulse {
                (*last, *since) = (pulse, Instant::now());
                continue;
            }
            if since.elapsed() < STUCK_AFTER {
                continue;
            }
            seen.remove(&index);
            let Some(current) = inbox.current.take() else {
                continue;
            };
            tracing::error!(
                run_id = current.run_id,
                "workflow code did not yield for {STUCK_AFTER:?}: its thread is given up"
            );
            let failure = TaskFailure::code(format!(
                "[TMPRL1101] potential deadlock: the code ran for more than {STUCK_AFTER:?} without \
                 waiting for anything. Work that takes long belongs into an activity"
            ));
            // Nobody waits any more when the receiver is gone.
            let _unheard = current.reply.send(Done::Failed(Box::new(failure)));
            inbox.generation += 1;
            let generation = inbox.generation;
            drop(inbox);
            self.stuck.fetch_add(1, Ordering::SeqCst);
            self.spawn(index, generation);
        }
    }
}

impl Drop for WorkflowThreads {
    fn drop(&mut self) {
        self.close();
    }
}

/// A run that is kept.
struct Kept {
    run: Run,
    /// The turn in which it was used last.
    used: u64,
    /// A task of it is under way.
    busy: bool,
}

/// The runs of one thread, the last used kept longest.
struct Cache {
    runs: HashMap<String, Kept>,
    turn: u64,
    max: usize,
    cached: Arc<AtomicUsize>,
    pulse: Arc<AtomicU64>,
}

impl Cache {
    fn get(&mut self, run_id: &str) -> Option<&mut Run> {
        self.turn += 1;
        let turn = self.turn;
        let kept = self.runs.get_mut(run_id)?;
        kept.used = turn;
        kept.busy = true;
        Some(&mut kept.run)
    }

    fn insert(&mut self, run_id: &str, run: Run) {
        self.remove(run_id);
        self.turn += 1;
        let (used, busy) = (self.turn, true);
        self.runs
            .insert(run_id.to_string(), Kept { run, used, busy });
        self.cached.fetch_add(1, Ordering::SeqCst);
    }

    fn remove(&mut self, run_id: &str) {
        if self.runs.remove(run_id).is_some() {
            self.cached.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The task of a run has its answer.
    fn rest(&mut self, run_id: &str) {
        if let Some(kept) = self.runs.get_mut(run_id) {
            kept.busy = false;
        }
        self.shrink();
    }

    /// Forgets the runs that were not used for longest, but for those whose task is under way.
    fn shrink(&mut self) {
        while self.runs.len() > self.max {
            let idle = self.runs.iter().filter(|(_, kept)| !kept.busy);
            let oldest = idle.min_by_key(|(_, kept)| kept.used);
            let Some(run_id) = oldest.map(|(run_id, _)| run_id.clone()) else {
                return;
            };
            self.remove(&run_id);
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.cached.fetch_sub(self.runs.len(), Ordering::SeqCst);
    }
}

fn work_off(place: &Place, generation: u64, mut cache: Cache) {
    loop {
        let (run_id, work) = {
            let mut inbox = lock(place);
            loop {
                if inbox.generation != generation {
                    return;
                }
                if let Some(job) = inbox.jobs.pop_front() {
                    inbox.current = Some(Current {
                        reply: job.reply,
                        run_id: job.run_id.clone(),
                    });
                    break (job.run_id, job.work);
                }
                if inbox.closed {
                    return;
                }
                inbox = place
                    .arrived
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
        place.pulse.fetch_add(1, Ordering::SeqCst);
        let done = step(&mut cache, &run_id, work);
        let mut inbox = lock(place);
        if inbox.generation != generation {
            return;
        }
        if let Some(current) = inbox.current.take() {
            // Nobody waits any more when the receiver is gone.
            let _unheard = current.reply.send(done);
        }
    }
}

fn step(cache: &mut Cache, run_id: &str, work: Work) -> Done {
    let result = match work {
        Work::Task {
            workflow,
            setup,
            task,
        } => {
            let whole = task.events.first().is_some_and(|event| event.event_id == 1);
            if whole {
                let pulse = Arc::clone(&cache.pulse);
                cache.insert(run_id, Run::new(workflow, *setup).with_pulse(pulse));
            }
            match cache.get(run_id) {
                None => return Done::Missing,
                Some(run) if !whole && !continues(run, &task) => {
                    cache.remove(run_id);
                    return Done::Missing;
                }
                Some(run) => run.handle(&task).map(|()| blocked(run)),
            }
        }
        Work::LocalActivityEnded { end } => match cache.get(run_id) {
            None => return Done::Missing,
            Some(run) => run.local_activity_ended(*end).map(|()| blocked(run)),
        },
        Work::Complete { task } => match cache.get(run_id) {
            None => return Done::Missing,
            Some(run) => {
                let waits = run.waits_for_local_activities();
                let completed = run.complete(&task);
                if !waits {
                    cache.rest(run_id);
                }
                completed.map(|completion| Done::Completed(Box::new(completion), waits))
            }
        },
        Work::Rewind { last_event_id } => {
            if let Some(kept) = cache.runs.get_mut(run_id) {
                kept.run.set_last_event_id(last_event_id);
            }
            Ok(Done::Nothing)
        }
        Work::Evict => {
            cache.remove(run_id);
            Ok(Done::Nothing)
        }
    };
    match result {
        Ok(done) => done,
        Err(failure) => {
            cache.remove(run_id);
            Done::Failed(Box::new(failure))
        }
    }
}

/// The task's events follow what the run knows.
fn continues(run: &Run, task: &Task) -> bool {
    match task.events.first() {
        Some(event) => event.event_id <= run.last_event_id() + 1,
        None => true,
    }
}

fn blocked(run: &mut Run) -> Done {
    Done::Blocked {
        local_activities: run.take_local_requests(),
        local_cancels: run.take_local_cancels(),
        waits: run.waits_for_local_activities(),
    }
}
