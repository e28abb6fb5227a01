//! The engine version goes up once each replica can apply the newer rules; never down.

use super::bootstrap::NEWEST_ENGINE_VERSION;
use crate::reply::{Fault, Reply, Stop};
use crate::tables::WriteSet;

pub(crate) fn apply(set: &mut WriteSet<'_>, version: u32) -> Result<Reply, Stop> {
    if version > NEWEST_ENGINE_VERSION {
        return Err(Fault::UnknownMutation(format!("engine version {version}")).into());
    }
    set.meta.engine_version = set.meta.engine_version.max(version);
    Ok(Reply::Done)
}
