//! Closes deleted segments of the journal.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Deleted segments that may wait to be closed. Further ones are closed where they are deleted.
const SWEEPINGS: usize = 64;

/// Closes the segments that the stage has deleted: only then their space is free, and letting go of the memory that held
/// them takes longer than many answers. Run it on a thread of its own, or pump it.
pub struct Sweeper<F> {
    sweepings: Receiver<F>,
}

impl<F> Sweeper<F> {
    /// A sweeper, and where it is given what it closes.
    #[must_use]
    pub fn new() -> (Sender<F>, Sweeper<F>) {
        let (sender, sweepings) = bounded(SWEEPINGS);
        (sender, Sweeper { sweepings })
    }

    /// Closes until the stage is gone.
    pub fn run(self) {
        self.sweepings.into_iter().for_each(drop);
    }

    /// Closes what waits. For pumping without a thread.
    pub fn turn(&mut self) {
        self.sweepings.try_iter().for_each(drop);
    }
}
