//! I-30: a call ends a second after its deadline at the latest, unless its node stood still.

use crate::evidence::Evidence;
use crate::operation::{NO_END, Outcome};

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let operations = evidence.journal.operations.iter();
    operations
        .filter(|operation| matches!(&operation.outcome, Outcome::Unknown(why) if why == NO_END))
        .map(|operation| format!("{operation:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Asked, Operation};

    #[test]
    fn a_call_without_end_is_found() {
        let mut evidence = Evidence::default();
        for (why, found) in [("the node is gone", 0), (NO_END, 1)] {
            evidence.journal.operations.push(Operation {
                invoked: Default::default(),
                returned: Default::default(),
                asked: Asked::List,
                outcome: Outcome::Unknown(why.into()),
            });
            assert_eq!(check(&evidence).len(), found, "{why}");
        }
    }
}
