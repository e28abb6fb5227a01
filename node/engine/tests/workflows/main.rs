//! Workflows, driven through `apply` over plain records.

#![cfg(test)]

mod chains;
mod children;
mod cost;
mod holds;
mod limits;
mod long_history;
mod memory;
mod random_walk;
mod restored;
mod starts;
mod story;
mod tasks;
mod walk_updates;
mod world;
