//! One connection's middle: gives what was read to the journal stage, decoded and in the order of the frames.

use std::sync::Arc;

use martlet_wire::v1::{Message, Stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::answers::Reply;
use super::counters::Token;
use super::gate::Shared;
use crate::aggregate::DecodedGroup;
use crate::journal::{Entry, OpenError, Session, StreamCell};

/// What the reader leaves, in the order of the frames.
pub(super) enum Pending {
    /// An answer that needs no decision.
    Answer(Message),
    /// A stream to open.
    Open { entry: Entry, opened: oneshot::Sender<Result<Arc<StreamCell>, OpenError>> },
    /// A loss.
    Loss(Message),
    /// Batches that came together.
    Batches(Group),
}

/// Batches that came together.
pub(super) struct Group {
    pub(super) batches: Vec<Undecided>,
    /// Those that are decoded, once a worker has done it; `None` if none is.
    pub(super) decoded: Option<oneshot::Receiver<DecodedGroup>>,
    /// What the batches take of `ingest.max_batches_in_flight`.
    pub(super) places: Option<OwnedSemaphorePermit>,
}

/// A batch that has not been decided yet.
pub(super) struct Undecided {
    pub(super) stream: Stream,
    pub(super) sequence: u64,
    /// When its frame had been read whole.
    pub(super) read_at: Instant,
    pub(super) token: Token,
    /// Whether nothing came of its stream for half a window before it.
    pub(super) is_quiet: bool,
    /// Whether a worker decodes it: not if it is known to be a duplicate or malformed.
    pub(super) is_decoded: bool,
}

/// Submits everything that the reader leaves, in order. The answers are awaited elsewhere: while one group is being made
/// durable, the next are decoded and submitted. Ends when the reader has ended, or the other side is gone.
pub(super) async fn submit_all(
    shared: &Shared,
    session: &Arc<Session>,
    mut pending: mpsc::Receiver<Pending>,
    replies: mpsc::Sender<Reply>,
) {
    while let Some(pending) = pending.recv().await {
        if submit(shared, session, pending, &replies).await.is_none() {
            return;
        }
    }
}

async fn submit(
    shared: &Shared,
    session: &Arc<Session>,
    pending: Pending,
    replies: &mpsc::Sender<Reply>,
) -> Option<()> {
    let (entries, read_at, places, opened) = match pending {
        Pending::Answer(message) => return replies.send(Reply::Now(message)).await.ok(),
        Pending::Open { entry, opened } => (vec![entry], Vec::new(), None, Some(opened)),
        Pending::Loss(message) => (vec![Entry::Loss(message)], Vec::new(), None, None),
        Pending::Batches(Group { batches, decoded, places }) => {
            // A worker that died without an answer leaves the group undecided, and so discarded.
            let decoded = match decoded {
                Some(decoded) => decoded.await.ok()?,
                None => Vec::new(),
            };
            let read_at = batches.iter().map(|batch| batch.read_at).collect();
            (entries(batches, decoded), read_at, places, None)
        }
    };
    let answers = shared.behind.queue.submit(session, entries).await?;
    replies.send(Reply::Later { answers, read_at, places, opened }).await.ok()
}

fn entries(batches: Vec<Undecided>, decoded: DecodedGroup) -> Vec<Entry> {
    let mut decoded = decoded.into_iter();
    let entries = batches.into_iter().map(|batch| {
        let Undecided { stream, sequence, token, is_quiet, is_decoded, .. } = batch;
        let batch = if is_decoded { decoded.next().and_then(Result::ok).map(Box::new) } else { None };
        Entry::Batch { stream, sequence, token, is_quiet, batch }
    });
    entries.collect()
}
