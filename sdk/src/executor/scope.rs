//! Cancellation scopes: a tree, from the whole workflow down.

use std::task::Waker;

/// Index of a scope in its run; 0 is the whole workflow.
pub(crate) type ScopeId = usize;

/// The whole workflow.
pub(crate) const ROOT: ScopeId = 0;

/// One scope.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The scope that it was opened in.
    pub(crate) parent: Option<ScopeId>,
    /// The cancellation of its parent does not reach it.
    pub(crate) shielded: bool,
    /// It was cancelled, for this reason.
    pub(crate) canceled: Option<String>,
    /// Who waits for its cancellation.
    pub(crate) wakers: Vec<Waker>,
}

/// All scopes of a run.
#[derive(Debug)]
pub(crate) struct Scopes {
    scopes: Vec<Scope>,
    /// Where code is now.
    pub(crate) current: ScopeId,
}

impl Scopes {
    pub(crate) fn new() -> Self {
        Self {
            scopes: vec![Scope::default()],
            current: ROOT,
        }
    }

    /// Opens a scope in the one where code is now.
    pub(crate) fn open(&mut self, shielded: bool) -> ScopeId {
        let parent = self.current;
        let canceled = match shielded {
            true => None,
            false => self.scopes[parent].canceled.clone(),
        };
        self.scopes.push(Scope {
            parent: Some(parent),
            shielded,
            canceled,
            wakers: Vec::new(),
        });
        self.scopes.len() - 1
    }

    /// One of them.
    pub(crate) fn get(&self, id: ScopeId) -> &Scope {
        &self.scopes[id]
    }

    /// Wakes `waker` when the scope is cancelled.
    pub(crate) fn wake_at_cancel(&mut self, id: ScopeId, waker: &Waker) {
        let wakers = &mut self.scopes[id].wakers;
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Somebody waits for the cancellation of one.
    pub(crate) fn are_waited_for(&self) -> bool {
        self.scopes.iter().any(|scope| !scope.wakers.is_empty())
    }

    /// Cancels a scope and those in it, but for shielded ones; gives those that it reached, in the
    /// order in which they were opened.
    pub(crate) fn cancel(&mut self, id: ScopeId, reason: &str) -> Vec<ScopeId> {
        let mut reached = Vec::new();
        for index in id..self.scopes.len() {
            let parent = self.scopes[index].parent;
            let inside = index == id
                || (!self.scopes[index].shielded
                    && parent.is_some_and(|parent| reached.contains(&parent)));
            if !inside {
                continue;
            }
            reached.push(index);
            let scope = &mut self.scopes[index];
            if scope.canceled.is_none() {
                scope.canceled = Some(reason.to_string());
            }
            scope.wakers.drain(..).for_each(Waker::wake);
        }
        reached
    }
}
