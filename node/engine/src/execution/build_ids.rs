//! The search attribute `BuildIds`: which builds have worked on a run.

use super::Execution;
use crate::proto::Proto;
use steadfast_proto::temporal::common::v1::Payload;

const NAME: &str = "BuildIds";
const UNVERSIONED: &str = "unversioned";
/// Builds that are listed at most; later ones are left out.
const BUILDS_MAX: usize = 20;

impl Execution<'_, '_> {
    /// Lists the build of a worker that completed a workflow task without versioning.
    pub(crate) fn note_build_id(&mut self, build_id: Option<&str>) {
        let mut builds = self.build_ids();
        let before = builds.len();
        let mut note = |build: String| {
            if !builds.contains(&build) && builds.len() < BUILDS_MAX {
                builds.push(build);
            }
        };
        note(UNVERSIONED.to_owned());
        if let Some(build_id) = build_id.filter(|build_id| !build_id.is_empty()) {
            note(format!("{UNVERSIONED}:{build_id}"));
        }
        if builds.len() == before {
            return;
        }
        let Ok(json) = serde_json::to_vec(&builds) else { return };
        let mut payload = Payload { data: json.into(), ..Payload::default() };
        payload.metadata.insert("encoding".to_owned(), "json/plain".into());
        payload.metadata.insert("type".to_owned(), "KeywordList".into());
        self.run.search_attributes.insert(NAME.to_owned(), Proto(payload));
    }

    fn build_ids(&self) -> Vec<String> {
        let known = self.run.search_attributes.get(NAME);
        known.and_then(|payload| serde_json::from_slice(&payload.data).ok()).unwrap_or_default()
    }
}
