//! The binary: everything is in the library, so that tests reach it.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A workflow is thousands of small allocations, made by one thread and freed by another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    steadfast::cli::run(std::env::args_os().collect())
}
