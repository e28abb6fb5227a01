//! The replicated state machine: committed entries become changes of the state, then replies and
//! effects. Runs on Raft's apply thread; nothing here waits but for the keeper at a mark.

use super::item::{self, LogItem};
use super::record::stored;
use super::{Core, StateRecord};
use bytes::Bytes;
use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use steadfast_engine::id::RunRef;
use steadfast_engine::mutation::{ActivityTarget, Proposed};
use steadfast_engine::read::namespace;
use steadfast_engine::tables::Changes;
use steadfast_engine::tables::keys::message_key;
use steadfast_engine::{Applied, Effect, Mutation, Record, Refusal, Tables};
use steadfast_planted::{Bug, planted};
use steadfast_raft::{
    Committed, Content, Fault, MissingFile, Position, SnapshotFiles, SnapshotSource, SnapshotStage,
    StateMachine,
};
use steadfast_storage::state::{Manifest, PinnedManifest, Staging, StateStore};

/// A panic's text kept with the run that it quarantines, in bytes.
const REASON_BYTES: usize = 1_000;

/// Raft's side of the shard.
#[derive(Debug)]
pub struct Machine {
    core: Arc<Core>,
    /// Raft's memberships as of the last entry; kept with each mark.
    membership: Bytes,
    /// Entries are applied for the second time: their duties were done.
    again: bool,
}

impl Machine {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let membership = core.store.meta();
        Self {
            core,
            membership,
            again: false,
        }
    }

    fn item(&mut self, item: LogItem, position: Position) -> Result<(), Fault> {
        match item {
            LogItem::Batch(mut batch) => {
                for proposed in &mut batch {
                    if planted(Bug::ApplyReadsOwnClock) {
                        proposed.now = self.core.time.clock().wall();
                    }
                    if planted(Bug::ApplyDrawsOwnChance) {
                        proposed.entropy = self.core.entropy.draw();
                    }
                }
                self.core
                    .telemetry
                    .applied(batch.iter().map(|proposed| &*proposed.mutation));
                for proposed in &batch {
                    self.proposed(proposed, position)?;
                }
                if batch.is_empty() {
                    self.core.store.merge(Vec::new(), position);
                }
            }
            LogItem::Mark => {
                self.core.store.merge(Vec::new(), position);
                // On one thread the keeper could not work while this waits.
                if self.core.may_block && !self.core.store.wait_for_room() {
                    return Err(Fault::new("the state's keeper has ended"));
                }
                self.core.store.mark(self.membership.clone());
            }
        }
        Ok(())
    }

    fn proposed(&mut self, proposed: &Proposed, position: Position) -> Result<(), Fault> {
        let core = &self.core;
        // For traces of simulations; costs one comparison when nobody listens.
        tracing::trace!(
            node = core.node_id,
            index = position.index,
            kind = crate::telemetry::kind(&proposed.mutation),
            now = proposed.now.0,
            mutation = ?proposed.mutation,
            "applied"
        );
        if let Mutation::RaiseEngineVersion(version) = *proposed.mutation {
            known(core, version)?;
        }
        let view = core.view();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            steadfast_engine::apply(&view, proposed)
        }));
        let Applied {
            reply,
            changes,
            effects,
            transitions: _,
        } = match caught {
            Ok(applied) => applied.map_err(Fault::new)?,
            Err(panic) => panicked(core, &view, proposed, &*panic),
        };
        drop(view);
        core.time.applied(proposed.now);
        core.store.merge(stored(changes), position);
        let used: BTreeSet<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::TaskAssigned { reservation, .. } => Some(reservation.poll),
                Effect::TaskQueued { .. }
                | Effect::RunChanged { .. }
                | Effect::UpdateChanged { .. }
                | Effect::WorkflowTaskEnded { .. }
                | Effect::DueAt(_)
                | Effect::OutboxReady(_)
                | Effect::DeleteRun(_) => None,
            })
            .collect();
        // What a wrong state says is nobody's duty; the right ones say it, too.
        if !self.again && !core.in_minority() {
            core.release(effects);
        }
        if proposed.proposal.boot == core.boot {
            core.settle(proposed.proposal.sequence, Ok(reply), &used);
        }
        Ok(())
    }
}

