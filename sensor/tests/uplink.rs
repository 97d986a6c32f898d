//! The uplink against a collector that refuses, hangs up, falls silent and forgets; over TCP, and over lines in memory with
//! time that stands still.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{Ledger, ORIGIN, Opened, disk_of, image, next_frame, open, push, sum};
use martlet_journal::Disk;
use martlet_sensor::spool::{AtCap, MemoryDisk, SpoolSettings};
use martlet_sensor::uplink::{self, ConnectionOutcome, Dial, TcpDial, UplinkError, UplinkSettings, UplinkState};
use martlet_window::Digest;
use martlet_wire::v1::{FrameType, Message, RefusalReason, Totals};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

const SMALL: SpoolSettings =
    SpoolSettings { max_bytes: 1 << 20, at_cap: AtCap::DropOldest, segment_bytes: 1200, reserve_bytes: 0 };

fn settings() -> UplinkSettings {
    UplinkSettings { name: "test".parse().unwrap(), origin: ORIGIN, max_rows: 1000 }
}

/// What a collector does with a frame besides what is right.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Right,
    /// The line is cut before the frame is taken.
    CutBefore,
    /// The frame is taken, and the line is cut before the answer.
    CutAfter,
    /// Nothing is said any more.
    Silent,
    Refuse(RefusalReason),
}

/// Serves one connection to its end.
async fn serve(
    mut line: impl AsyncRead + AsyncWrite + Unpin,
    ledger: &RefCell<Ledger>,
    mood: &mut dyn FnMut(FrameType) -> Mood,
) {
    while let Some((frame_type, payload)) = next_frame(&mut line).await {
        let mood = mood(frame_type);
        if mood == Mood::CutBefore {
            return;
        }
        if mood == Mood::Silent {
            while line.read(&mut [0; 1000]).await.is_ok_and(|read| read > 0) {}
            return;
        }
        let answer = match mood {
            Mood::Refuse(reason) => Message::Refused { reason },
            _ => ledger.borrow_mut().answer(frame_type, &payload),
        };
        if mood == Mood::CutAfter {
            return;
        }
        let mut out = Vec::new();
        answer.write(&mut out);
        if line.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// Lines in memory: each call waits here for the collector.
#[derive(Clone, Default)]
struct Exchange {
    calls: Rc<RefCell<Vec<DuplexStream>>>,
    called: Rc<tokio::sync::Notify>,
    down: Rc<RefCell<bool>>,
}

impl Dial for Exchange {
    type Read = ReadHalf<DuplexStream>;
    type Write = WriteHalf<DuplexStream>;

    async fn dial(&mut self) -> io::Result<(Self::Read, Self::Write)> {
        if *self.down.borrow() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = duplex(4096);
        self.calls.borrow_mut().push(theirs);
        self.called.notify_one();
        Ok(split(ours))
    }
}

impl Exchange {
    async fn collector(&self, ledger: &RefCell<Ledger>, mood: &mut dyn FnMut(FrameType) -> Mood) {
        loop {
            let call = self.calls.borrow_mut().pop();
            match call {
                Some(line) => serve(line, ledger, mood).await,
                None => self.called.notified().await,
            }
        }
    }
}

/// Runs an uplink to its end in a runtime whose clock stands still until everybody waits.
async fn converse<D: Disk>(
    spool: &mut Opened<D>,
    ledger: &RefCell<Ledger>,
    mood: &mut dyn FnMut(FrameType) -> Mood,
    state: &UplinkState,
) -> Result<(), UplinkError> {
    let mut exchange = Exchange::default();
    let collector = exchange.clone();
    let settings = settings();
    let mut jitter = StdRng::seed_from_u64(1);
    let sending = uplink::run(&settings, &mut spool.outlet, &mut exchange, &mut jitter, state);
    tokio::select! {
        biased;
        ended = sending => ended,
        () = collector.collector(ledger, mood) => unreachable!(),
        () = sleep(Duration::from_secs(86_400)) => panic!("the uplink goes in circles"),
    }
}

fn spool(batches: u64) -> (Opened<MemoryDisk>, Vec<Totals>) {
    let mut spool = open(&MemoryDisk::default(), SMALL, 100);
    let held = (0..batches).map(|n| push(&mut spool.writer, n)).collect();
    spool.writer.close();
    (spool, held)
}

#[test]
fn a_spool_is_delivered_over_tcp() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dial = TcpDial { collector: listener.local_addr().unwrap().to_string() };
        let (mut spool, held) = spool(50);
        let ledger = RefCell::new(Ledger::default());
        let state = UplinkState::default();
        let settings = settings();
        let mut jitter = StdRng::seed_from_u64(1);
        let sending = uplink::run(&settings, &mut spool.outlet, &mut dial, &mut jitter, &state);
        let mut right = |_| Mood::Right;
        let collector = async {
            let (line, _) = listener.accept().await.unwrap();
            serve(line, &ledger, &mut right).await;
            std::future::pending::<()>().await;
        };
        let ended = timeout(Duration::from_secs(20), async {
            tokio::select! {
                ended = sending => ended,
                () = collector => unreachable!(),
            }
        });
        ended.await.unwrap().unwrap();
        assert_eq!(ledger.borrow().packets(), sum(&held).packets);
        assert_eq!(state.outcomes.get(ConnectionOutcome::Opened), 1);
        assert!(state.seen_from.lock().unwrap().is_some());
    });
}

