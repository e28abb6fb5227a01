//! I-1: a run whose start, or whose reset, was acknowledged is there, of the right workflow.

use crate::evidence::Evidence;
use crate::operation::{Answer, Asked};

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for (_, asked, answer) in evidence.acknowledged() {
        if let (
            Asked::Start { workflow_id, .. } | Asked::Reset { workflow_id, .. },
            Answer::Run(run_id),
        ) = (asked, answer)
        {
            let run = evidence.run(run_id);
            if run.is_none_or(|run| run.workflow_id != *workflow_id) {
                found.push(format!("{workflow_id} {run_id} is gone: {asked:?}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, evidence, run};

    #[test]
    fn a_lost_start_is_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        let start = || Asked::Start {
            workflow_id: "w".into(),
            request_id: "q".into(),
            signal: None,
        };
        acknowledge(&mut planted, 1, start(), Answer::Run("r".into()));
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 2, start(), Answer::Run("lost".into()));
        assert_eq!(check(&planted).len(), 1);
    }
}
