use super::*;
use steadfast_engine::effect::AssignedActivityTask;
use steadfast_engine::id::{NamespaceNumber, RunRef};
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::time::Span;

fn queue() -> QueueKey {
    QueueKey {
        namespace: NamespaceNumber(1),
        kind: TaskKind::Activity,
        name: "q".into(),
    }
}

fn poll(sequence: u64) -> Poll {
    Poll {
        id: PollId { boot: 1, sequence },
        queue: queue(),
        sticky: false,
        identity: format!("worker-{sequence}"),
        worker: WorkerVersion::default(),
    }
}

fn task() -> AssignedTask {
    let run = RunRef {
        namespace: NamespaceNumber(1),
        workflow_id: "w".into(),
        number: 1,
    };
    AssignedTask::Activity(AssignedActivityTask {
        token: TaskToken {
            kind: TaskKind::Activity,
            run,
            run_id: "r".into(),
            scheduled_event_id: 5,
            started_event_id: 0,
            attempt: 1,
            claim: 1,
        },
        scheduled_at: Timestamp(0),
        attempt_scheduled_at: Timestamp(0),
        started_at: Timestamp(0),
        heartbeat_timeout: Span::ZERO,
    })
}

fn waiting(matching: &Matching, sequence: u64, seconds: u64) -> oneshot::Receiver<Polled> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    matching
        .register(&poll(sequence), deadline, Timestamp(1))
        .unwrap()
}

/// Looks at the backlog, which holds so many tasks.
fn look(matching: &Matching, found: usize) -> Vec<Reservation> {
    let before = matching.before_look(&queue()).unwrap();
    matching.looked(&queue(), before, found)
}

/// A task comes, and a poll is held for it.
fn claim_queued(matching: &Matching) -> Option<Reservation> {
    matching.task_queued(&queue());
    let before = matching.before_look(&queue())?;
    let mut claims = matching.looked(&queue(), before, before.claims + 1);
    assert!(claims.len() <= 1);
    claims.pop()
}