/// A node must not apply entries by rules that it does not know.
fn known(core: &Core, version: u32) -> Result<(), Fault> {
    if version <= core.engine_version {
        return Ok(());
    }
    Err(Fault::new(format!(
        "the cluster goes on by engine version {version}, and this program knows versions up to \
         {}; start this node with a newer program",
        core.engine_version
    )))
}

/// Nothing was changed; the run is set aside, so that one bug does not stop a cluster.
fn panicked(
    core: &Core,
    view: &dyn Tables,
    proposed: &Proposed,
    panic: &(dyn Any + Send),
) -> Applied {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let mut reason = text.unwrap_or_else(|| "a panic without a text".to_owned());
    let end = (0..=REASON_BYTES.min(reason.len()))
        .rev()
        .find(|end| reason.is_char_boundary(*end));
    reason.truncate(end.unwrap_or_default());
    let kind = crate::telemetry::kind(&proposed.mutation);
    tracing::error!(kind, reason, "a mutation panicked; nothing was changed");
    core.telemetry.panics.add(1);
    if core.in_office()
        && let Some(run) = run_of(view, &proposed.mutation)
    {
        core.propose_detached(Mutation::QuarantineRun {
            run,
            reason: reason.clone(),
        });
    }
    Applied {
        reply: Err(Refusal::Quarantined(format!("internal error: {reason}"))),
        changes: Changes::new(),
        effects: Vec::new(),
        transitions: Vec::new(),
    }
}

/// The run that a mutation is about, when it names one exactly.
fn run_of(view: &dyn Tables, mutation: &Mutation) -> Option<RunRef> {
    match mutation {
        Mutation::RespondWorkflowTaskCompleted { token, .. }
        | Mutation::RespondWorkflowTaskFailed { token, .. }
        | Mutation::ReturnTask(token) => Some(token.run.clone()),
        Mutation::RespondActivityTaskCompleted { target, .. }
        | Mutation::RespondActivityTaskFailed { target, .. }
        | Mutation::RespondActivityTaskCanceled { target, .. }
        | Mutation::RecordActivityTaskHeartbeat { target, .. } => match target {
            ActivityTarget::Token(token) => Some(token.run.clone()),
            ActivityTarget::Id { .. } => None,
        },
        Mutation::DeleteSlice(run) => Some(run.clone()),
        Mutation::FireDue(key) => match view.get(key).ok().flatten().as_deref() {
            Some(Record::Due(due)) => Some(due.run.clone()),
            Some(_) | None => None,
        },
        // Messages of a quarantined run are dropped, so the outbox goes on.
        Mutation::DeliverMessage(message) => {
            match view.get(&message_key(*message)).ok().flatten().as_deref() {
                Some(Record::Message(message)) => Some(message.source.clone()),
                Some(_) | None => None,
            }
        }
        // A request that panics is refused; no run is known to be bad for it.
        Mutation::Bootstrap { .. }
        | Mutation::SetConfig { .. }
        | Mutation::RegisterNamespace { .. }
        | Mutation::UpdateNamespace(_)
        | Mutation::AddSearchAttributes { .. }
        | Mutation::StartWorkflowExecution(_)
        | Mutation::SignalWorkflowExecution(_)
        | Mutation::SignalWithStartWorkflowExecution(_)
        | Mutation::RequestCancelWorkflowExecution(_)
        | Mutation::TerminateWorkflowExecution(_)
        | Mutation::DeleteWorkflowExecution(_)
        | Mutation::ClaimTask(_)
        | Mutation::ResetStickyTaskQueue(_)
        | Mutation::ResetWorkflowExecution(_)
        | Mutation::ShutdownWorker { .. }
        | Mutation::AbandonStickyQueue(_)
        | Mutation::QuarantineRun { .. }
        | Mutation::RaiseEngineVersion(_)
        | Mutation::PurgeNamespace(_)
        | Mutation::UpdateWorkflowExecution(_)
        | Mutation::ExecuteMultiOperation { .. } => None,
    }
}

