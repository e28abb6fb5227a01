//! The log, and the files and index that hold the state at rest (design D4).

pub mod codec;
pub mod directory;
pub mod disk;
pub mod log;
mod position;
pub mod state;

pub use position::Position;
