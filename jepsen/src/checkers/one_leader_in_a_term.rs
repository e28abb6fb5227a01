//! Raft's election safety: at most one node leads in a term.

use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let more = evidence.leaders.iter().filter(|(_, nodes)| nodes.len() > 1);
    more.map(|(term, nodes)| format!("nodes {nodes:?} led in term {term}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_in_a_term_are_found() {
        let mut evidence = Evidence::default();
        evidence.leaders.insert(1, [1].into());
        evidence.leaders.insert(2, [1].into());
        assert!(check(&evidence).is_empty());
        evidence.leaders.insert(2, [1, 3].into());
        assert_eq!(check(&evidence).len(), 1);
    }
}
