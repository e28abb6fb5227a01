//! I-4, I-15: replicas that have applied the same entries hold the same records.

use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for two in evidence.replicas.windows(2) {
        let (a, b) = (&two[0], &two[1]);
        if a.applied != b.applied {
            found.push(format!("nodes {} and {} have not applied the same", a.node, b.node));
        }
        let differs = a.records.iter().zip(&b.records).find(|(a, b)| a != b);
        if let Some((of_a, of_b)) = differs {
            found.push(format!("node {} has {of_a:?}, node {} {of_b:?}", a.node, b.node));
        } else if a.records.len() != b.records.len() {
            let (a_len, b_len) = (a.records.len(), b.records.len());
            found.push(format!("node {} has {a_len} records, {} {b_len}", a.node, b.node));
        }
    }
    found
}
