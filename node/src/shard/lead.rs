//! Taking office and leaving it. Office is leadership that serves: everything committed before is
//! applied, cluster time is known, the cluster is bootstrapped.

use super::{Class, Core, Unavailable};
use super::{mark, soundness};
use crate::{outbox, timers};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use steadfast_engine::id::QueueKey;
use steadfast_engine::read::namespace;
use steadfast_engine::tables::Meta;
use steadfast_engine::{Fault, Mutation, Timestamp};
use tokio::time::{Instant, sleep, timeout};

/// A new leader waits so long for the clocks of a majority; peers tell theirs once a second.
const CLOCKS_WAIT: Duration = Duration::from_secs(3);
const CLOCKS_LOOK: Duration = Duration::from_millis(20);
/// Between looks at queues that nobody polls.
const SWEEP: Duration = Duration::from_secs(1);
/// What is proposed has so long to come to its end before the leadership is handed over.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_LOOK: Duration = Duration::from_millis(2);
/// The namespace that every cluster has.
const DEFAULT_NAMESPACE: &str = "default";

/// Follows leadership until the node stops.
pub(super) async fn run(core: &Core) {
    let Some(raft) = core.raft() else { return };
    let mut leadership = raft.leadership();
    loop {
        let Ok(term) = leadership
            .wait_for(|now| now.ready)
            .await
            .map(|now| now.term)
        else {
            return;
        };
        let mut lost = raft.leadership();
        let minority = tokio::select! {
            biased;
            _ = lost.wait_for(|now| !now.ready || now.term != term) => false,
            () = soundness::until_minority(core) => true,
            () = serve(core) => false,
        };
        core.leave_office();
        if minority {
            soundness::hand_over(core).await;
            if !core.in_minority() {
                continue;
            }
        }
        // The loop above must see the loss before it looks for the next leadership.
        if leadership
            .wait_for(|now| !now.ready || now.term != term)
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Lets what is proposed come to its end, then gives the leadership to another node.
pub(super) async fn hand_over(core: &Core, to: Option<u64>, within: Duration) -> bool {
    let Some(raft) = core.raft() else {
        return true;
    };
    core.resigning.store(true, Ordering::Release);
    let settled = async {
        // Twice: a proposal that was let in just before may not be among the pending yet.
        for _ in 0..2 {
            while !core.pending.is_empty() {
                sleep(SETTLE_LOOK).await;
            }
            sleep(SETTLE_LOOK).await;
        }
    };
    if timeout(SETTLE, settled).await.is_err() {
        tracing::info!("some proposals have no outcome before the leadership goes on");
    }
    let successor = to.or_else(|| super::stand::successor(core));
    let gone = raft.transfer_leader(successor, within).await;
    core.resigning.store(false, Ordering::Release);
    gone
}

/// Leads until cancelled, or until that turns out to be impossible.
async fn serve(core: &Core) {
    let meta = match namespace::meta(&core.view()) {
        Ok(meta) => meta,
        Err(fault) => {
            tracing::error!(%fault, "this node cannot lead");
            return;
        }
    };
    set_time(core, meta.applied_at).await;
    if let Err(error) = bootstrap(core, &meta).await {
        tracing::warn!(%error, "this node could not begin to lead");
        return;
    }
    core.matching.open();
    core.in_office.store(true, Ordering::Release);
    core.office.send_replace(true);
    tracing::info!("this node leads");
    tokio::join!(
        timers::run(core),
        outbox::run(core),
        mark::propose(core),
        watch_queues(core)
    );
}

/// Begins cluster time. Without the clocks of a majority it would lag after an outage, so they are
/// waited for; but not for ever.
async fn set_time(core: &Core, applied_at: Timestamp) {
    core.time.set_voters(&core.voters());
    let until = Instant::now() + CLOCKS_WAIT;
    while !core.time.has_reference() && Instant::now() < until {
        sleep(CLOCKS_LOOK).await;
    }
    core.time.begin(applied_at);
}

/// The first leader of a cluster gives it an id and what it was started with.
async fn bootstrap(core: &Core, meta: &Meta) -> Result<(), Unavailable> {
    if !meta.cluster_id.is_empty() {
        return Ok(());
    }
    let mut namespaces: BTreeSet<String> = core.seed.namespaces.iter().cloned().collect();
    namespaces.insert(DEFAULT_NAMESPACE.to_owned());
    let mutation = Mutation::Bootstrap {
        cluster_id: core.entropy.uuid(),
        namespaces: namespaces.into_iter().collect(),
        config: core.seed.config.clone(),
        search_attributes: core.seed.search_attributes.clone(),
    };
    let reply = core
        .propose(Class::Drains, mutation)?
        .await
        .unwrap_or(Err(Unavailable::Unknown))?;
    if let Err(refusal) = reply {
        // A wrong option of the first start: the cluster works, without it.
        tracing::error!(%refusal, "the new cluster was not set up as asked");
    }
    Ok(())
}

/// Gives up sticky queues that nobody polls, and forgets queues that nobody uses.
async fn watch_queues(core: &Core) {
    loop {
        sleep(SWEEP).await;
        core.matching.sweep();
        for queue in core.matching.unattended() {
            match is_sticky(core, &queue) {
                Ok(true) => core.propose_detached(Mutation::AbandonStickyQueue(queue)),
                Ok(false) => {}
                Err(fault) => tracing::error!(%fault, "a look at a queue failed"),
            }
        }
    }
}

fn is_sticky(core: &Core, queue: &QueueKey) -> Result<bool, Fault> {
    let run = super::reserve::head_run(&core.view(), queue)?;
    Ok(run.is_some_and(|run| {
        run.workflow_task
            .as_ref()
            .is_some_and(|task| task.sticky && task.queue == queue.name)
    }))
}

impl Core {
    /// Stops serving: polls end, waiting proposals have an unknown outcome.
    pub(super) fn leave_office(&self) {
        let served = self.in_office.swap(false, Ordering::AcqRel);
        self.office.send_replace(false);
        self.matching.close();
        self.queries.close();
        for waiting in self.pending.take_all() {
            self.finish(waiting, Err(Unavailable::Unknown), &BTreeSet::new());
        }
        if served {
            tracing::info!("this node no longer leads");
        }
    }
}
