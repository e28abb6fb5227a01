//! The tasks of one run and their order: woken first, polled first. Nothing else decides.

use futures::future::LocalBoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

/// Which of the tasks; the first is the workflow's own.
pub(crate) type TaskId = u64;

/// Futures of one run, polled on one thread.
pub(crate) struct TaskSet {
    tasks: BTreeMap<TaskId, Task>,
    next: TaskId,
    ready: Arc<Ready>,
}

struct Task {
    future: LocalBoxFuture<'static, ()>,
    waker: Waker,
}

/// Tasks that were woken, in order.
struct Ready {
    queue: Mutex<VecDeque<TaskId>>,
    /// Where the run is polled now; a wake from anywhere else is not the workflow's own.
    polling: Mutex<Option<ThreadId>>,
    woken_from_outside: AtomicBool,
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let polling = *lock(&self.ready.polling);
        if polling != Some(std::thread::current().id()) {
            self.ready.woken_from_outside.store(true, Ordering::SeqCst);
            return;
        }
        let mut queue = lock(&self.ready.queue);
        if !queue.contains(&self.id) {
            queue.push_back(self.id);
        }
    }
}

/// A panic under one of these locks leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskSet {
    pub(crate) fn new() -> Self {
        Self {
            tasks: BTreeMap::new(),
            next: 0,
            ready: Arc::new(Ready {
                queue: Mutex::default(),
                polling: Mutex::default(),
                woken_from_outside: AtomicBool::new(false),
            }),
        }
    }

    /// Adds a task, behind all that are ready.
    pub(crate) fn push(&mut self, future: LocalBoxFuture<'static, ()>) -> TaskId {
        let id = self.next;
        self.next += 1;
        let ready = Arc::clone(&self.ready);
        let waker = Waker::from(Arc::new(TaskWaker { id, ready }));
        self.tasks.insert(id, Task { future, waker });
        lock(&self.ready.queue).push_back(id);
        id
    }

    /// Marks this thread as the one that polls, until the guard is dropped.
    pub(crate) fn enter(&self) -> Polling {
        let here = Some(std::thread::current().id());
        let before = std::mem::replace(&mut *lock(&self.ready.polling), here);
        Polling(Arc::clone(&self.ready), before)
    }

    /// Polls the first task that is ready; nothing when none is.
    pub(crate) fn poll_next(&mut self) -> Option<(TaskId, Poll<()>)> {
        loop {
            let id = lock(&self.ready.queue).pop_front()?;
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            let waker = task.waker.clone();
            let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                self.tasks.remove(&id);
            }
            return Some((id, polled));
        }
    }

    /// Something woke a task while the run was not polled, or from another thread: code waits for
    /// what is not the workflow's own, which no replay could repeat.
    pub(crate) fn woken_from_outside(&self) -> bool {
        self.ready.woken_from_outside.load(Ordering::SeqCst)
    }

    /// Tasks that have not ended.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Drops all tasks.
    pub(crate) fn clear(&mut self) {
        self.tasks.clear();
        lock(&self.ready.queue).clear();
    }
}

/// While it lives, this thread polls the run.
pub(crate) struct Polling(Arc<Ready>, Option<ThreadId>);

impl Drop for Polling {
    fn drop(&mut self) {
        *lock(&self.0.polling) = self.1;
    }
}

impl fmt::Debug for TaskSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskSet")
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
