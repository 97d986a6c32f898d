//! A full disk slows sensors down, is told, and ends by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::simulated::{Sensor, World};
use common::{Server, Spool, TEN, deliver, sample, tcp_scan, wait};
use martlet_collector::journal::{Condition, Stall};
use martlet_window::TrafficClass;
use martlet_wire::v1::Message;
use std::process::Command;
use std::sync::Arc;

fn sensor(batches: i64) -> Sensor {
    let mut spool = Spool::new(1, 0, "alpha");
    let frames = (0..batches).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)]));
    let frames = frames.collect();
    Sensor::new(&spool, frames)
}

#[test]
fn without_space_nothing_is_acknowledged_and_with_space_it_goes_on() {
    let world = World::new(1, |config| config.store.commit_interval_ms = 600_000);
    let mut sensors = [sensor(200)];
    let mut life = world.start().unwrap();
    while sensors[0].journaled < 20 {
        world.step(&mut life, &mut sensors, true);
    }
    world.machine.set_free(0);
    world.settle(&mut life, &mut sensors);
    let stuck = sensors[0].journaled;
    let condition = life.links.state.ingest.condition();
    assert!(
        stuck < 60 && matches!(condition, Condition::Stalled { reason: Stall::DiskFull, .. }),
        "{stuck} {condition:?}"
    );
    world.settle(&mut life, &mut sensors);
    assert_eq!((sensors[0].journaled, life.links.state.ingest.stalls()), (stuck, 1));
    // What was journaled has been committed meanwhile, to make room.
    assert_eq!(sensors[0].committed, stuck);
    world.machine.set_capacity(1 << 30);
    // The longest wait for the disk is 5 s.
    (0..1500).for_each(|_| world.step(&mut life, &mut sensors, true));
    assert_eq!(sensors[0].journaled, 200);
    assert_eq!(life.links.state.ingest.condition(), Condition::Running);
    life.pipeline.publish();
    assert_eq!(life.links.view.load().class(TrafficClass::Real).totals.packets, 200);
}

#[test]
fn a_store_without_space_is_told_and_what_is_acknowledged_waits_in_the_journal() {
    let world = World::new(1, |_| {});
    let mut sensors = [sensor(2000)];
    let mut life = world.start().unwrap();
    while sensors[0].committed < 20 {
        world.step(&mut life, &mut sensors, true);
    }
    life.pipeline.store().limit_growth(0).unwrap();
    while life.links.state.store.condition() == Condition::Running {
        world.step(&mut life, &mut sensors, true);
    }
    let condition = life.links.state.store.condition();
    assert!(matches!(condition, Condition::Stalled { reason: Stall::DiskFull, .. }), "{condition:?}");
    let (journaled, committed) = (sensors[0].journaled, sensors[0].committed);
    (0..300).for_each(|_| world.step(&mut life, &mut sensors, true));
    assert!(sensors[0].journaled > journaled && sensors[0].committed == committed);
    life.pipeline.store().limit_growth(100_000).unwrap();
    (0..2000).for_each(|_| world.step(&mut life, &mut sensors, true));
    assert!(sensors[0].is_done());
    assert_eq!(life.links.state.store.condition(), Condition::Running);
}

/// A real file system of so many KiB; needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kib: u32) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_real_small_disk_stalls_the_collector_until_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(4096) else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let path = disk.0.path().join("state");
    let mut server = Server::in_directory(Arc::new(tempfile::tempdir().unwrap()), |config| {
        config.store.data_dir.clone_from(&path);
        config.store.reserve_bytes = 1 << 20;
        config.store.segment_bytes = 1 << 16;
        config.store.commit_interval_ms = 100;
    });
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(23, 1, 1)])]);
    // Somebody else takes all the space.
    let ballast = disk.0.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 8 << 20]);
    let rows: Vec<_> = (0..200).map(|n| tcp_scan(23, n, 1)).collect();
    let frame = spool.batch(TEN + 10, &rows);
    client.send_bytes(&frame);
    wait(|| server.ok("/api/v1/status")["state"] == "stalled");
    let status = server.ok("/api/v1/status");
    assert_eq!(status["journal"]["reason"], "disk_full");
    let stalled =
        |server: &Server| sample(&server.metrics(), "martlet_collector_ingest_stalled{reason=\"disk_full\"}").unwrap();
    assert!((stalled(&server) - 1.0).abs() < f64::EPSILON);
    std::fs::remove_file(&ballast).unwrap();
    // The first batch may be acknowledged once more, as committed, before the second is taken.
    loop {
        match client.receive() {
            Some(Message::Ack { journaled: 2, .. }) => break,
            Some(Message::Ack { journaled: 1, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    wait(|| server.ok("/api/v1/status")["state"] == "running");
    assert!(stalled(&server) < f64::EPSILON);
    assert_eq!(server.stop().class(TrafficClass::Real).totals.batches, 2);
}
