//! The state at rest: consistency, crashes, damage, installs, costs.

#![expect(
    clippy::unwrap_used,
    reason = "a test that fails may say so by a panic"
)]

#[path = "state/fixture.rs"]
mod fixture;

#[path = "state/backup.rs"]
mod backup;
#[path = "state/budget.rs"]
mod budget;
#[path = "state/crash.rs"]
mod crash;
#[path = "state/damage.rs"]
mod damage;
#[path = "state/gaps.rs"]
mod gaps;
#[path = "state/install.rs"]
mod install;
#[path = "state/model.rs"]
mod model;
#[path = "state/views.rs"]
mod views;
