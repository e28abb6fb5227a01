//! Auto reset points: where each build of a workflow's workers first completed a workflow task.

use super::Execution;
use crate::reply::Fault;
use crate::tables::{ResetPoint, Run};
use crate::time::Timestamp;
use steadfast_proto::temporal::workflow::v1::{ResetPointInfo, ResetPoints};

/// Points that a run holds at most; the oldest is dropped for a new one.
const POINTS_MAX: usize = 20;
/// A build that calls itself by more bytes gets no point: the points live in the run's record.
const BUILD_BYTES_MAX: usize = 1_000;

impl Execution<'_, '_> {
    /// Adds a point when this build has none in the chain yet.
    pub(crate) fn note_reset_point(
        &mut self,
        binary_checksum: &str,
        build_id: &str,
        completed_event_id: i64,
    ) {
        let points = &mut self.run.reset_points;
        let known = points
            .iter()
            .any(|point| point.binary_checksum == binary_checksum && point.build_id == build_id);
        if known || binary_checksum.len().max(build_id.len()) > BUILD_BYTES_MAX {
            return;
        }
        if points.len() >= POINTS_MAX {
            points.remove(0);
        }
        points.push(ResetPoint {
            binary_checksum: binary_checksum.to_owned(),
            build_id: build_id.to_owned(),
            run_id: String::new(),
            completed_event_id,
            created_at: self.set.now,
            expires_at: Timestamp(0),
        });
    }

    /// What the next run of the chain begins with: this run's own points last as long as it will.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn reset_points_for_next_run(&self) -> Result<Option<ResetPoints>, Fault> {
        if self.run.reset_points.is_empty() {
            return Ok(None);
        }
        let expires_at = self.set.now.after(self.retention()?);
        let mut carried = reset_points(&self.run);
        for (point, own) in carried.points.iter_mut().zip(&self.run.reset_points) {
            if own.run_id.is_empty() {
                point.expire_time = Some(expires_at.to_proto());
            }
        }
        Ok(Some(carried))
    }
}

/// The points that a started event brings along.
pub(super) fn carried_reset_points(carried: Option<&ResetPoints>) -> Vec<ResetPoint> {
    let points = carried.map_or(&[][..], |carried| &carried.points);
    let at =
        |time: Option<&prost_types::Timestamp>| time.map_or(Timestamp(0), Timestamp::from_proto);
    #[expect(deprecated, reason = "older workers name their build by a checksum")]
    let stored = |point: &ResetPointInfo| ResetPoint {
        binary_checksum: point.binary_checksum.clone(),
        build_id: point.build_id.clone(),
        run_id: point.run_id.clone(),
        completed_event_id: point.first_workflow_task_completed_id,
        created_at: at(point.create_time.as_ref()),
        expires_at: at(point.expire_time.as_ref()),
    };
    points.iter().take(POINTS_MAX).map(stored).collect()
}

/// A run's points as the API shows them.
#[must_use]
pub fn reset_points(run: &Run) -> ResetPoints {
    #[expect(deprecated, reason = "older workers name their build by a checksum")]
    let shown = |point: &ResetPoint| ResetPointInfo {
        build_id: point.build_id.clone(),
        binary_checksum: point.binary_checksum.clone(),
        run_id: if point.run_id.is_empty() {
            run.run_id.clone()
        } else {
            point.run_id.clone()
        },
        first_workflow_task_completed_id: point.completed_event_id,
        create_time: Some(point.created_at.to_proto()),
        expire_time: (point.expires_at != Timestamp(0)).then(|| point.expires_at.to_proto()),
        // Only a pending child or external request makes a point unusable; there are none yet.
        resettable: true,
    };
    ResetPoints {
        points: run.reset_points.iter().map(shown).collect(),
    }
}
