//! The deterministic executor: history in, commands out. It does no I/O and knows no clock, so that
//! the same history gives the same commands, in a worker, in a test, and in the replayer.
//!
//! A [`Run`] is one run of a workflow with its code. It goes through a history one workflow task after
//! the other: what happened since the last task is told to the code, the code runs until it waits, and
//! its commands are compared with the events that the task led to. The last task has none yet: its
//! commands are the answer.
//!
//! Words: a *command* is what code asks the server for; an *operation* is what code waits for; a
//! *task* is a future of the run, but for *workflow task*, which is the server's.

pub(crate) mod context;
pub(crate) mod local;
pub(crate) mod matching;
pub(crate) mod operation;
pub(crate) mod patch;
pub(crate) mod run;
pub(crate) mod scope;
pub(crate) mod task_set;

pub use local::{LocalActivityEnd, LocalActivityRequest};
pub use operation::{CancellationType, ChildCancellationType};
pub use run::{Completion, Run, Setup, Task, TaskFailure};
