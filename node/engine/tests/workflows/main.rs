//! Workflows, driven through `apply` over plain records.

mod chains;
mod hello_world;
mod limits;
mod memory;
mod random_walk;
mod starts;
mod story;
mod tasks;
mod world;
