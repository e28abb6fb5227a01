//! A payments server that honours `Idempotency-Key`: stands where the seed's activity calls.

use crate::{Error, io};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One order's charges.
#[derive(Debug, Clone, Default)]
pub struct Charges {
    /// When each call came in.
    pub calls: Vec<Instant>,
    /// How often money moved: at most once by the idempotency key.
    pub charged: u32,
}

#[derive(Debug, Default)]
struct Book {
    orders: BTreeMap<String, Charges>,
    failures: u32,
    delay: Duration,
}

/// The running server.
#[derive(Debug, Clone)]
pub struct Payments {
    url: String,
    book: Arc<Mutex<Book>>,
}

impl Payments {
    /// Starts it on a free port; it ends with the test's runtime.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn start() -> Result<Self, Error> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(io("bind payments"))?;
        let url = format!(
            "http://{}",
            listener.local_addr().map_err(io("payments port"))?
        );
        let book = Arc::new(Mutex::new(Book::default()));
        let router = Router::new()
            .route("/v1/charges", post(charge))
            .with_state(Arc::clone(&book));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, book })
    }

    /// What to call instead of the real one.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first calls of each order fail with 500.
    pub fn fail_first(&self, calls: u32) {
        self.with(|book| book.failures = calls);
    }

    /// Each call takes so long before it charges and answers.
    pub fn delay(&self, delay: Duration) {
        self.with(|book| book.delay = delay);
    }

    /// An order's charges.
    #[must_use]
    pub fn charges(&self, order: &str) -> Charges {
        self.with(|book| book.orders.get(order).cloned().unwrap_or_default())
    }

    /// Waits until an order has so many calls.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub async fn wait_for_calls(&self, order: &str, count: usize) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.charges(order).calls.len() < count {
            if Instant::now() > deadline {
                return Err(Error::TimedOut(format!(
                    "{order}: {:?}",
                    self.charges(order)
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn with<T>(&self, action: impl FnOnce(&mut Book) -> T) -> T {
        action(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn charge(
    State(book): State<Arc<Mutex<Book>>>,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let key = headers
        .get("Idempotency-Key")
        .and_then(|value| value.to_str().ok());
    let key = key.ok_or(StatusCode::BAD_REQUEST)?.to_owned();
    let (fails, delay) = {
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, delay) = (book.failures, book.delay);
        let order = book.orders.entry(key.clone()).or_default();
        order.calls.push(Instant::now());
        (
            order.calls.len() <= usize::try_from(failures).unwrap_or(usize::MAX),
            delay,
        )
    };
    tokio::time::sleep(delay).await;
    if fails {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let order = book.orders.entry(key.clone()).or_default();
    order.charged = 1;
    let receipt = serde_json::json!({ "transactionId": format!("tx-{key}") });
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        receipt.to_string(),
    )
        .into_response())
}
