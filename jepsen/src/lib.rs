//! Whole clusters under faults, and checkers of what must hold then.
//!
//! [`simulation`]: three or five nodes on one thread, everything drawn from one seed.

pub mod simulation;
