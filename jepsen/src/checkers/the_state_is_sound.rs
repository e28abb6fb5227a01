//! I-9 to I-11, I-13, I-16, I-29: the engine's own invariants hold in every replica: nothing is due
//! that does not exist, no queue holds what is not to be done, every index equals a scan.

use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let unsound = evidence.unsound.iter();
    unsound.map(|(node, what)| format!("node {node}: {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_finds_is_told() {
        let mut evidence = Evidence::default();
        assert!(check(&evidence).is_empty());
        evidence.unsound.push((2, "a due item without its timer".into()));
        assert_eq!(check(&evidence).len(), 1);
    }
}
