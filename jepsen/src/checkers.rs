//! What must hold at the end of every simulation, one file each, named by what it holds.

#[cfg(test)]
mod planted;

use crate::evidence::{Evidence, Violation};

/// Finds what must not be.
type Check = fn(&Evidence) -> Vec<String>;

macro_rules! checkers {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// All checkers, by name.
        pub const ALL: &[(&str, Check)] = &[$((stringify!($name), $name::check)),*];
    };
}

checkers! {
    committed_logs_agree,
    starts_keep_what_was_synced,
    replicas_are_the_same,
    the_state_is_sound,
    nodes_never_go_back,
    event_ids_are_dense,
    events_are_in_legal_order,
    a_run_closes_once,
    acknowledged_starts_are_there,
    a_workflow_is_linearizable,
    runs_of_a_workflow_do_not_overlap,
    nothing_comes_from_nowhere,
    children_match_their_parents,
    a_request_id_has_one_effect,
    a_repeat_with_another_body_has_no_effect,
    acknowledged_signals_are_there_once,
    acknowledged_updates_are_there,
    a_task_is_handed_out_once,
    claims_are_linearizable,
    completions_are_fenced,
    a_workflow_task_is_completed_once,
    a_completed_activity_is_not_handed_out_again,
    workers_see_what_stays,
    reads_are_beginnings,
    activities_that_workers_get_are_scheduled,
    timers_fire_once_and_never_early,
    time_outs_are_not_early,
    replays_decide_the_same,
    queries_see_acknowledged_signals,
    lists_show_what_was_acknowledged,
    enough_has_happened,
}

/// How many timers were compared with true time, not only with the cluster's.
#[must_use]
pub fn timers_compared(evidence: &Evidence) -> usize {
    timers_fire_once_and_never_early::compared(evidence)
}

/// What is shown of one checker's findings.
const SHOWN: usize = 5;

/// Asks all.
#[must_use]
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, check) in ALL {
        let found = check(evidence);
        violations.extend(
            found
                .into_iter()
                .take(SHOWN)
                .map(|what| Violation::new(name, what)),
        );
    }
    violations
}
