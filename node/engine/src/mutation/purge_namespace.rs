//! Makes a namespace's executions past their retention go, oldest first.

use crate::effect::Effect;
use crate::id::NamespaceNumber;
use crate::reply::{Reply, Stop};
use crate::tables::{Record, WriteSet, keys, wrong_record};
use steadfast_proto::temporal::enums::v1::NamespaceState;

/// Executions that one call names at most; the caller comes again while there are more.
const RUNS_MAX: usize = 64;

/// Nothing changes here: each deletion is a mutation of its own. Of a deleted namespace all closed
/// executions go at once. This mends what a lowered retention or a lost due item left behind.
pub(crate) fn apply(set: &mut WriteSet<'_>, number: NamespaceNumber) -> Result<Reply, Stop> {
    let Some(namespace) = set.namespace(number)? else {
        return Ok(Reply::Deleting { more: false });
    };
    let deleted = namespace.state == NamespaceState::Deleted as i32;
    let rows = set.scan_prefix(&keys::visibility_prefix(number), RUNS_MAX, true)?;
    let mut found = 0;
    for (_, record) in rows {
        let Record::Visibility(row) = &*record else {
            return Err(wrong_record(&record).into());
        };
        // Rows come oldest close first, then those that still run.
        let Some(closed_at) = row.closed_at else {
            break;
        };
        if !deleted && closed_at.after(namespace.retention) > set.now {
            break;
        }
        found += 1;
        set.effects.push(Effect::DeleteRun(row.run.clone()));
    }
    Ok(Reply::Deleting {
        more: found == RUNS_MAX,
    })
}
