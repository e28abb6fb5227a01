//! What a seed leaves: the replicas at rest, and every run.

use super::nemesis::Nemesis;
use super::situation;
use crate::evidence::{Evidence, FinalRun, Replica, Violation};
use crate::workload::{self, Caller, Row};
use std::time::Duration;
use steadfast::shard::View;
use steadfast_engine::check::check_state;
use tokio::time::Instant;

/// All replicas are the same within this.
const CONVERGE: Duration = Duration::from_secs(60);
/// So often the list of a cluster that goes on changing is asked for.
const LISTS: usize = 20;

/// All work has ended: waits until the replicas are the same, and reads everything.
pub(super) async fn read(
    nemesis: &mut Nemesis,
    caller: &Caller,
    evidence: &mut Evidence,
) -> Result<(), Violation> {
    evidence.replicas = converged(nemesis).await?;
    evidence.situations = nemesis.met.clone();
    situation::noted(&evidence.journal, &mut evidence.situations);
    for (id, shard) in nemesis.cluster().doors().by_id() {
        unsound(id, &shard.view(), evidence)?;
    }
    let Some(shard) = nemesis.cluster().doors().shards().into_iter().next() else {
        return Err(Violation::new("nodes_run", "no node runs"));
    };
    let view = shard.view();
    runs(&view, workload::all_rows(caller).await?, evidence)?;
    evidence.logs = std::mem::take(&mut nemesis.logs);
    Ok(())
}

/// Work has not ended: reads what the node has that is furthest, in a moment in which nothing
/// changed, so that checkers can say more of what is wrong. `false` when there was none, or nobody
/// lists the runs. What the journal calls acknowledged was so before.
pub(super) async fn read_unended(
    nemesis: &Nemesis,
    caller: &Caller,
    evidence: &mut Evidence,
) -> Result<bool, Violation> {
    let furthest = || {
        let nodes = nemesis.cluster().doors().by_id().into_iter();
        let views = nodes.map(|(id, shard)| (id, shard.view()));
        views.max_by_key(|(_, view)| view.applied())
    };
    for _ in 0..LISTS {
        let before = furthest().map(|(_, view)| view.applied());
        let Ok(rows) = workload::all_rows(caller).await else {
            return Ok(false);
        };
        if let Some((id, view)) = furthest()
            && before == Some(view.applied())
        {
            unsound(id, &view, evidence)?;
            runs(&view, rows, evidence)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn unsound(id: u64, view: &View, evidence: &mut Evidence) -> Result<(), Violation> {
    let found = check_state(view);
    let found = found.map_err(|fault| Violation::new("state_is_sound", fault.to_string()))?;
    let found = found.into_iter().map(|what| (id, what));
    evidence.unsound.extend(found);
    Ok(())
}

fn runs(view: &View, rows: Vec<Row>, evidence: &mut Evidence) -> Result<(), Violation> {
    for (run, status) in rows {
        let run = FinalRun::read(view, &run.0, &run.1, status)?;
        evidence.runs.push(run);
    }
    Ok(())
}

/// The replicas, once all have applied the same.
async fn converged(nemesis: &mut Nemesis) -> Result<Vec<Replica>, Violation> {
    let until = Instant::now() + CONVERGE;
    loop {
        nemesis
            .watch(Instant::now() + Duration::from_secs(1))
            .await?;
        let doors = nemesis.cluster().doors();
        let members = nemesis.cluster().members();
        let views = members
            .iter()
            .filter_map(|id| Some((*id, doors.get(*id)?.shard.view())));
        let views: Vec<_> = views.collect();
        let all = views.len() == members.len();
        if all
            && !nemesis.is_changing()
            && views
                .windows(2)
                .all(|two| two[0].1.applied() == two[1].1.applied())
        {
            return views
                .iter()
                .map(|(id, view)| Replica::read(*id, view))
                .collect();
        }
        if Instant::now() >= until {
            let applied: Vec<_> = views
                .iter()
                .map(|(id, view)| (id, view.applied()))
                .collect();
            return Err(Violation::new("replicas_converge", format!("{applied:?}")));
        }
    }
}
