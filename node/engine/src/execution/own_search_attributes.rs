//! Search attributes that the server sets itself: which builds have worked on a run, and that its
//! workflow tasks keep failing.

use super::Execution;
use crate::proto::Proto;
use steadfast_proto::temporal::common::v1::Payload;

const BUILD_IDS: &str = "BuildIds";
const UNVERSIONED: &str = "unversioned";
/// Builds that are listed at most; later ones are left out.
const BUILDS_MAX: usize = 20;

const REPORTED_PROBLEMS: &str = "TemporalReportedProblems";
/// So many failures or time-outs in a row are a problem that operators want to find.
const PROBLEM_ATTEMPTS: i32 = 5;

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
        if builds.len() != before {
            self.set_keyword_list(BUILD_IDS, &builds);
        }
    }

    fn build_ids(&self) -> Vec<String> {
        let known = self.run.search_attributes.get(BUILD_IDS);
        known
            .and_then(|payload| serde_json::from_slice(&payload.data).ok())
            .unwrap_or_default()
    }

    /// Notes that the workflow task of this attempt went wrong.
    pub(crate) fn note_problem(&mut self, attempt: i32, category: &str, cause: &str) {
        if attempt >= PROBLEM_ATTEMPTS {
            let problem = [
                format!("category={category}"),
                format!("cause={category}Cause{cause}"),
            ];
            self.set_keyword_list(REPORTED_PROBLEMS, &problem);
        }
    }

    /// A workflow task succeeded: whatever was reported is over.
    pub(crate) fn clear_problems(&mut self) {
        self.run.search_attributes.remove(REPORTED_PROBLEMS);
    }

    fn set_keyword_list(&mut self, name: &str, values: &[String]) {
        let Ok(json) = serde_json::to_vec(values) else {
            return;
        };
        let mut payload = Payload {
            data: json.into(),
            ..Payload::default()
        };
        payload
            .metadata
            .insert("encoding".to_owned(), "json/plain".into());
        payload
            .metadata
            .insert("type".to_owned(), "KeywordList".into());
        self.run
            .search_attributes
            .insert(name.to_owned(), Proto(payload));
    }
}
