//! A disk in memory that loses, tears and damages on request, deterministically from a seed.
//!
//! A [`Machine`] is what the test holds: it says what goes wrong and when, counts it, and survives every crash. From it
//! come a [`Volume`] and [`Disk`]s, which are what the program under test holds: after a crash they, and all files
//! opened through them, fail for ever, and the test takes new ones, as a new process would.
//!
//! ```
//! use martlet_journal::{Journal, Settings, simulated::{Crash, Machine}};
//!
//! let settings = Settings { reserve_bytes: 0, ..Settings::default() };
//! let machine = Machine::new(1);
//! let (mut journal, _) = Journal::open(machine.disk("journal"), settings, &mut |_, _| {}).unwrap();
//! journal.append(&[b"kept"]).unwrap();
//! journal.sync().unwrap();
//! journal.append(&[b"perhaps lost"]).unwrap();
//! machine.crash();
//! machine.restart(Crash::Power);
//!
//! let mut seen = Vec::new();
//! Journal::open(machine.disk("journal"), settings, &mut |_, payload| seen.push(payload.to_vec())).unwrap();
//! assert_eq!(seen[0], b"kept");
//! ```
//!
//! What it models: a page cache whose writes reach the disk only by a sync; 512-byte sectors that are written whole or
//! not at all; directory entries that need their own sync; failed syncs after which the cache lies (see
//! [`Faults::sync_error`]); a capacity in blocks of 4096 bytes. What it does not: time, and damage to directories
//! themselves.
//!
//! Steps are counted for everything that reaches a disk: all of [`Operation`]. `free_bytes`, `len` and `forget` are
//! none.

mod directory;
mod disk;
mod faults;
mod inode;
mod machine;
mod random;
mod state;

pub use disk::{Disk, File, Volume};
pub use faults::{Crash, Fault, Faults, Injected, Operation};
pub use machine::{Flip, Image, Machine};
