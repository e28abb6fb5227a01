//! I-12: a history that anybody read at any node is the beginning of the history at the end.

use crate::evidence::Evidence;
use crate::operation::Answer;
use crate::workload::hash_of;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for (operation, _, answer) in evidence.acknowledged() {
        if let Answer::Events {
            run_id,
            events,
            history,
        } = answer
        {
            let run = evidence.run(run_id);
            let stays = run.and_then(|run| run.events.get(..*events));
            if stays.map(hash_of) != Some(*history) {
                found.push(format!("{operation:?} is no beginning of the final history"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::planted::{acknowledge, evidence, run};
    use crate::operation::Asked;

    #[test]
    fn a_read_of_what_changed_later_is_found() {
        let mut planted = evidence(vec![run("w", "r")]);
        let history = hash_of(&planted.runs[0].events[..1]);
        let asked = Asked::History {
            workflow_id: "w".into(),
            run_id: "r".into(),
        };
        let read = Answer::Events {
            run_id: "r".into(),
            events: 1,
            history,
        };
        acknowledge(&mut planted, 1, asked, read);
        assert!(check(&planted).is_empty());
        planted.runs[0].events[0].event_time = None;
        assert_eq!(check(&planted).len(), 1);
        planted.runs[0].events.clear();
        assert_eq!(check(&planted).len(), 1);
    }
}
