//! An HTTP/1.1 server for routers, with bounds that a slow or hostile client runs into.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::refusals::Explained;
use crate::stalls::Impatient;

/// Who asks; every request has it among its extensions. The address itself is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whether the connection is from this machine.
    pub is_loopback: bool,
}

/// What one client may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at a time; further ones wait in the listen queue.
    pub max_connections: usize,
    /// Time within which the head of a request must have come, also of the next one on a kept connection.
    pub header_timeout: Duration,
    /// Longest time in which a client takes nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// Longest life of a connection: ends clients that read their answers a byte a minute.
    pub max_connection_age: Duration,
    /// Bytes of a request's head that are buffered.
    pub max_header_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            max_connections: 256,
            header_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(60),
            max_connection_age: Duration::from_secs(600),
            max_header_bytes: 16 << 10,
        }
    }
}

/// Answers requests until `stop` completes; answers that have begun are given `grace` to end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        // The permit comes first: a connection that cannot be served stays in the kernel's bounded queue.
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            answer(stream, peer, router, limits, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            Some((stream, Peer { is_loopback: address.ip().to_canonical().is_loopback() }, permit))
        }
        Err(error) => {
            // Out of descriptors, or the client left already. Trying again at once would only spin.
            tracing::debug!("cannot accept an HTTP connection: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn answer(stream: TcpStream, peer: Peer, router: Router, limits: HttpLimits, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        // A router is always ready.
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes)
        .serve_connection(TokioIo::new(Explained::new(Impatient::new(stream, limits.write_timeout))), service);
    let mut connection = std::pin::pin!(connection);
    let age = tokio::time::sleep(limits.max_connection_age);
    tokio::select! {
        // A client's failure is the client's affair.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|&stop| stop) => {}
        () = age => return,
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Readiness, router};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    }

    #[test]
    fn readiness_follows_the_daemon_and_serving_stops() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let readiness = Readiness::new();
            let catalogue = crate::catalogue::Catalogue::default();
            crate::build::register(&catalogue, "test", "0.0.0").unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let router = router(catalogue.registry().clone(), readiness.clone());
            let server = tokio::spawn(serve(
                listener,
                router,
                HttpLimits::default(),
                async { drop(stopped.await) },
                Duration::from_secs(1),
            ));
            assert!(ask(address, &get("/readyz")).await.starts_with("HTTP/1.1 503"));
            readiness.set_ready();
            assert!(ask(address, &get("/readyz")).await.starts_with("HTTP/1.1 200"));
            assert!(ask(address, &get("/healthz")).await.ends_with("alive\n"));
            let metrics = ask(address, &get("/metrics")).await;
            assert!(metrics.contains("martlet_build_info{daemon=\"test\",version=\"0.0.0\"} 1"), "{metrics}");
            assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
            stop.send(()).unwrap();
            server.await.unwrap();
            assert!(TcpStream::connect(address).await.is_err());
        });
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_problem_details() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = router(prometheus::Registry::new(), Readiness::new());
            let forever = std::future::pending::<()>();
            let _server = tokio::spawn(serve(listener, router, HttpLimits::default(), forever, Duration::ZERO));
            let large = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
            let long = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(20_000));
            for (request, status) in [("no request at all\r\n\r\n", 400), (&large, 431), (&long, 431)] {
                let answer = ask(address, request).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
                assert!(answer.contains("content-type: application/problem+json"), "{answer}");
                assert!(answer.contains(&format!("\"status\":{status},")), "{answer}");
                assert!(answer.ends_with("\"}"), "{answer}");
            }
            // The same on a connection that has been answered before.
            let answer = ask(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n").await;
            assert!(answer.contains("alive\n") && answer.ends_with("\"}"), "{answer}");
        });
    }

    #[test]
    fn a_client_that_never_ends_its_request_is_dropped() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let limits =
                HttpLimits { header_timeout: Duration::from_millis(200), max_connections: 1, ..Default::default() };
            let router = router(prometheus::Registry::new(), Readiness::new());
            let forever = std::future::pending::<()>();
            let _server = tokio::spawn(serve(listener, router, limits, forever, Duration::ZERO));
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
            // Only one connection is served at a time: this one waits until the slow one has been ended.
            let begun = std::time::Instant::now();
            assert!(ask(address, &get("/healthz")).await.ends_with("alive\n"));
            assert!(begun.elapsed() >= Duration::from_millis(150));
            let mut rest = Vec::new();
            let _ = slow.read_to_end(&mut rest).await;
        });
    }

    #[test]
    fn a_client_that_takes_nothing_is_dropped() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let limits =
                HttpLimits { write_timeout: Duration::from_millis(300), max_connections: 1, ..Default::default() };
            // More than the system buffers.
            let much = axum::routing::get(|| std::future::ready(vec![0u8; 64 << 20]));
            let router = router(prometheus::Registry::new(), Readiness::new()).route("/much", much);
            let forever = std::future::pending::<()>();
            let _server = tokio::spawn(serve(listener, router, limits, forever, Duration::ZERO));
            let mut idle = TcpStream::connect(address).await.unwrap();
            idle.write_all(get("/much").as_bytes()).await.unwrap();
            // The only place is free again when the server has given up.
            let begun = std::time::Instant::now();
            assert!(ask(address, &get("/healthz")).await.ends_with("alive\n"));
            assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
            let mut taken = Vec::new();
            let _ = idle.read_to_end(&mut taken).await;
            assert!(taken.len() < 64 << 20, "{}", taken.len());
            // Whoever reads, if only now and then, gets all of it.
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(get("/much").as_bytes()).await.unwrap();
            let (mut taken, mut buffer) = (0, vec![0; 8 << 20]);
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                match slow.read(&mut buffer).await.unwrap() {
                    0 => break,
                    length => taken += length,
                }
            }
            assert!(taken > 64 << 20, "{taken}");
        });
    }
}
