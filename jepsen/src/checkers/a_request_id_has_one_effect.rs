//! I-21: all acknowledgements of one start or reset, told apart by its request id, name one run.

use crate::evidence::Evidence;
use crate::operation::{Answer, Asked};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut runs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, asked, answer) in evidence.acknowledged() {
        if let (
            Asked::Start { request_id, .. } | Asked::Reset { request_id, .. },
            Answer::Run(run_id),
        ) = (asked, answer)
        {
            runs.entry(request_id).or_default().insert(run_id);
        }
    }
    runs.iter()
        .filter(|(_, runs)| runs.len() > 1)
        .map(|(request_id, runs)| format!("request {request_id} has runs {runs:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, evidence};

    #[test]
    fn two_runs_of_one_request_are_found() {
        let mut planted = evidence(Vec::new());
        let start = || Asked::Start {
            workflow_id: "w".into(),
            request_id: "q".into(),
            signal: None,
        };
        acknowledge(&mut planted, 1, start(), Answer::Run("r".into()));
        acknowledge(&mut planted, 2, start(), Answer::Run("r".into()));
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 3, start(), Answer::Run("another".into()));
        assert_eq!(check(&planted).len(), 1);
    }
}
