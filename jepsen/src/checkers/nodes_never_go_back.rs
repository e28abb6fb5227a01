//! I-5: in a node's life nothing that it knows goes back, and purged <= applied <= committed <=
//! last; a term that it knew for a while it knows after a restart, too, and at the end it is as far
//! as it ever was.

use crate::evidence::{Evidence, Observation};
use std::collections::BTreeMap;
use std::time::Duration;

/// A term may be known before it is written; a slow disk, or one that stands still, takes so long.
const WRITTEN: Duration = Duration::from_secs(25);

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut nodes: BTreeMap<u64, Vec<&Observation>> = BTreeMap::new();
    for seen in &evidence.observations {
        nodes.entry(seen.node).or_default().push(seen);
    }
    for seen in nodes.values() {
        for two in seen.windows(2) {
            let (before, now) = (two[0], two[1]);
            if before.life == now.life && went_back(before, now) {
                found.push(format!("{before:?}, then {now:?}"));
            }
        }
        found.extend(seen.iter().filter(|it| !in_order(it)).map(|it| format!("{it:?}")));
        found.extend(forgotten(seen));
    }
    for replica in &evidence.replicas {
        let seen = nodes.get(&replica.node).into_iter().flatten();
        let furthest = seen.map(|it| it.applied).max().unwrap_or_default();
        if replica.applied < furthest {
            let (node, applied) = (replica.node, replica.applied);
            found.push(format!("node {node} ends at {applied}, was at {furthest}"));
        }
    }
    found
}

fn went_back(before: &Observation, now: &Observation) -> bool {
    now.term < before.term
        || now.committed < before.committed
        || now.applied < before.applied
        || now.snapshot < before.snapshot
        || now.purged < before.purged
}

fn in_order(seen: &Observation) -> bool {
    seen.purged <= seen.applied && seen.committed <= seen.last.max(seen.snapshot)
}

/// Terms that a life began without, though the life before had known them for long.
fn forgotten(seen: &[&Observation]) -> Vec<String> {
    let mut found = Vec::new();
    // The term that was known, and since when.
    let mut known: Option<(u64, Duration)> = None;
    for two in seen.windows(2) {
        let (before, now) = (two[0], two[1]);
        if known.is_none_or(|(term, _)| term < before.term) {
            known = Some((before.term, before.at));
        }
        if let Some((term, since)) = known
            && before.life != now.life
            && now.term < term
            && before.at.saturating_sub(since) > WRITTEN
        {
            found.push(format!("node {} knew term {term}, then {now:?}", now.node));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: u64, life: u32, term: u64, applied: u64) -> Observation {
        Observation {
            at: Duration::from_secs(at),
            node: 1,
            life,
            term,
            applied,
            last: 9,
            committed: 9,
            ..Observation::default()
        }
    }

    fn found(observations: Vec<Observation>) -> usize {
        check(&Evidence {
            observations,
            ..Evidence::default()
        })
        .len()
    }

    #[test]
    fn a_node_that_goes_back_in_its_life_is_found() {
        assert_eq!(found(vec![seen(1, 0, 2, 5), seen(2, 0, 2, 6)]), 0);
        assert_eq!(found(vec![seen(1, 0, 2, 5), seen(2, 0, 2, 4)]), 1);
        assert_eq!(found(vec![seen(1, 0, 2, 5), seen(2, 0, 1, 5)]), 1);
    }

    #[test]
    fn a_term_forgotten_over_a_restart_is_found() {
        let before = [seen(1, 0, 2, 5), seen(60, 0, 2, 6)];
        assert_eq!(found([&before[..], &[seen(61, 1, 2, 0)]].concat()), 0);
        assert_eq!(found([&before[..], &[seen(61, 1, 1, 0)]].concat()), 1);
        let fresh = [seen(59, 0, 2, 5), seen(60, 0, 2, 6)];
        assert_eq!(found([&fresh[..], &[seen(61, 1, 1, 0)]].concat()), 0);
    }

    #[test]
    fn a_log_purged_beyond_what_is_applied_is_found() {
        let mut purged = seen(1, 0, 2, 5);
        purged.purged = 6;
        assert_eq!(found(vec![purged]), 1);
    }
}
