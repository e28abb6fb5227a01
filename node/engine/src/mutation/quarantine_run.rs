//! A run whose mutation panicked is set aside: nothing is done with it any more but reading it and
//! deleting it.

use crate::id::RunRef;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Record, WriteSet, keys};

/// Bytes of the reason that are kept.
const REASON_BYTES: usize = 1_000;

pub(crate) fn apply(set: &mut WriteSet<'_>, run: &RunRef, reason: &str) -> Result<Reply, Stop> {
    let Some(mut record) = set.run(run)? else {
        return Err(Refusal::NotFound("workflow execution not found".to_owned()).into());
    };
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let kept = if end == 0 { "unknown" } else { &reason[..end] };
    kept.clone_into(&mut record.quarantined);
    set.put(keys::run_key(run), Record::Run(record));
    Ok(Reply::Done)
}
