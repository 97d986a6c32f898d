//! A real file system that is really full.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
};

use martlet_journal::{AppendError, Disk, Item, Journal, RealDisk, Settings};

const SETTINGS: Settings = Settings { segment_bytes: 200_000, max_record_bytes: 64 << 10, reserve_bytes: 0 };

/// A tmpfs of 1 MiB, as long as this lives.
struct Tiny(tempfile::TempDir);

impl Tiny {
    /// None, with the reason on standard error, where mounting is not allowed.
    fn mount() -> Option<Tiny> {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let output = Command::new("mount").args(arguments).arg(directory.path()).output();
        let problem = match output {
            Ok(output) if output.status.success() => return Some(Tiny(directory)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let required = std::env::var_os("MARTLET_REQUIRE_ROOT") == Some("1".into());
        assert!(!required, "cannot mount a tmpfs: {problem}");
        let _ = writeln!(io::stderr(), "skipped: mounting a tmpfs needs root: {problem}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// The real disk, but it says that there is always room: somebody else took it since.
#[derive(Clone)]
struct Optimist(RealDisk);

impl Disk for Optimist {
    type File = <RealDisk as Disk>::File;
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str) -> io::Result<Self::File> {
        self.0.create(name)
    }
    fn open(&self, name: &str) -> io::Result<Self::File> {
        self.0.open(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

fn payload(number: u64) -> Vec<u8> {
    let byte = number.to_le_bytes()[0];
    vec![byte; 1000 + usize::from(byte) * 7919 % 60_000]
}

/// Reads everything back and checks it.
fn check<D: Disk>(journal: &Journal<D>) {
    let mut reader = journal.reader(journal.first()).unwrap();
    let mut buffer = Vec::new();
    for number in journal.first()..journal.durable() {
        assert_eq!(reader.next(&mut buffer).unwrap(), Item::Record(number));
        assert!(buffer == payload(number), "record {number}");
    }
    assert_eq!(reader.next(&mut buffer).unwrap(), Item::End);
}

#[test]
fn a_full_disk_is_survived_at_any_byte() {
    let Some(tiny) = Tiny::mount() else { return };
    let disk = Optimist(RealDisk::open(tiny.path().join("journal")).unwrap());
    let ballast = tiny.path().join("ballast");
    let mut failures = 0;
    // Ballast of many sizes moves the point at which space ends.
    for round in 0..60 {
        fs::write(&ballast, vec![1; 4096 * (round * 3 % 40)]).unwrap();
        let (mut journal, recovery) = Journal::open(disk.clone(), SETTINGS, &mut |number, read| {
            assert!(read == payload(number), "record {number}");
        })
        .unwrap();
        assert_eq!((recovery.missing, recovery.quarantined), (0, 0), "{recovery:?}");
        loop {
            let durable = journal.durable();
            match journal.append(&[&payload(journal.next())]) {
                Ok(_) => {
                    journal.sync().unwrap();
                }
                Err(AppendError::Io(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                    assert_eq!((journal.next(), journal.durable()), (durable, durable));
                    failures += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        // Trying again and again leaves nothing behind, however often.
        let files = disk.list().unwrap().len();
        for _ in 0..5 {
            assert!(journal.append(&[&payload(journal.next())]).is_err());
        }
        assert!(disk.list().unwrap().len() <= files + 1);
        check(&journal);
        if round % 2 == 0 {
            // It goes on in the same process once there is room,
            let before = journal.next();
            fs::remove_file(&ballast).unwrap();
            while journal.append(&[&payload(before)]).is_err() {
                assert!(journal.drop_oldest().unwrap().is_some());
            }
            journal.sync().unwrap();
            assert_eq!(journal.next(), before + 1);
            check(&journal);
        }
        // or in the next one.
        let first = journal.first();
        let _ = journal.release(first + 12);
    }
    assert_eq!(failures, 60);
}

#[test]
fn the_reserve_stays_free() {
    let Some(tiny) = Tiny::mount() else { return };
    let reserve_bytes = 300_000;
    let disk = RealDisk::open(tiny.path().join("journal")).unwrap();
    let settings = Settings { reserve_bytes, ..SETTINGS };
    let (mut journal, _) = Journal::open(disk.clone(), settings, &mut |_, _| {}).unwrap();
    let error = loop {
        match journal.append(&[&payload(journal.next())]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full { free, needed } if free < needed && needed > reserve_bytes), "{error}");
    let next = journal.next();
    // What was appended before still counts.
    assert_eq!(journal.sync().unwrap(), next);
    assert!(disk.free_bytes().unwrap() + 2 * 4096 > reserve_bytes);
    check(&journal);
    // A segment makes room for a record, or two do: what is free of a tmpfs is known to some pages only.
    assert!(journal.drop_oldest().unwrap().is_some());
    if journal.append(&[&payload(next)]).is_err() {
        assert!(journal.drop_oldest().unwrap().is_some());
        journal.append(&[&payload(next)]).unwrap();
    }
    journal.sync().unwrap();
    check(&journal);
}
