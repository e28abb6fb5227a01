//! Where the state machine runs: on its own thread in production, inline in simulation. The one
//! place of this crate that starts a thread or uses the blocking pool.

use crate::machine::StateMachine;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// How the state machine and other blocking work are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// On a thread of its own; disk work of snapshots goes to the runtime's blocking pool.
    Thread,
    /// On the calling task, so that one thread runs a whole cluster.
    Inline,
}

type Job = Box<dyn FnOnce(&mut dyn StateMachine) + Send>;

/// Calls waiting for the apply thread. Openraft has one in flight; snapshots add a few.
const QUEUE: usize = 16;

/// A handle to the state machine; calls are run one at a time in order.
#[derive(Clone)]
pub(crate) enum MachineHandle {
    /// No job means the end.
    Thread(mpsc::Sender<Option<Job>>),
    Inline(Arc<Mutex<Option<Box<dyn StateMachine>>>>),
}

impl std::fmt::Debug for MachineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineHandle")
    }
}

impl MachineHandle {
    /// Starts the machine; the receiver ends when the machine has been dropped.
    pub(crate) fn start(
        mode: ApplyMode,
        machine: impl StateMachine,
    ) -> io::Result<(MachineHandle, oneshot::Receiver<()>)> {
        let (ended, end) = oneshot::channel();
        match mode {
            ApplyMode::Thread => {
                let (jobs, queue) = mpsc::channel(QUEUE);
                std::thread::Builder::new()
                    .name("apply".to_owned())
                    .spawn(move || run(machine, queue, ended))?;
                Ok((MachineHandle::Thread(jobs), end))
            }
            // Inline the machine is dropped by `stop`: there is nobody to wait for.
            ApplyMode::Inline => {
                let machine: Box<dyn StateMachine> = Box::new(machine);
                Ok((
                    MachineHandle::Inline(Arc::new(Mutex::new(Some(machine)))),
                    end,
                ))
            }
        }
    }

    /// Runs `call` on the machine. An error means that the apply thread has ended, by a panic.
    pub(crate) async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn StateMachine) -> R + Send + 'static,
    ) -> io::Result<R> {
        match self {
            MachineHandle::Thread(jobs) => {
                let (answer, answered) = oneshot::channel();
                let job: Job = Box::new(move |machine| drop(answer.send(call(machine))));
                jobs.send(Some(job)).await.map_err(|_| stopped())?;
                answered.await.map_err(|_| stopped())
            }
            MachineHandle::Inline(machine) => {
                let result = {
                    let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                    call(&mut **machine.as_mut().ok_or_else(stopped)?)
                };
                tokio::task::yield_now().await;
                Ok(result)
            }
        }
    }

    /// Drops the machine after what is queued; later calls fail.
    pub(crate) async fn stop(&self) {
        match self {
            MachineHandle::Thread(jobs) => drop(jobs.send(None).await),
            MachineHandle::Inline(machine) => {
                drop(
                    machine
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take(),
                );
            }
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the apply thread has ended")
}

fn run(
    mut machine: impl StateMachine,
    mut queue: mpsc::Receiver<Option<Job>>,
    ended: oneshot::Sender<()>,
) {
    while let Some(Some(job)) = queue.blocking_recv() {
        job(&mut machine);
    }
    drop(machine);
    drop(ended);
}

/// Runs work that blocks on a disk, without holding up heartbeats.
pub(crate) async fn blocking<R: Send + 'static>(
    mode: ApplyMode,
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    match mode {
        ApplyMode::Thread => tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other),
        ApplyMode::Inline => Ok(work()),
    }
}
