//! Whole clusters under faults, and checkers of what must hold then.
//!
//! [`processes`]: real nodes, each on a network and a disk of its own. [`simulation`]: three or five
//! nodes on one thread, everything drawn from one seed. [`torture`]: the storage room alone, whose
//! power is cut. [`workload`]: clients and workers. [`operation`]: what they note. [`evidence`]: all
//! that is left at the end. [`log_story`]: what log files tell. [`linearizability`]: a search that some
//! checkers use. [`checkers`]: one file for each promise. [`profile`]: very many seeds, over many starts.

pub mod checkers;
pub mod evidence;
pub mod linearizability;
pub mod log_story;
pub mod operation;
pub mod processes;
pub mod profile;
pub mod simulation;
pub mod stop;
pub mod torture;
pub mod workload;
