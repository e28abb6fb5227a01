//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Acts, on a thread of its own, when this process is told to end.
pub fn when_told(act: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // Without signals to wait for, this process ends as any.
        if runtime.is_ok_and(|runtime| runtime.block_on(told())) {
            act();
        }
    });
}

async fn told() -> bool {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return false;
    };
    tokio::select! {
        told = tokio::signal::ctrl_c() => told.is_ok(),
        told = terminate.recv() => told.is_some(),
    }
}
