//! The one function: a mutation in, everything that follows from it out.

use crate::effect::Effect;
use crate::mutation::{Mutation, Proposed};
use crate::reply::{Fault, Refusal, Reply};
use crate::tables::{Changes, Tables, WriteSet};

/// Everything that follows from one mutation. The shell merges `changes`, then releases the reply
/// and the effects.
#[derive(Debug)]
pub struct Applied {
    /// The answer for the waiting call. A refusal comes without changes (but for the clock) and
    /// without effects, except where Temporal itself changes state and answers an error.
    pub reply: Result<Reply, Refusal>,
    /// Records to put and delete.
    pub changes: Changes,
    /// Duties of the shell.
    pub effects: Vec<Effect>,
}

/// Applies one mutation. Total and deterministic: the same tables and mutation give the same
/// result on each replica.
///
/// # Errors
/// [`Fault`] when the tables can't be read or hold nonsense: the node stops.
pub fn apply(tables: &dyn Tables, proposed: &Proposed) -> Result<Applied, Fault> {
    let mut set = WriteSet::new(
        tables,
        proposed.now,
        proposed.entropy,
        proposed.reservations.clone(),
    )?;
    let reply = dispatch(&mut set, &proposed.mutation)?;
    let (changes, effects) = set.finish();
    Ok(Applied { reply, changes, effects })
}

fn dispatch(_set: &mut WriteSet<'_>, mutation: &Mutation) -> Result<Result<Reply, Refusal>, Fault> {
    Err(Fault::UnknownMutation(format!("{mutation:?}")))
}