impl StateMachine for Machine {
    fn applied(&self) -> (Option<Position>, Bytes) {
        (self.core.store.applied(), self.membership.clone())
    }

    fn apply(&mut self, batch: Vec<Committed>) -> Result<(), Fault> {
        let Some(last) = batch.last().map(|committed| committed.position.index) else {
            return Ok(());
        };
        for Committed { position, content } in batch {
            match content {
                Content::Blank => self.core.store.merge(Vec::new(), position),
                Content::Membership(membership) => {
                    self.membership = membership;
                    self.core.store.merge(Vec::new(), position);
                }
                Content::Normal(bytes) => {
                    self.item(item::decode(&bytes).map_err(Fault::new)?, position)?
                }
            }
        }
        self.core.applied.send_replace(last);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<SnapshotFiles>, Fault> {
        let pinned = self.core.store.manifest();
        let Some(position) = pinned.manifest().position else {
            return Ok(None);
        };
        Ok(Some(SnapshotFiles {
            position,
            membership: pinned.manifest().meta.clone(),
            manifest: pinned.manifest().encode().into(),
            source: Arc::new(Source(pinned)),
        }))
    }

    fn stage(&mut self, manifest: Bytes) -> Result<Box<dyn SnapshotStage>, Fault> {
        let manifest = Manifest::decode(&manifest).map_err(Fault::new)?;
        Ok(Box::new(Stage(
            self.core.store.stage(manifest).map_err(Fault::new)?,
        )))
    }

    fn install(&mut self, stage: Box<dyn SnapshotStage>) -> Result<(), Fault> {
        let Ok(stage) = stage.into_any().downcast::<Stage>() else {
            return Err(Fault::new("a stage of another state machine"));
        };
        let store: &StateStore<StateRecord> = &self.core.store;
        let staged = stage.0.finish().map_err(Fault::new)?;
        store.install(staged).map_err(Fault::new)?;
        self.membership = store.meta();
        let meta = namespace::meta(&self.core.view()).map_err(Fault::new)?;
        known(&self.core, meta.engine_version)?;
        self.core
            .applied
            .send_replace(store.applied().map_or(0, |position| position.index));
        Ok(())
    }

    fn is_to_rebuild(&self, position: Position) -> bool {
        let reached = self.core.store.applied() >= Some(position);
        reached && self.core.in_minority() && {
            let durable = self.core.store.durable();
            let durable = durable.borrow().position;
            // The log may be purged up to there.
            durable.is_none_or(|durable| durable.index <= position.index)
        }
    }

    fn rebuild(
        &mut self,
        stage: Box<dyn SnapshotStage>,
        read: &mut dyn FnMut(u64, u64) -> Result<Vec<Committed>, Fault>,
    ) -> Result<(), Fault> {
        let applied = self
            .core
            .store
            .applied()
            .map_or(0, |position| position.index);
        self.install(stage)?;
        let mut next = *self.core.applied.borrow() + 1;
        tracing::warn!(
            from = next,
            to = applied,
            "the state is rebuilt: the log is applied again"
        );
        self.again = true;
        while next <= applied {
            let batch = read(next, applied + 1)?;
            next += batch.len() as u64;
            self.apply(batch)?;
        }
        self.again = false;
        self.core.telemetry.rebuilds.add(1);
        self.core.judge();
        Ok(())
    }
}

#[derive(Debug)]
struct Source(PinnedManifest);

impl SnapshotSource for Source {
    fn read(&self, name: &str, offset: u64, max: usize) -> Result<Bytes, Fault> {
        self.0.read_file(name, offset, max).map_err(Fault::new)
    }
}

#[derive(Debug)]
struct Stage(Staging);

impl SnapshotStage for Stage {
    fn missing(&self) -> Vec<MissingFile> {
        let file = |entry: &steadfast_storage::state::FileEntry| MissingFile {
            name: entry.name.clone(),
            offset: 0,
            length: entry.len,
        };
        self.0.missing().iter().map(file).collect()
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.0.write(name, offset, bytes).map_err(Fault::new)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
