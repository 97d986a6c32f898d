//! What was done to a world, by kind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use martlet_journal::simulated::Injected;

/// Faults by kind, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// Adds `count` faults of a kind.
    pub fn add(&mut self, kind: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Tally) {
        other.0.iter().for_each(|(kind, count)| self.add(kind, *count));
    }

    /// All faults together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Faults of one kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// Kinds and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }

    /// What a simulated disk did.
    pub(super) fn add_disk(&mut self, injected: &Injected) {
        for (kind, count) in [
            ("disk: failed reads", injected.read_errors),
            ("disk: short reads", injected.short_reads),
            ("disk: failed writes", injected.write_errors),
            ("disk: short writes", injected.short_writes),
            ("disk: no space", injected.no_space),
            ("disk: failed syncs", injected.sync_errors),
            ("disk: failed directory operations", injected.directory_errors),
            ("disk: processes killed", injected.process_crashes),
            ("disk: power losses", injected.power_losses),
            ("disk: unsynced writes lost", injected.lost_writes),
            ("disk: unsynced writes torn", injected.torn_writes),
            ("disk: unsynced writes reordered", injected.reordered_writes),
            ("disk: bits flipped, unsynced", injected.flipped_unsynced),
            ("disk: bits flipped, synced", injected.flipped_synced),
            ("disk: directory changes lost", injected.lost_directory_changes),
        ] {
            self.add(kind, count);
        }
    }
}

/// What happens, as it happens: counted, and told if somebody wants to read it. A clone writes to the same place.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(Rc<RefCell<Told>>);

#[derive(Debug, Default)]
struct Told {
    tally: Tally,
    is_verbose: bool,
    /// Over all lines: two runs that differ anywhere differ here.
    fingerprint: u64,
}

impl Events {
    pub(super) fn new(is_verbose: bool) -> Events {
        let events = Events::default();
        events.0.borrow_mut().is_verbose = is_verbose;
        events
    }

    /// A fault was injected.
    pub(super) fn fault(&self, at: std::time::Duration, kind: &'static str, whom: &str) {
        self.0.borrow_mut().tally.add(kind, 1);
        self.tell(at, &format!("{kind}: {whom}"));
    }

    /// Something happened.
    #[expect(clippy::print_stdout, reason = "whoever asked for it waits for it")]
    pub(super) fn tell(&self, at: std::time::Duration, line: &str) {
        let mut told = self.0.borrow_mut();
        let place = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let bytes = line.bytes().chain(place.to_le_bytes());
        // FNV-1a: Fowler, Noll, Vo.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        told.fingerprint = bytes.fold(told.fingerprint ^ 0xcbf2_9ce4_8422_2325, fold);
        if told.is_verbose {
            println!("{:10.3}  {line}", at.as_secs_f64());
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.0.borrow().fingerprint
    }

    pub(super) fn tally(&self) -> Tally {
        self.0.borrow().tally.clone()
    }
}
