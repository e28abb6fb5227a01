//! I-29: a list shows each run whose start was acknowledged before the list was asked for; and the
//! last list shows exactly the runs that there are.

use crate::evidence::Evidence;
use crate::operation::{Answer, Asked};
use std::time::Duration;
use steadfast_engine::tables::Record;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut started: Vec<(Duration, &str)> = Vec::new();
    for (operation, asked, answer) in evidence.acknowledged() {
        if let (Asked::Start { .. } | Asked::Reset { .. }, Answer::Run(run_id)) = (asked, answer) {
            started.push((operation.returned, run_id));
        }
    }
    for (operation, _, answer) in evidence.acknowledged() {
        if let Answer::Rows(rows) = answer {
            let before = started.iter().filter(|(at, _)| *at < operation.invoked);
            for (at, run_id) in before {
                if !rows.contains_key(*run_id) {
                    found.push(format!(
                        "the list of {:?} lacks {run_id}, started before {at:?}",
                        operation.invoked
                    ));
                }
            }
        }
    }
    if let Some(replica) = evidence.replicas.first() {
        let records = replica.records.iter();
        let runs = records.filter(|(_, record)| matches!(**record, Record::Run(_)));
        let (runs, listed) = (runs.count(), evidence.runs.len());
        if runs != listed {
            found.push(format!("{runs} runs, {listed} of them in the list"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, evidence, run};

    #[test]
    fn a_list_that_lacks_a_run_is_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        let start = Asked::Start {
            workflow_id: "w".into(),
            request_id: "q".into(),
            signal: None,
        };
        acknowledge(&mut planted, 3, start, Answer::Run("r".into()));
        acknowledge(&mut planted, 1, Asked::List, Answer::Rows([].into()));
        let row = [("r".to_owned(), 1)];
        acknowledge(&mut planted, 9, Asked::List, Answer::Rows(row.into()));
        assert!(check(&planted).is_empty());
        acknowledge(&mut planted, 9, Asked::List, Answer::Rows([].into()));
        assert_eq!(check(&planted).len(), 1);
    }
}