fn open() -> Matching {
    let matching = Matching::default();
    matching.open();
    matching
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_given_to_one_proposal_only() {
    let matching = open();
    let mut first = waiting(&matching, 1, 60);
    let _second = waiting(&matching, 2, 60);
    let one = matching.reserve(&queue()).unwrap();
    let other = claim_queued(&matching).unwrap();
    assert_eq!(
        (one.poll.sequence, other.poll.sequence),
        (1, 2),
        "oldest first"
    );
    assert!(matching.reserve(&queue()).is_none());
    assert!(claim_queued(&matching).is_none());
    assert_eq!(matching.assign(one.poll, &task()), Some(Ok(())));
    assert!(matches!(first.try_recv(), Ok(Polled::Task(_))));
    assert_eq!(matching.assign(one.poll, &task()), None, "answered once");
}

#[tokio::test(start_paused = true)]
async fn an_unused_reservation_goes_back_to_the_head_and_looks_again() {
    let matching = open();
    let _first = waiting(&matching, 1, 60);
    let one = matching.reserve(&queue()).unwrap();
    let _second = waiting(&matching, 2, 60);
    assert_eq!(matching.give_back(one.poll), Some(queue()));
    assert_eq!(matching.reserve(&queue()).unwrap().poll.sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_poll_that_left_is_for_nobody() {
    let matching = open();
    let first = waiting(&matching, 1, 60);
    let one = matching.reserve(&queue()).unwrap();
    assert!(!matching.leave(&queue(), one.poll), "it is held");
    drop(first);
    assert_eq!(matching.assign(one.poll, &task()), Some(Err(())));
    let second = waiting(&matching, 2, 60);
    drop(second);
    assert!(
        matching.reserve(&queue()).is_none(),
        "gone polls are not reserved"
    );
    assert_eq!(matching.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_soon_ends_is_claimed_for_but_not_reserved() {
    let matching = open();
    let _first = waiting(&matching, 1, 4);
    let held = matching.reserve(&queue()).unwrap();
    assert!(matching.give_back(held.poll).is_some());
    tokio::time::advance(Duration::from_millis(2_001)).await;
    assert!(
        matching.reserve(&queue()).is_none(),
        "less than 2 s are left"
    );
    assert!(claim_queued(&matching).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_backlog_seen_empty_is_not_looked_at_again_until_a_task_comes() {
    let matching = open();
    let _first = waiting(&matching, 1, 60);
    assert!(look(&matching, 0).is_empty());
    assert!(!matching.asks_look(&queue()));
    assert!(matching.before_look(&queue()).is_none());
    let claim = claim_queued(&matching).unwrap();
    assert_eq!(matching.give_back(claim.poll), Some(queue()));
    assert!(matching.before_look(&queue()).is_some());
}

#[tokio::test(start_paused = true)]
async fn losing_the_office_ends_waiting_polls_and_keeps_held_ones() {
    let matching = open();
    let mut held = waiting(&matching, 1, 60);
    let mut waits = waiting(&matching, 2, 60);
    let reserved = matching.reserve(&queue()).unwrap();
    matching.close();
    assert!(matches!(
        waits.try_recv(),
        Err(oneshot::error::TryRecvError::Closed)
    ));
    assert!(matches!(
        held.try_recv(),
        Err(oneshot::error::TryRecvError::Empty)
    ));
    assert_eq!(matching.assign(reserved.poll, &task()), Some(Ok(())));
    let deadline = Instant::now() + Duration::from_secs(60);
    assert_eq!(
        matching
            .register(&poll(3), deadline, Timestamp(1))
            .unwrap_err(),
        NotRegistered::Closed
    );
}

#[tokio::test(start_paused = true)]
async fn sticky_queues_are_named_after_ten_seconds_without_a_poll() {
    let sticky = QueueKey {
        kind: TaskKind::Workflow,
        ..queue()
    };
    let matching = open();
    matching.task_queued(&sticky);
    assert!(
        matching.unattended().is_empty(),
        "a new leader knows nothing yet"
    );
    tokio::time::advance(STICKY_GRACE).await;
    assert_eq!(matching.unattended(), std::slice::from_ref(&sticky));
    assert!(matching.unattended().is_empty());
}

/// A claim is applied, but its end is not counted yet: a look then leaves the next task to it.
#[tokio::test(start_paused = true)]
async fn a_task_left_to_a_claim_that_took_another_one_is_looked_for_again() {
    let matching = open();
    let mut first = waiting(&matching, 1, 60);
    let claim = claim_queued(&matching).unwrap();
    // A second task; nobody waits.
    assert!(claim_queued(&matching).is_none());
    // The claim took the first task; the second is all that is left, and one claim seems to be on
    // its way for it.
    let _second = waiting(&matching, 2, 60);
    assert!(look(&matching, 1).is_empty());
    assert!(matching.claim_ends(&queue()), "the second task waits");
    assert_eq!(matching.assign(claim.poll, &task()), Some(Ok(())));
    assert!(matches!(first.try_recv(), Ok(Polled::Task(_))));
    assert_eq!(look(&matching, 1).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_look_claims_for_each_poll_that_waits() {
    let matching = open();
    let _polls: Vec<_> = (1..=3).map(|poll| waiting(&matching, poll, 60)).collect();
    assert!(matching.asks_look(&queue()));
    assert!(!matching.asks_look(&queue()), "asked for already");
    assert_eq!(look(&matching, 2).len(), 2);
    assert!(matching.asks_look(&queue()), "the next one");
    // Two claims are on their way for two of these three tasks.
    assert_eq!(look(&matching, 3).len(), 1);
    assert!(!matching.asks_look(&queue()), "nobody waits");
}

#[tokio::test(start_paused = true)]
async fn a_sticky_task_whose_polls_left_before_the_look_is_watched() {
    let sticky = QueueKey {
        kind: TaskKind::Workflow,
        ..queue()
    };
    let matching = open();
    let poll = Poll {
        queue: sticky.clone(),
        ..poll(1)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let answer = matching.register(&poll, deadline, Timestamp(1)).unwrap();
    matching.task_queued(&sticky);
    drop(answer);
    let before = matching.before_look(&sticky).unwrap();
    assert!(matching.looked(&sticky, before, 1).is_empty());
    tokio::time::advance(STICKY_GRACE).await;
    assert_eq!(matching.unattended(), std::slice::from_ref(&sticky));
}
