//! What panicked while a seed was simulated. A task that panics ends in silence, and `apply` catches
//! its own panics: a node that goes on has failed an assertion all the same.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// More are not kept.
const KEPT: usize = 20;

thread_local! {
    /// While this thread simulates.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs something on this thread: its result unless it panicked itself, and all that panicked.
pub(super) fn watched<T>(what: impl FnOnce() -> T) -> (Option<T>, Vec<String>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = take_hook();
        set_hook(Box::new(move |info| {
            if !noted(info) {
                other(info);
            }
        }));
    });
    PANICS.set(Some(Vec::new()));
    let result = catch_unwind(AssertUnwindSafe(what)).ok();
    (result, PANICS.take().unwrap_or_default())
}

/// False where nothing is simulated.
fn noted(info: &PanicHookInfo<'_>) -> bool {
    PANICS.with_borrow_mut(|panics| {
        let Some(panics) = panics else { return false };
        let text = info.payload_as_str().unwrap_or("no text");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if panics.len() < KEPT {
            panics.push(format!("{text} ({place})"));
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_is_caught_and_one_that_is_not_are_noted() {
        let (ended, panics) = watched(|| {
            let caught = catch_unwind(|| panic!("one"));
            assert!(caught.is_err());
            7
        });
        assert_eq!((ended, panics.len()), (Some(7), 1));
        assert!(panics[0].starts_with("one ("));
        let (ended, panics) = watched(|| panic!("two"));
        let ended: Option<()> = ended;
        assert_eq!((ended, panics.len()), (None, 1));
    }
}
