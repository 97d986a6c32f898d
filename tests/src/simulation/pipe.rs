//! One direction of a connection: bytes that take their time, come in pieces, or stop in the middle.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::network::Link;
use super::random::Random;

/// What a system's buffers hold of one direction, in bytes.
const CAPACITY: usize = 48 << 10;

/// How one direction behaves.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Shortest and longest time that bytes take, in milliseconds.
    pub(super) latency_ms: (u64, u64),
    /// In so many of a hundred cases a read or write does less than it could.
    pub(super) short_percent: u64,
    /// The connection breaks behind so many bytes.
    pub(super) cut_after: Option<u64>,
    /// When the writing side goes away, what is on its way comes so much later, and so does the news.
    pub(super) lingers: Duration,
    /// The reader's end may vanish without a word to the writer.
    pub(super) is_silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

struct Pipe {
    manner: Manner,
    random: Random,
    link: Link,
    /// Bytes and when they arrive.
    chunks: VecDeque<(Instant, VecDeque<u8>)>,
    waiting: usize,
    written: u64,
    end: Option<(Instant, End)>,
    is_cut: bool,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// All that was written, up to a limit, for somebody who sends it again.
    record: Option<Vec<u8>>,
}

impl Pipe {
    fn arrival(&mut self) -> Instant {
        let (low, high) = self.manner.latency_ms;
        let at = Instant::now() + self.random.millis(low, high);
        self.chunks.back().map_or(at, |(last, _)| at.max(*last))
    }

    fn finish(&mut self, end: End) {
        if self.end.is_none() {
            let at = self.arrival();
            self.end = Some((at, end));
        }
        wake(&mut self.reader);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Where bytes come out.
pub(super) struct ReadEnd {
    pipe: Rc<RefCell<Pipe>>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Where bytes go in.
pub(super) struct WriteEnd(Rc<RefCell<Pipe>>);

/// A pipe over a link.
pub(super) fn pipe(manner: Manner, link: Link, random: Random, is_recorded: bool) -> (WriteEnd, ReadEnd) {
    let pipe = Rc::new(RefCell::new(Pipe {
        manner,
        random,
        link,
        chunks: VecDeque::new(),
        waiting: 0,
        written: 0,
        end: None,
        is_cut: false,
        reader_is_gone: false,
        reader: None,
        writer: None,
        record: is_recorded.then(Vec::new),
    }));
    (WriteEnd(pipe.clone()), ReadEnd { pipe, timer: None })
}

impl WriteEnd {
    /// A handle by which to break the connection.
    pub(super) fn breaker(&self) -> Breaker {
        Breaker(self.0.clone())
    }
}

/// Breaks one direction of a connection from outside.
#[derive(Clone)]
pub(super) struct Breaker(Rc<RefCell<Pipe>>);

impl Breaker {
    /// Breaks it now. What has not arrived never does.
    pub(super) fn cut(&self) {
        let mut pipe = self.0.borrow_mut();
        pipe.is_cut = true;
        pipe.chunks.clear();
        pipe.waiting = 0;
        pipe.end = None;
        pipe.finish(End::Reset);
        wake(&mut pipe.writer);
    }

    /// Whether somebody still reads.
    pub(super) fn is_open(&self) -> bool {
        let pipe = self.0.borrow();
        !pipe.is_cut && !pipe.reader_is_gone && pipe.end.is_none()
    }

    /// What was written so far.
    pub(super) fn recorded(&self) -> Vec<u8> {
        self.0.borrow().record.clone().unwrap_or_default()
    }
}

impl AsyncRead for ReadEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut pipe = this.pipe.borrow_mut();
            let Some(at) = pipe.chunks.front().map(|(at, _)| *at).or(pipe.end.map(|(at, _)| at)) else {
                pipe.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let at = pipe.link.is_down_until().map_or(at, |until| at.max(until));
            if at > Instant::now() {
                // A cut must be seen at once.
                pipe.reader = Some(cx.waker().clone());
                drop(pipe);
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                timer.as_mut().reset(at);
                ready!(timer.as_mut().poll(cx));
                continue;
            }
            let short = {
                let percent = pipe.manner.short_percent;
                pipe.random.percent(percent)
            };
            let Some((_, bytes)) = pipe.chunks.front_mut() else {
                return Poll::Ready(match pipe.end {
                    Some((_, End::Reset)) => Err(io::ErrorKind::ConnectionReset.into()),
                    _ => Ok(()),
                });
            };
            let most = buffer.remaining().min(bytes.len());
            let length = bytes.len();
            let count = if short && most > 1 { 1 + pipe.random.index(most - 1) } else { most };
            if let Some((_, bytes)) = pipe.chunks.front_mut() {
                bytes.drain(..count).for_each(|byte| buffer.put_slice(&[byte]));
            }
            if count == length {
                pipe.chunks.pop_front();
            }
            pipe.waiting -= count;
            wake(&mut pipe.writer);
            return Poll::Ready(Ok(()));
        }
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.reader_is_gone = true;
        pipe.chunks.clear();
        wake(&mut pipe.writer);
    }
}

impl AsyncWrite for WriteEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.is_cut || pipe.end.is_some() || (pipe.reader_is_gone && !pipe.manner.is_silent) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(pipe.waiting);
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = room.min(bytes.len());
        let percent = pipe.manner.short_percent;
        let count = if most > 1 && pipe.random.percent(percent) { 1 + pipe.random.index(most - 1) } else { most };
        if pipe.reader_is_gone {
            // Nobody will ever read it, and nobody says so.
            pipe.waiting += count;
            return Poll::Ready(Ok(count));
        }
        let left = pipe.manner.cut_after.map_or(u64::MAX, |cut| cut.saturating_sub(pipe.written));
        let arrives = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        pipe.written += count as u64;
        if let Some(record) = pipe.record.as_mut().filter(|record| record.len() < 4 * CAPACITY) {
            record.extend_from_slice(&bytes[..count]);
        }
        let at = pipe.arrival();
        pipe.waiting += arrives;
        pipe.chunks.push_back((at, bytes[..arrives].iter().copied().collect()));
        if arrives < count {
            pipe.is_cut = true;
            pipe.finish(End::Reset);
        }
        wake(&mut pipe.reader);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().finish(End::Closed);
        Poll::Ready(Ok(()))
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        if pipe.end.is_none() {
            let lingers = pipe.manner.lingers;
            pipe.chunks.iter_mut().for_each(|(at, _)| *at += lingers);
            let at = pipe.arrival() + lingers;
            pipe.end = Some((at, End::Closed));
            wake(&mut pipe.reader);
        }
    }
}
