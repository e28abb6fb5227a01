//! The log, and the files and index that hold the state at rest (design D4).

pub mod disk;
mod position;
pub mod state;

pub use position::Position;
