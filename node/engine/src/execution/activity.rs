//! Activities of a run: what each state may become, and what that writes.
//!
//! The Started event is written just before the closing event, with the time at which the last
//! attempt started: attempts before it leave no event. While a worker has the workflow task both
//! are buffered.

pub(crate) mod table {
    crate::transition::transitions! { "activity":
        SCHEDULED: "-" => "queued", "SCHEDULE_ACTIVITY_TASK", "Scheduled";
        RESTORED: "-" => "queued", "a reset to a point where it was pending", "";
        STARTED: "queued" => "started", "a claim", "";
        STARTED_EAGERLY: "queued" => "started", "the completion that scheduled it asks for it", "";
        PUT_BACK: "started" => "queued", "its poller had left; same attempt", "";
        HEARTBEAT: "started" => "started", "a heartbeat", "";
        CANCEL_REQUESTED: "started" => "started", "REQUEST_CANCEL_ACTIVITY_TASK", "CancelRequested";
        CANCELED_WAITING: "queued, back-off" => "-", "REQUEST_CANCEL_ACTIVITY_TASK", "CancelRequested, Canceled";
        BACKED_OFF: "started" => "back-off", "the attempt fails or times out and may be retried", "";
        NEXT_ATTEMPT: "back-off" => "queued", "its time comes", "";
        COMPLETED: "started" => "-", "completed", "Started, Completed";
        COMPLETED_WAITING: "queued, back-off" => "-", "completed by id", "Started, Completed";
        FAILED: "started" => "-", "fails for good", "Started, Failed";
        CANCELED: "started" => "-", "canceled by its worker", "Started, Canceled";
        TIMED_OUT: "started" => "-", "times out for good", "Started, TimedOut";
        TIMED_OUT_WAITING: "queued, back-off" => "-", "schedule-to-start or -close time-out", "TimedOut";
    }
}

mod ending;
mod target;
pub(crate) mod timeout;

pub(crate) use ending::{cancel, complete, fail, server_failure};
pub(crate) use target::{find, require_started};

use super::Execution;
use crate::effect::{AssignedActivityTask, AssignedTask, Effect};
use crate::id::{PollId, QueueKey, Reservation, TaskKind, WorkerVersion};
use crate::mutation::TaskToken;
use crate::proto::Proto;
use crate::reply::Fault;
use crate::tables::{Activity, ActivityState, QueueTask, Record, keys, wrong_record};
use crate::task_queue;
use crate::time::{Span, Timestamp};
use steadfast_planted::{Bug, planted};
use steadfast_proto::temporal::history::v1::ActivityTaskScheduledEventAttributes;

/// Who starts an activity.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    pub(crate) identity: String,
    pub(crate) poll: PollId,
    pub(crate) version: WorkerVersion,
}

impl From<&Reservation> for Starter {
    fn from(reservation: &Reservation) -> Self {
        Self {
            identity: reservation.identity.clone(),
            poll: reservation.poll,
            version: reservation.worker.clone(),
        }
    }
}

/// The pending activity with this scheduled event, to change and put back.
pub(crate) fn load(
    execution: &Execution<'_, '_>,
    scheduled_event_id: i64,
) -> Result<Option<Box<Activity>>, Fault> {
    let key = keys::activity_key(&execution.run.run, scheduled_event_id);
    match execution.set.get(&key)?.as_deref() {
        Some(Record::Activity(activity)) => Ok(Some(activity.clone())),
        Some(other) => Err(wrong_record(other)),
        None => Ok(None),
    }
}

/// The scheduled event id of the pending activity with this activity id.
pub(crate) fn scheduled_event_id(
    execution: &Execution<'_, '_>,
    activity_id: &str,
) -> Result<Option<i64>, Fault> {
    if activity_id.len() > usize::from(u16::MAX) {
        return Ok(None);
    }
    match execution
        .set
        .get(&keys::activity_by_id_key(&execution.run.run, activity_id))?
        .as_deref()
    {
        Some(Record::ActivityById(scheduled_event_id)) => Ok(Some(*scheduled_event_id)),
        Some(other) => Err(wrong_record(other)),
        None => Ok(None),
    }
}

