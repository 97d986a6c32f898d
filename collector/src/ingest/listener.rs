//! Taking connections from a socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::gate::Gate;
use crate::signal::Once;

/// Pause after a failed accept: out of descriptors, most likely, and trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The running listener.
#[derive(Debug)]
pub struct Ingest {
    stop: Arc<Once>,
    accepting: tokio::task::JoinHandle<()>,
}

/// Starts to take connections. `guard` is dropped when that ends, for whatever reason.
#[must_use]
pub fn listen(listener: TcpListener, gate: Gate, guard: impl Send + 'static) -> Ingest {
    let stop = Arc::new(Once::default());
    let stopping = stop.clone();
    let accepting = tokio::spawn(async move {
        accept(listener, gate, stopping).await;
        drop(guard);
    });
    Ingest { stop, accepting }
}

impl Ingest {
    /// Stops accepting, lets connections finish what they have taken, and waits for them.
    pub async fn stop(self) {
        self.stop.happen();
        if self.accepting.await.is_err() {
            tracing::error!("the listener for sensors did not end cleanly");
        }
    }
}

async fn accept(listener: TcpListener, gate: Gate, stopping: Arc<Once>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.happened() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(serve(gate.clone(), stream, peer.ip(), stopping.clone()));
            }
            Err(error) => {
                gate.accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(gate: Gate, stream: TcpStream, peer: std::net::IpAddr, stopping: Arc<Once>) {
    // Answers are small and awaited.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    gate.serve(read, write, peer, &stopping).await;
}