#[tokio::test(start_paused = true)]
async fn a_malformed_batch_is_given_up_and_announced() {
    for bad in [0, 2, 4] {
        let (mut spool, held) = spool(5);
        let ledger = RefCell::new(Ledger { malformed: Some((100, bad)), ..Ledger::default() });
        let mut frames = 0;
        let mut mood = |_| {
            frames += 1;
            Mood::Right
        };
        converse(&mut spool, &ledger, &mut mood, &UplinkState::default()).await.unwrap();
        let ledger = ledger.into_inner();
        assert_eq!(ledger.lost, held[usize::try_from(bad).unwrap()]);
        assert_eq!(ledger.counted.len(), 4);
        assert!(frames < 20, "{frames}");
        assert_eq!(spool.figures.dropped_in_all().batches, 1);
        assert!(spool.outlet.is_done());
    }
}

#[tokio::test(start_paused = true)]
async fn epochs_of_earlier_starts_go_first_and_are_deleted() {
    let disk = MemoryDisk::default();
    let mut held = Vec::new();
    for start in 0..20 {
        let mut spool = open(&disk, SMALL, 100 + start);
        held.extend((0..7).map(|n| push(&mut spool.writer, 7 * start + n)));
    }
    let mut spool = open(&disk, SMALL, 900);
    held.push(push(&mut spool.writer, 140));
    spool.writer.close();
    let ledger = RefCell::new(Ledger::default());
    converse(&mut spool, &ledger, &mut |_| Mood::Right, &UplinkState::default()).await.unwrap();
    assert_eq!(ledger.borrow().counted, held.iter().map(|it| it.packets).collect::<Vec<_>>());
    drop(spool.outlet);
    spool.writer.finish();
    assert_eq!(disk.list().unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_arrived_before_the_start_is_asked_for_and_deleted() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, SMALL, 100);
    (0..7).for_each(|n| _ = push(&mut spool.writer, n));
    spool.writer.close();
    let ledger = RefCell::new(Ledger { holds_back: true, ..Ledger::default() });
    converse(&mut spool, &ledger, &mut |_| Mood::Right, &UplinkState::default()).await.unwrap();
    drop(spool);
    // A new start; the collector commits a minute later, and nobody says so by itself.
    let mut spool = open(&disk, SMALL, 200);
    let state = UplinkState::default();
    let committing = async {
        sleep(Duration::from_secs(60)).await;
        ledger.borrow_mut().holds_back = false;
        sleep(Duration::from_secs(60)).await;
    };
    let mut right = |_| Mood::Right;
    let ended = tokio::select! {
        biased;
        () = committing => Ok(()),
        ended = converse(&mut spool, &ledger, &mut right, &state) => ended,
    };
    ended.unwrap();
    assert_eq!(state.outcomes.get(ConnectionOutcome::Broken), 0, "an idle line is no silent one");
    spool.writer.tend();
    assert_eq!(spool.outlet.epochs(), [200]);
    let duplicates = ledger.borrow().duplicates;
    assert!((1..6).contains(&duplicates), "{duplicates}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_collector_is_left_and_found_again() {
    let (mut spool, _) = spool(5);
    let ledger = RefCell::new(Ledger::default());
    let mut frames = 0;
    let mut mood = |_| {
        frames += 1;
        if frames == 4 { Mood::Silent } else { Mood::Right }
    };
    let state = UplinkState::default();
    let began = Instant::now();
    converse(&mut spool, &ledger, &mut mood, &state).await.unwrap();
    assert_eq!(ledger.borrow().counted.len(), 5);
    assert_eq!(state.outcomes.get(ConnectionOutcome::Broken), 1);
    assert!((30..35).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_wait_between_attempts_grows_and_is_the_same_for_the_same_seed() {
    let attempts = async |seed| {
        let (mut spool, _) = spool(1);
        let mut exchange = Exchange::default();
        *exchange.down.borrow_mut() = true;
        let state = UplinkState::default();
        let settings = settings();
        let mut jitter = StdRng::seed_from_u64(seed);
        let sending = uplink::run(&settings, &mut spool.outlet, &mut exchange, &mut jitter, &state);
        let _ = timeout(Duration::from_secs(300), sending).await;
        state.outcomes.get(ConnectionOutcome::Unreachable)
    };
    let (first, again, other) = (attempts(1).await, attempts(1).await, attempts(2).await);
    assert_eq!(first, again);
    // From 0.5 s doubling to 30 s, each shortened by up to a half.
    assert!((14..30).contains(&first) && (14..30).contains(&other), "{first} {other}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_help_ends_the_uplink() {
    let (mut spool, _) = spool(1);
    let ledger = RefCell::new(Ledger::default());
    let mut mood = |frame| match frame {
        FrameType::Open => Mood::Refuse(RefusalReason::NotAllowed),
        _ => Mood::Right,
    };
    let ended = converse(&mut spool, &ledger, &mut mood, &UplinkState::default()).await;
    assert!(matches!(ended, Err(UplinkError::Refused(RefusalReason::NotAllowed))), "{ended:?}");
}

/// Two machines that run on from one memory, told by a broken chain only: the collector does not say the predecessor.
#[tokio::test(start_paused = true)]
async fn a_broken_chain_begins_a_new_epoch_and_loses_nothing() {
    let (mut spool, held) = spool(6);
    let ledger = RefCell::new(Ledger::default());
    {
        let mut ledger = ledger.borrow_mut();
        let position = ledger.streams.entry(100).or_default();
        (position.expected, position.predecessor) = (2, Some(Digest([9; 16])));
    }
    let moving = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            spool.writer.tend();
        }
    };
    let mut exchange = Exchange::default();
    let collector = exchange.clone();
    let settings = settings();
    let mut jitter = StdRng::seed_from_u64(1);
    let state = UplinkState::default();
    let mut right = |_| Mood::Right;
    tokio::select! {
        biased;
        ended = uplink::run(&settings, &mut spool.outlet, &mut exchange, &mut jitter, &state) => ended.unwrap(),
        () = collector.collector(&ledger, &mut right) => unreachable!(),
        () = moving => unreachable!(),
        () = sleep(Duration::from_secs(3600)) => panic!("the uplink goes in circles"),
    }
    assert_eq!(ledger.borrow().packets(), sum(&held).packets);
    assert_eq!(ledger.borrow().streams[&101].expected, 6);
    assert_eq!(spool.figures.forks.load(Relaxed), 1);
}

/// Batches are pushed, lines are cut, the sensor is killed and started again, the collector forgets what it has not
/// committed: in the end each batch counted once.
#[test]
fn whatever_the_line_does_each_batch_counts_once() {
    for seed in 0..300 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(storm(seed));
    }
}

async fn storm(seed: u64) {
    let chance = RefCell::new(StdRng::seed_from_u64(seed));
    let ledger = RefCell::new(Ledger::default());
    let mut disk = MemoryDisk::default();
    let mut all = Vec::new();
    let mut next = 0;
    for life in 0..6 {
        let spool = open(&disk, SMALL, 100 * (life + 1));
        let is_last = life == 5;
        let mut left = if is_last { 0 } else { 12 };
        let mut mood = |_| {
            let dice: f64 = chance.borrow_mut().random();
            if left == 0 || dice > 0.2 {
                return Mood::Right;
            }
            left -= 1;
            if dice < 0.09 {
                Mood::CutBefore
            } else if dice < 0.18 {
                Mood::CutAfter
            } else {
                Mood::Silent
            }
        };
        let pushes = chance.borrow_mut().random_range(0..12);
        let Opened { mut writer, mut outlet, .. } = spool;
        let work = async {
            for _ in 0..pushes {
                all.push(push(&mut writer, next));
                next += 1;
                let wait = chance.borrow_mut().random_range(0..20_000);
                sleep(Duration::from_millis(wait)).await;
                writer.tend();
            }
            if is_last {
                writer.close();
                std::future::pending::<()>().await;
            }
        };
        let mut exchange = Exchange::default();
        let collector = exchange.clone();
        let mut jitter = StdRng::seed_from_u64(seed);
        let (settings, state) = (settings(), UplinkState::default());
        tokio::select! {
            biased;
            ended = uplink::run(&settings, &mut outlet, &mut exchange, &mut jitter, &state) => ended.unwrap(),
            () = collector.collector(&ledger, &mut mood) => unreachable!(),
            // The sensor is killed.
            () = work => assert!(!is_last),
            () = sleep(Duration::from_secs(3600)) => panic!("seed {seed}: the uplink goes in circles"),
        }
        // What was not synced is lost with the process; here everything is.
        disk = disk_of(&image(&disk));
    }
    let mut counted = ledger.borrow().counted.clone();
    counted.sort_unstable();
    assert_eq!(counted, all.iter().map(|it| it.packets).collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(ledger.borrow().lost, Totals::default(), "seed {seed}");
}
