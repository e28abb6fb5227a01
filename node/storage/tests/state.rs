//! The state at rest: consistency, crashes, damage, installs, costs.

#[path = "state/fixture.rs"]
mod fixture;

#[path = "state/budget.rs"]
mod budget;
#[path = "state/crash.rs"]
mod crash;
#[path = "state/damage.rs"]
mod damage;
#[path = "state/install.rs"]
mod install;
#[path = "state/model.rs"]
mod model;
#[path = "state/views.rs"]
mod views;
