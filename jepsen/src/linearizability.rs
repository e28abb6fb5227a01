//! Whether calls on one thing can have happened one after the other, each at a moment between its
//! beginning and its answer: the search of Wing and Gong, with Lowe's memory of what was tried.
//!
//! A call without a known answer may have happened at any time after its beginning, or never.

use std::collections::BTreeSet;
use std::time::Duration;

/// A call, as its caller saw it.
#[derive(Debug, Clone)]
pub struct Call<O> {
    /// When it was made.
    pub invoked: Duration,
    /// When its answer was known; `None`: never.
    pub returned: Option<Duration>,
    /// What was asked and, if it is known, answered.
    pub operation: O,
}

/// How the thing behaves when calls come one after the other.
pub trait Model {
    /// What it remembers.
    type State: Clone + Ord;
    /// A call with its answer.
    type Operation;

    /// Before the first call.
    fn initial(&self) -> Self::State;
    /// The state after a call; `None` when it could not have had this answer.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder,
    /// The budget was used up before one was found.
    Unknown,
}

/// Looks for an order; tries at most `budget` states.
pub fn search<M: Model>(model: &M, calls: &[Call<M::Operation>], budget: usize) -> Found {
    let all: BTreeSet<usize> = (0..calls.len()).collect();
    let mut tried = BTreeSet::new();
    let mut open = vec![(all, model.initial())];
    while let Some((left, state)) = open.pop() {
        // Calls that begin after another's answer come after it.
        let ends = left.iter().filter_map(|at| calls[*at].returned);
        let Some(first_end) = ends.min() else {
            return Found::Order;
        };
        if tried.len() >= budget {
            return Found::Unknown;
        }
        if !tried.insert((left.clone(), state.clone())) {
            continue;
        }
        let next = left.iter().filter(|at| calls[**at].invoked <= first_end);
        for at in next.rev() {
            if let Some(after) = model.step(&state, &calls[*at].operation) {
                let mut rest = left.clone();
                rest.remove(at);
                open.push((rest, after));
            }
        }
    }
    Found::NoOrder
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: writes, and reads with what they read.
    struct Register;

    #[derive(Debug, Clone)]
    enum Operation {
        Write(u32),
        Read(u32),
    }
    use Operation::{Read, Write};

    impl Model for Register {
        type State = u32;
        type Operation = Operation;

        fn initial(&self) -> u32 {
            0
        }

        fn step(&self, state: &u32, operation: &Operation) -> Option<u32> {
            match operation {
                Write(value) => Some(*value),
                Read(value) => (value == state).then_some(*value),
            }
        }
    }

    fn call(invoked: u64, returned: u64, operation: Operation) -> Call<Operation> {
        Call {
            invoked: Duration::from_secs(invoked),
            returned: (returned > 0).then(|| Duration::from_secs(returned)),
            operation,
        }
    }

    fn found(calls: &[Call<Operation>]) -> Found {
        search(&Register, calls, 1_000)
    }

    #[test]
    fn a_stale_read_has_no_order() {
        let write = call(1, 2, Write(1));
        assert_eq!(found(&[write.clone(), call(3, 4, Read(1))]), Found::Order);
        assert_eq!(found(&[write, call(3, 4, Read(0))]), Found::NoOrder);
        // While the write is under way either may be read, but not back and forth.
        let slow = call(1, 9, Write(1));
        let reads = |first, second| {
            [
                slow.clone(),
                call(2, 3, Read(first)),
                call(4, 5, Read(second)),
            ]
        };
        assert_eq!(found(&reads(0, 1)), Found::Order);
        assert_eq!(found(&reads(1, 0)), Found::NoOrder);
    }

    #[test]
    fn a_write_without_an_answer_happens_late_or_never() {
        let unknown = call(1, 0, Write(1));
        let reads = [call(2, 3, Read(0)), call(8, 9, Read(1))];
        assert_eq!(
            found(&[&reads[..], std::slice::from_ref(&unknown)].concat()),
            Found::Order
        );
        assert_eq!(found(&[call(2, 3, Read(0)), unknown]), Found::Order);
        assert_eq!(found(&reads), Found::NoOrder);
    }

    #[test]
    fn a_search_that_takes_too_long_is_no_success() {
        let calls: Vec<_> = (0..12).map(|value| call(1, 9, Write(value))).collect();
        let calls = [&calls[..], &[call(10, 11, Read(99))]].concat();
        assert_eq!(found(&calls), Found::Unknown);
    }
}