fn put(execution: &mut Execution<'_, '_>, activity: Box<Activity>) {
    let key = keys::activity_key(&execution.run.run, activity.scheduled_event_id);
    execution.set.put(key, Record::Activity(activity));
}

/// A new pending activity for a scheduled event that was just added. It still needs
/// [`dispatch`] or [`start_eagerly`].
pub(crate) fn schedule(
    execution: &mut Execution<'_, '_>,
    scheduled_event_id: i64,
    scheduled: ActivityTaskScheduledEventAttributes,
) -> Box<Activity> {
    let now = execution.set.now;
    let span = |duration: &Option<prost_types::Duration>| Span::from_proto(duration.as_ref());
    let activity = Box::new(Activity {
        scheduled_event_id,
        state: ActivityState::Queued { task: 0 },
        attempt: 1,
        claim: 0,
        scheduled_at: now,
        attempt_scheduled_at: now,
        schedule_to_close: span(&scheduled.schedule_to_close_timeout),
        schedule_to_start: span(&scheduled.schedule_to_start_timeout),
        start_to_close: span(&scheduled.start_to_close_timeout),
        heartbeat: span(&scheduled.heartbeat_timeout),
        scheduled: Proto(scheduled),
        heartbeat_details: None,
        heartbeat_at: Timestamp(0),
        heartbeat_due_at: Timestamp(0),
        last_failure: None,
        last_worker_identity: String::new(),
        last_attempt_completed_at: Timestamp(0),
        started_identity: String::new(),
        started_poll: None,
        started_version: WorkerVersion::default(),
        cancel_requested_event_id: 0,
    });
    let by_id = keys::activity_by_id_key(&execution.run.run, &activity.scheduled.activity_id);
    execution
        .set
        .put(by_id, Record::ActivityById(scheduled_event_id));
    execution.run.pending_activities += 1;
    timeout::arm_scheduled(execution, &activity);
    timeout::arm_attempt(execution, &activity);
    activity
}

/// Hands a queued activity to a waiting poller, or puts it into its queue.
pub(crate) fn dispatch(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
) -> Result<(), Fault> {
    let queue = queue_of(execution, &activity);
    if let Some(reservation) = task_queue::take_reservation(execution.set, &queue)? {
        // The claim counts as a transition of its own, as when a poll makes it.
        execution.run.state_transitions += 1;
        let task = claim(execution, activity, Starter::from(&reservation));
        let task = Box::new(AssignedTask::Activity(task));
        execution
            .set
            .effects
            .push(Effect::TaskAssigned { reservation, task });
        return Ok(());
    }
    let (run, queued_at) = (execution.run.run.clone(), execution.set.now);
    let entry = QueueTask {
        run,
        subject: activity.scheduled_event_id,
        queued_at,
    };
    let task = task_queue::push(execution.set, &queue, entry);
    activity.state = ActivityState::Queued { task };
    put(execution, activity);
    Ok(())
}

/// Starts an activity that was just scheduled, for the worker whose completion scheduled it.
pub(crate) fn start_eagerly(
    execution: &mut Execution<'_, '_>,
    activity: Box<Activity>,
    identity: &str,
) -> AssignedTask {
    let drawn = execution.set.draw();
    let (mut boot, mut sequence) = ([0; 8], [0; 8]);
    boot.copy_from_slice(&drawn[..8]);
    sequence.copy_from_slice(&drawn[8..]);
    let poll = PollId {
        boot: u64::from_be_bytes(boot),
        sequence: u64::from_be_bytes(sequence),
    };
    let identity = identity.to_owned();
    let starter = Starter {
        identity,
        poll,
        version: WorkerVersion::default(),
    };
    execution.set.took(&table::STARTED_EAGERLY);
    AssignedTask::Activity(start(execution, activity, starter))
}

/// The activity that a queue's entry means, when it still waits under this entry.
pub(crate) fn claimable(
    execution: &Execution<'_, '_>,
    scheduled_event_id: i64,
    sequence: u64,
) -> Result<Option<Box<Activity>>, Fault> {
    if !execution.is_open() || !execution.run.quarantined.is_empty() {
        return Ok(None);
    }
    let mut activity = load(execution, scheduled_event_id)?;
    if let Some(activity) = activity
        .as_mut()
        .filter(|_| planted(Bug::ClaimByReadThenWrite))
    {
        activity.state = ActivityState::Queued { task: sequence };
    }
    Ok(activity.filter(|activity| activity.state == ActivityState::Queued { task: sequence }))
}

