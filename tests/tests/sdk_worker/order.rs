//! Workflows and activities of the tests.

use std::time::Duration;
use steadfast_sdk::workflow::{self, Shared};
use steadfast_sdk::{
    ActivityContext, Failure, Result, RetryPolicy, activities, activity, workflow as of_workflow,
};

#[activity]
pub(crate) async fn greet(name: String) -> Result<String> {
    Ok(format!("hello {name}"))
}

#[of_workflow]
pub(crate) async fn greeting(name: String) -> Result<String> {
    workflow::activity(GREET, name)
        .start_to_close(Duration::from_secs(10))
        .await
}

pub(crate) struct Payments {
    pub(crate) fee: u64,
}

#[activities]
impl Payments {
    #[activity]
    async fn charge(&self, context: ActivityContext, amount: u64) -> Result<u64> {
        if amount == 13 && context.info().attempt == 1 {
            return Err(Failure::application("Unlucky", "thirteen"));
        }
        Ok(amount + self.fee)
    }
}

/// An order with an activity, a local one, a timer, an approval, a child and a race.
#[derive(Default)]
pub(crate) struct Order {
    approved: bool,
    notes: Vec<String>,
}

#[of_workflow]
impl Order {
    #[run]
    pub(crate) async fn run(state: Shared<Self>, amount: u64) -> Result<u64> {
        let paid = workflow::activity(Payments::CHARGE, amount)
            .start_to_close(Duration::from_secs(10))
            .await?;
        let local = workflow::local_activity(Payments::CHARGE, 13)
            .start_to_close(Duration::from_secs(5))
            .await?;
        workflow::sleep(Duration::from_millis(100)).await?;
        state.wait_until(|order| order.approved).await?;
        let (charged, greeted) = workflow::try_join!(
            workflow::activity(Payments::CHARGE, 1).start_to_close(Duration::from_secs(5)),
            workflow::child(Greeting::RUN, "child".to_string()),
        )?;
        let first = workflow::select! {
            _ = workflow::sleep(Duration::from_secs(3600)) => "slow",
            _ = workflow::sleep(Duration::from_millis(10)) => "quick",
        };
        state.write(|order| order.notes.push(format!("{greeted} {first}")));
        Ok(paid + local + charged)
    }

    #[signal]
    pub(crate) fn approve(&mut self, by: String) {
        self.approved = true;
        self.notes.push(by);
    }

    #[query]
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    #[update(validator = check)]
    pub(crate) fn note(&mut self, text: String) -> Result<usize> {
        self.notes.push(text);
        Ok(self.notes.len())
    }

    fn check(&self, text: &str) -> Result<()> {
        match text.is_empty() {
            true => Err(Failure::application("Empty", "a note has words")),
            false => Ok(()),
        }
    }
}

/// A booking that is undone when the workflow is cancelled.
#[derive(Default)]
pub(crate) struct Holiday {
    asked: bool,
    booked: u64,
}

#[of_workflow]
impl Holiday {
    #[run]
    pub(crate) async fn run(state: Shared<Self>, place: String) -> Result<String> {
        state.wait_until(|trip| trip.asked).await?;
        let booked = workflow::activity(Payments::CHARGE, 7)
            .start_to_close(Duration::from_secs(5))
            .retry(RetryPolicy::attempts(3))
            .await?;
        state.write(|trip| trip.booked = booked);
        if let Err(canceled) = workflow::sleep(Duration::from_secs(3600)).await {
            let undone = workflow::shielded(async {
                workflow::activity(Payments::CHARGE, 0)
                    .start_to_close(Duration::from_secs(5))
                    .await
            });
            undone.await?;
            state.write(|trip| trip.booked = 0);
            return Err(canceled);
        }
        Ok(place)
    }

    #[signal]
    pub(crate) fn book(&mut self) {
        self.asked = true;
    }

    #[query]
    pub(crate) fn booked(&self) -> u64 {
        self.booked
    }
}

#[of_workflow]
pub(crate) async fn waits() -> Result<()> {
    std::future::pending::<()>().await;
    Ok(())
}

/// The code of [`Order`] after a change that its histories do not survive.
#[derive(Default)]
pub(crate) struct Changed;

#[of_workflow(name = "Order")]
impl Changed {
    #[run]
    pub(crate) async fn run(_: Shared<Self>, amount: u64) -> Result<u64> {
        workflow::sleep(Duration::from_secs(1)).await?;
        Ok(amount)
    }
}

/// The code of [`Order`] after a worse one.
#[derive(Default)]
pub(crate) struct Stuck;

#[of_workflow(name = "Order")]
impl Stuck {
    #[run]
    pub(crate) async fn run(_: Shared<Self>, amount: u64) -> Result<u64> {
        std::thread::sleep(Duration::from_secs(4));
        Ok(amount)
    }
}
