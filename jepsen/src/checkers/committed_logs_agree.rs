//! I-3: an entry that a node's log holds for committed is the same in every log that holds it: of the
//! same leadership, with the same payload, before and after every restart.

use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let differ = evidence.logs.iter().filter(|(_, entries)| entries.len() > 1);
    differ
        .map(|(index, entries)| format!("entry {index} (term, leader, hash; nodes): {entries:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_with_another_payload_or_of_another_leadership_is_found() {
        let mut planted = Evidence::default();
        let mut add = |index: u64, node: u64, entry: (u64, u64, u64)| {
            let entries = planted.logs.entry(index).or_default();
            entries.entry(entry).or_default().insert(node);
            check(&planted).len()
        };
        assert_eq!(add(1, 1, (1, 1, 11)), 0);
        assert_eq!(add(1, 2, (1, 1, 11)), 0);
        assert_eq!(add(2, 1, (1, 1, 12)), 0);
        assert_eq!(add(2, 3, (1, 1, 99)), 1);
        assert_eq!(add(3, 1, (2, 1, 13)), 1);
        assert_eq!(add(3, 2, (2, 2, 13)), 2);
    }
}
