//! Moves the bytes of all sensors: threads that wait for sockets and due times, each with up to 64 sensors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::Connection;

const SENSORS_PER_THREAD: usize = 64;
/// How often a thread looks whether it shall stop.
const TURN: Duration = Duration::from_millis(100);
/// How long nothing may be answered while something is waited for. A commit may take a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends everything and waits until it is acknowledged as committed. Gives the connections back, and what went wrong.
pub(super) fn drive(connections: Vec<Connection>, start: Instant, stop: &AtomicBool) -> (Vec<Connection>, Vec<String>) {
    let mut groups = Vec::new();
    let mut rest = connections.into_iter().peekable();
    while rest.peek().is_some() {
        groups.push(rest.by_ref().take(SENSORS_PER_THREAD).collect::<Vec<_>>());
    }
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = groups.iter_mut().map(|group| scope.spawn(|| run(group, start, stop))).collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked")));
        ended.filter_map(|result| result.err().map(|error| format!("{error:#}"))).collect()
    });
    (groups.into_iter().flatten().collect(), failures)
}

/// One thread. The first failure stops all threads: a load that lost a sensor is not the one that was asked for.
fn run(connections: &mut [Connection], start: Instant, stop: &AtomicBool) -> Result<()> {
    let result = turns(connections, start, stop);
    if result.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    result
}

fn turns(connections: &mut [Connection], start: Instant, stop: &AtomicBool) -> Result<()> {
    let (mut answered, mut last_progress) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        for connection in connections.iter_mut() {
            send(connection, start).with_context(|| format!("sensor {}", connection.number()))?;
        }
        let now = start.elapsed();
        if connections.iter().all(|connection| connection.is_done(now)) {
            return Ok(());
        }
        let total =
            connections.iter().map(Connection::answered).map(|(journaled, committed)| journaled + committed).sum();
        if total != answered {
            (answered, last_progress) = (total, Instant::now());
        } else if connections.iter().all(|it| it.next_due(now).is_none()) && last_progress.elapsed() > PATIENCE {
            bail!("the collector acknowledged nothing for {} s", PATIENCE.as_secs());
        }
        for place in wait(connections, start)? {
            let connection = &mut connections[place];
            let number = connection.number();
            connection.receive(start).with_context(|| format!("sensor {number}"))?;
        }
    }
    Ok(())
}

fn send(connection: &mut Connection, start: Instant) -> Result<()> {
    connection.fill(start.elapsed())?;
    connection.flush(start)
}

/// Waits until a socket is ready or a batch is due, and says which sockets can be read.
fn wait(connections: &[Connection], start: Instant) -> Result<Vec<usize>> {
    let now = start.elapsed();
    let due = connections.iter().filter_map(|connection| {
        // One whose socket is full waits for the socket, however much is due.
        connection.next_due(now).filter(|_| !connection.wants_write())
    });
    let longest = due.min().map_or(TURN, |due| due.saturating_sub(now).min(TURN));
    let timeout = Timespec::try_from(longest)?;
    let mut polled: Vec<PollFd<'_>> = connections
        .iter()
        .map(|connection| {
            let output = if connection.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::new(connection, PollFlags::IN | output)
        })
        .collect();
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("cannot wait for sockets"),
    }
    let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let ready = polled.iter().enumerate().filter(|(_, socket)| socket.revents().intersects(readable));
    Ok(ready.map(|(place, _)| place).collect())
}
