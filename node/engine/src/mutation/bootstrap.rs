//! The first entry of a cluster: its id, its namespaces and its configuration.

use super::set_config::write_config;
use crate::id::uuid_text;
use crate::namespace;
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;
use std::collections::BTreeMap;
use steadfast_planted::NEXT_ENGINE_VERSION;

/// The rules that a new cluster begins with.
pub const ENGINE_VERSION: u32 = 1;
/// The oldest rules that this program knows: those of the version before.
pub const OLDEST_ENGINE_VERSION: u32 = 1;
/// The newest rules that this program knows. Builds of tests know one version more than new
/// clusters begin with: a request to cancel without a reason gets one.
pub const NEWEST_ENGINE_VERSION: u32 = if NEXT_ENGINE_VERSION {
    ENGINE_VERSION + 1
} else {
    ENGINE_VERSION
};

/// A second bootstrap of the same cluster changes nothing.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    cluster_id: &str,
    namespaces: &[String],
    config: &[(String, String)],
    search_attributes: &[(String, i32)],
) -> Result<Reply, Stop> {
    if !set.meta.cluster_id.is_empty() {
        return Ok(Reply::Done);
    }
    cluster_id.clone_into(&mut set.meta.cluster_id);
    set.meta.engine_version = ENGINE_VERSION;
    let raw: BTreeMap<String, String> = config.iter().cloned().collect();
    write_config(set, raw);
    let mut names = vec![namespace::SYSTEM_NAMESPACE];
    names.extend(
        namespaces
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty()),
    );
    names.dedup();
    for name in names {
        let id = uuid_v4(set.draw());
        let mut new = namespace::plain(name, id);
        if name != namespace::SYSTEM_NAMESPACE {
            namespace::add_search_attributes(&mut new, search_attributes)?;
        }
        match namespace::insert(set, new) {
            // Named twice.
            Ok(()) | Err(Stop::Refused(_)) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(Reply::Done)
}

fn uuid_v4(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    uuid_text(&bytes)
}
