//! Transition tables: what each thing that a run holds may become, as data that tests can count.
//!
//! A table stands at the top of the file that drives the thing, as a module `table` made by
//! [`transitions!`], and is named in [`TABLES`]. Code that takes a row says so with
//! `set.took(&table::ROW)` where it changes the state; [`crate::Applied::transitions`] tells what a
//! mutation took. `tests/scripts.rs` fails when a row of any table was taken by no script, so a new
//! row needs a script, and a row that can't happen has to go.
//!
//! To add a table: write the module, call `took` at each change, add its `ROWS` to [`TABLES`].

use crate::command::timer;
use crate::execution::{activity, child, external, update, workflow_task};

/// One row: from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transition {
    /// The thing's name.
    pub table: &'static str,
    /// The state before; `-` before it exists.
    pub from: &'static str,
    /// What happens.
    pub by: &'static str,
    /// The state after; `-` when it is gone.
    pub to: &'static str,
    /// Events that this writes; empty for none.
    pub events: &'static str,
}

impl std::fmt::Display for Transition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            table,
            from,
            by,
            to,
            events,
        } = self;
        write!(formatter, "{table}: {from} -> {to}, {by} ({events})")
    }
}

/// All tables.
pub const TABLES: [&[&Transition]; 6] = [
    workflow_task::table::ROWS,
    activity::table::ROWS,
    timer::table::ROWS,
    child::table::ROWS,
    external::table::ROWS,
    update::table::ROWS,
];

/// Makes a table: a constant for each row, and `ROWS`.
macro_rules! transitions {
    ($table:literal: $($name:ident: $from:literal => $to:literal, $by:literal, $events:literal;)+) => {
        $(
            pub(crate) const $name: crate::transition::Transition = crate::transition::Transition {
                table: $table,
                from: $from,
                by: $by,
                to: $to,
                events: $events,
            };
        )+
        pub(crate) const ROWS: &[&crate::transition::Transition] = &[$(&$name),+];
    };
}
pub(crate) use transitions;
