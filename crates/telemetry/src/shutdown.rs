//! Stopping on a signal, and reading the configuration again on another.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, caught from the moment this exists.
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// Starts to catch the signals. Must be called within a tokio runtime, before anything that a signal should not
    /// cut off.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn install() -> std::io::Result<Shutdown> {
        Ok(Shutdown { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first signal and says its name. From then on a second one ends the process at once, with the
    /// status that a shell reports for that signal: an operator who asks twice does not want to wait.
    pub async fn requested(mut self) -> &'static str {
        let (name, _) = self.next().await;
        tokio::spawn(async move {
            let (_, status) = self.next().await;
            std::process::exit(status);
        });
        name
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 128 + 15),
            _ = self.interrupt.recv() => ("SIGINT", 128 + 2),
        }
    }
}

/// SIGHUP, caught from the moment this exists: the operator wants the configuration to be read again.
pub struct Hangup(Signal);

impl Hangup {
    /// Starts to catch the signal, which would end the process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses the handler.
    pub fn install() -> std::io::Result<Hangup> {
        Ok(Hangup(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one; several that come while nobody waits are one.
    pub async fn received(&mut self) {
        if self.0.recv().await.is_none() {
            // The runtime is going down.
            std::future::pending::<()>().await;
        }
    }
}
