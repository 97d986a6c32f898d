//! The way to the journal stage: bounded, fair, and waited for without blocking a thread.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_window::{Digest, SensorName};
use martlet_wire::v1::{Message, NackReason, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::checkpoint::Checkpoint;
use super::ledger::OpenError;
use super::session::{Session, StreamCell};
use crate::aggregate::{Decoded, Encoded};
use crate::ingest::Token;

/// How many submissions may wait. It bounds what the stage holds together with the budgets of memory that submissions
/// carry shares of.
const SUBMISSIONS: usize = 1024;

/// What the stage is asked.
#[derive(Debug)]
pub enum Request {
    /// Decide.
    Submit(Submission),
    /// A checkpoint is in the store.
    Committed(Box<Checkpoint>),
    /// Finish what waits, commit, and end.
    Stop,
}

/// What one connection wants decided at a time, in the order in which it came.
#[derive(Debug)]
pub struct Submission {
    /// From which connection.
    pub session: Arc<Session>,
    /// Since when it waits, also for a place.
    pub since: Instant,
    /// What.
    pub entries: Vec<Entry>,
    /// Where to answer, in the same order. Dropped without an answer if the connection has been superseded.
    pub reply: oneshot::Sender<Answers>,
    /// Given back when the submission is gone.
    _place: Option<OwnedSemaphorePermit>,
}

/// One thing to decide.
#[derive(Debug)]
pub enum Entry {
    /// A stream is to follow.
    Open {
        /// Which.
        stream: Stream,
        /// Under which name.
        name: SensorName,
    },
    /// A batch.
    Batch {
        /// Of which stream.
        stream: Stream,
        /// Its place in it.
        sequence: u64,
        /// Gets the outcome.
        token: Token,
        /// Whether nothing came of its stream for half a window before it.
        is_quiet: bool,
        /// The batch, `None` if it is malformed, or known to be a duplicate and not decoded.
        batch: Option<Box<(Decoded, Encoded)>>,
    },
    /// A loss: always a [`Message::Lost`].
    Loss(Message),
}

/// What was decided, in the order of the entries.
pub type Answers = Vec<Answer>;

/// What was decided about an entry.
#[derive(Debug)]
pub enum Answer {
    /// The stream is open.
    Opened {
        /// To see what is safe of it.
        cell: Arc<StreamCell>,
        /// The sequence number that is wanted next.
        expected: u64,
        /// Hash of the batch before it, if it is known.
        predecessor: Option<Digest>,
    },
    /// The stream cannot be opened.
    Unopened(OpenError),
    /// Everything below is taken.
    Taken {
        /// Of this stream.
        stream: Stream,
        /// The sequence number that is wanted next.
        next: u64,
    },
    /// It was not taken.
    Refused {
        /// Of this stream.
        stream: Stream,
        /// The sequence number that is wanted next.
        expected: u64,
        /// Why.
        reason: NackReason,
    },
}

/// The sending side.
#[derive(Clone, Debug)]
pub struct Queue {
    places: Arc<Semaphore>,
    requests: Sender<Request>,
}

/// Both sides of a new queue.
#[must_use]
pub fn queue() -> (Queue, Receiver<Request>) {
    // One commit is on its way at a time, and the end may be asked for twice.
    let (requests, inbox) = bounded(SUBMISSIONS + 3);
    (Queue { places: Arc::new(Semaphore::new(SUBMISSIONS)), requests }, inbox)
}

impl Queue {
    /// Waits for a place, and submits. `None` if the stage is gone.
    pub async fn submit(&self, session: &Arc<Session>, entries: Vec<Entry>) -> Option<oneshot::Receiver<Answers>> {
        let since = Instant::now();
        let _place = self.places.clone().acquire_owned().await.ok();
        let (reply, answers) = oneshot::channel();
        let submission = Submission { session: session.clone(), since, entries, reply, _place };
        // Whoever has a place finds room.
        self.requests.try_send(Request::Submit(submission)).ok()?;
        Some(answers)
    }

    /// Says that a checkpoint is in the store.
    pub fn committed(&self, checkpoint: Box<Checkpoint>) {
        // There is room for it: see `queue`. A stage that is gone needs no telling.
        let _ = self.requests.try_send(Request::Committed(checkpoint));
    }

    /// Asks the stage to end.
    pub fn stop(&self) {
        let _ = self.requests.try_send(Request::Stop);
    }
}
