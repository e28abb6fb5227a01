//! I-1, I-5: a node that starts has all of its log that had been synced before; one that cannot, since
//! its disk is damaged, does not start.

use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let shortened = evidence.shortened.iter();
    shortened.map(|log| format!("{log:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_story::Shortened;

    #[test]
    fn a_log_that_a_start_made_shorter_is_found() {
        let mut planted = Evidence::default();
        assert!(check(&planted).is_empty());
        planted.shortened.push(Shortened {
            node: 1,
            synced: (2, 500),
            end: (2, 100),
        });
        assert_eq!(check(&planted).len(), 1);
    }
}