/// QUEUED becomes RUNNING for a poll. The caller has seen to the queue's entry.
pub(crate) fn claim(
    execution: &mut Execution<'_, '_>,
    activity: Box<Activity>,
    starter: Starter,
) -> AssignedActivityTask {
    execution.set.took(&table::STARTED);
    start(execution, activity, starter)
}

fn start(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
    starter: Starter,
) -> AssignedActivityTask {
    assert!(
        matches!(activity.state, ActivityState::Queued { .. }),
        "only what waits is started"
    );
    timeout::disarm_attempt(execution, &activity);
    activity.claim += 1;
    activity.state = ActivityState::Started {
        at: execution.set.now,
    };
    activity.heartbeat_at = Timestamp(0);
    activity.started_identity = starter.identity;
    activity.started_poll = Some(starter.poll);
    activity.started_version = starter.version;
    timeout::arm_started(execution, &mut activity);
    let task = assigned(execution, &activity);
    put(execution, activity);
    task
}

/// An activity that was started eagerly and still runs, for an answer that is repeated.
pub(crate) fn assigned_again(
    execution: &Execution<'_, '_>,
    scheduled_event_id: i64,
) -> Result<Option<AssignedTask>, Fault> {
    let activity = load(execution, scheduled_event_id)?;
    let eager = activity.filter(|activity| {
        activity.claim == 1 && matches!(activity.state, ActivityState::Started { .. })
    });
    Ok(eager.map(|activity| AssignedTask::Activity(assigned(execution, &activity))))
}

fn assigned(execution: &Execution<'_, '_>, activity: &Activity) -> AssignedActivityTask {
    let token = TaskToken {
        kind: TaskKind::Activity,
        run: execution.run.run.clone(),
        run_id: execution.run.run_id.clone(),
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id: 0,
        attempt: activity.attempt,
        claim: activity.claim,
    };
    AssignedActivityTask {
        token,
        scheduled_at: activity.scheduled_at,
        attempt_scheduled_at: activity.attempt_scheduled_at,
        started_at: match activity.state {
            ActivityState::Started { at } => at,
            ActivityState::Queued { .. } | ActivityState::Backoff { .. } => execution.set.now,
        },
        heartbeat_timeout: activity.heartbeat,
    }
}

/// A started activity whose poller had left before the answer was written waits again, with the
/// same attempt. The caller has compared the claim.
pub(crate) fn put_back(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
) -> Result<(), Fault> {
    execution.set.took(&table::PUT_BACK);
    timeout::disarm_started(execution, &mut activity);
    activity.state = ActivityState::Queued { task: 0 };
    clear_start(&mut activity);
    timeout::arm_attempt(execution, &activity);
    dispatch(execution, activity)
}

/// Notes a heartbeat. Its time-out moves only when it comes due.
pub(crate) fn heartbeat(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
    details: Option<&steadfast_proto::temporal::common::v1::Payloads>,
) {
    execution.set.took(&table::HEARTBEAT);
    activity.heartbeat_details = details.cloned().map(Proto);
    activity.heartbeat_at = execution.set.now;
    put(execution, activity);
}

/// Notes the event of a cancel request on a started activity; its worker hears of it with its next
/// heartbeat.
pub(crate) fn note_cancel_request(
    execution: &mut Execution<'_, '_>,
    mut activity: Box<Activity>,
    event_id: i64,
) {
    execution.set.took(&table::CANCEL_REQUESTED);
    activity.cancel_requested_event_id = event_id;
    put(execution, activity);
}

fn clear_start(activity: &mut Activity) {
    activity.started_identity.clear();
    activity.started_poll = None;
    activity.started_version = WorkerVersion::default();
    activity.heartbeat_at = Timestamp(0);
}

fn queue_of(execution: &Execution<'_, '_>, activity: &Activity) -> QueueKey {
    let name = activity
        .scheduled
        .task_queue
        .as_ref()
        .map(|queue| queue.name.clone());
    QueueKey {
        namespace: execution.run.run.namespace,
        kind: TaskKind::Activity,
        name: name.unwrap_or_default(),
    }
}
