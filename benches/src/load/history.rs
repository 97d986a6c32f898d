//! Waiting until the collector has archived what it took.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How often the collector is asked.
const POLL: Duration = Duration::from_millis(200);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the collector has archived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Archived {
    pub(super) rows: f64,
    pub(super) bytes: f64,
}

/// Waits until nothing of the journal is left to be archived.
pub(super) fn wait(http: SocketAddr, stop: &AtomicBool) -> Result<Archived> {
    let begun = Instant::now();
    loop {
        let metrics = metrics(http)?;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|text| text.parse::<f64>().ok()).with_context(|| format!("{http} has no metric {name}"))
        };
        if value("martlet_collector_archive_pending_records")? == 0.0 {
            return Ok(Archived {
                rows: value("martlet_collector_archive_rows")?,
                bytes: value("martlet_collector_archive_bytes")?,
            });
        }
        ensure!(!stop.load(Ordering::Relaxed), "interrupted while the collector archived");
        if begun.elapsed() > PATIENCE {
            bail!("the collector has not archived everything within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

fn metrics(http: SocketAddr) -> Result<String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().with_context(|| format!("cannot read http://{http}/metrics"))
}
