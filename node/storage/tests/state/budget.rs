//! What a workflow costs the index over its whole life.

use super::fixture::{Rig, Text, family_key, grouping, run_key};
use steadfast_storage::state::StateOptions;

const WORKFLOWS: u32 = 2_000;
const PER_MARK: u32 = 500;

fn rest(rig: &mut Rig) {
    rig.mark();
    rig.keeper.settle().unwrap();
}

#[test]
fn a_small_workflow_costs_at_most_three_index_writes_until_it_is_deleted() {
    let mut rig = Rig::new(StateOptions::new(grouping));
    for workflow in 0..WORKFLOWS {
        // A task and a timer, born and dead between two marks.
        let short_lived = [
            family_key(8, u64::from(workflow)),
            family_key(9, u64::from(workflow)),
        ];
        rig.apply(
            short_lived
                .iter()
                .map(|key| (key.clone(), Some(Text(vec![0; 40]))))
                .collect(),
        );
        let mut changes: Vec<_> = (0..12)
            .map(|record| (run_key(workflow, record), Some(Text(vec![1; 300]))))
            .collect();
        // Visibility comes newest first, expiry oldest first.
        changes.push((
            family_key(1, u64::from(u32::MAX - workflow)),
            Some(Text(vec![2; 130])),
        ));
        changes.push((family_key(2, u64::from(workflow)), Some(Text(vec![3; 30]))));
        changes.extend(short_lived.map(|key| (key, None)));
        rig.apply(changes);
        if (workflow + 1) % PER_MARK == 0 {
            rest(&mut rig);
        }
    }
    let born = rig.store.counters();
    for workflow in 0..WORKFLOWS {
        let mut changes: Vec<_> = (0..12)
            .map(|record| (run_key(workflow, record), None))
            .collect();
        changes.push((family_key(1, u64::from(u32::MAX - workflow)), None));
        changes.push((family_key(2, u64::from(workflow)), None));
        rig.apply(changes);
        if (workflow + 1) % PER_MARK == 0 {
            rest(&mut rig);
        }
    }
    let counters = rig.store.counters();
    let writes = counters.index_puts + counters.index_deletes;
    let each = |writes: u64| writes * 100 / u64::from(WORKFLOWS);
    let birth = each(born.index_puts + born.index_deletes);
    assert!(
        each(writes) <= 300,
        "{} hundredths of a write, {birth} of them for birth",
        each(writes)
    );
    // And as measured: one put and one delete of the packed run, little for the rest.
    assert!(
        each(writes) <= 225,
        "{} hundredths of a write, {birth} of them for birth",
        each(writes)
    );
    let digest = rig.store.digests().last().unwrap().digest;
    assert_eq!(digest, 0, "an empty state");
}

#[test]
fn what_was_born_and_died_between_two_marks_reaches_neither_delta_nor_index() {
    let mut rig = Rig::new(StateOptions::new(grouping));
    rig.apply(vec![(family_key(1, 0), Some(Text(vec![1])))]);
    rest(&mut rig);
    let before = rig.store.counters();
    for number in 1..200 {
        rig.apply(vec![
            (family_key(1, number), Some(Text(vec![7; 500]))),
            (run_key(1, 1), Some(Text(vec![7; 500]))),
        ]);
        rig.apply(vec![(family_key(1, number), None), (run_key(1, 1), None)]);
    }
    rest(&mut rig);
    let after = rig.store.counters();
    assert!(
        after.delta_bytes - before.delta_bytes < 120,
        "an empty delta"
    );
    assert_eq!(
        after.index_puts - before.index_puts,
        1,
        "only the note that the mark is complete"
    );
    assert_eq!(after.index_deletes, before.index_deletes);
}
