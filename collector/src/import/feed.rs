//! Has batches decoded by the workers and decided by the journal stage, in their order, as a connection's middle does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use martlet_window::SensorName;
use martlet_wire::v1::{NackReason, Stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::error::ImportError;
use super::stream::{Known, Made};
use crate::aggregate::{DecodeJob, DecodedGroup, Encoded};
use crate::ingest::{Behind, Counters, Share, Token, decoded_cost};
use crate::journal::{Answer, Answers, Entry, OpenError, Session};

/// Groups that are being decoded at a time.
const DECODING: usize = 2;
/// Groups that are being decided at a time; all that wait are made durable with one sync.
const DECIDING: usize = 8;
/// How long to wait for memory, or for a place for a stream, before looking again.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a stream.
#[derive(Debug)]
pub(super) struct Fed {
    /// Batches that were taken and are durable.
    pub(super) taken: u64,
    /// Why no more are.
    pub(super) failure: Option<FeedError>,
}

/// Why no more batches of a stream are taken.
#[derive(Debug)]
pub(super) enum FeedError {
    /// A batch was refused.
    Refused(NackReason),
    /// A thread is gone that should have answered.
    Ended,
}

/// The way from batches to the journal stage.
pub(super) struct Feed {
    behind: Behind,
    session: Arc<Session>,
    counters: Arc<Counters>,
}

/// Batches on their way, in their order.
#[derive(Default)]
struct OnTheWay {
    gathered: Vec<Entry>,
    payloads: Vec<Encoded>,
    decoding: VecDeque<(Vec<Entry>, oneshot::Receiver<DecodedGroup>)>,
    deciding: VecDeque<oneshot::Receiver<Answers>>,
    taken: u64,
}

impl Feed {
    pub(super) fn new(behind: Behind) -> Arc<Feed> {
        // The only session of this process.
        Arc::new(Feed { behind, session: Arc::new(Session::new(0)), counters: Arc::default() })
    }

    /// Opens a stream, and says where it goes on.
    pub(super) async fn open(&self, stream: Stream, name: &SensorName) -> Result<Known, ImportError> {
        loop {
            // Positions that are not committed yet hold their places.
            let may_help = self.behind.state.counters.uncommitted() > 0;
            return Err(match self.try_open(stream, name).await {
                Some(Answer::Opened { expected, predecessor, .. }) => return Ok(Known { expected, predecessor }),
                Some(Answer::Unopened(OpenError::Streams)) if may_help => {
                    sleep(PAUSE).await;
                    continue;
                }
                Some(Answer::Unopened(OpenError::NameTaken)) => ImportError::NameTaken(name.clone()),
                Some(Answer::Unopened(OpenError::Sensors)) => ImportError::Sensors,
                Some(Answer::Unopened(OpenError::Streams)) => ImportError::Streams,
                Some(Answer::Unopened(OpenError::Store)) => ImportError::Store,
                _ => ImportError::Ended("the journal stage".to_owned()),
            });
        }
    }

    async fn try_open(&self, stream: Stream, name: &SensorName) -> Option<Answer> {
        let entry = Entry::Open { stream, name: name.clone() };
        let answers = self.behind.queue.submit(&self.session, vec![entry]).await?;
        answers.await.ok()?.pop()
    }

    /// Feeds the batches of a stream until there are no more and all are durable.
    pub(super) async fn run(self: Arc<Feed>, stream: Stream, groups: mpsc::Receiver<Vec<Made>>) -> Fed {
        let mut way = OnTheWay::default();
        let failure = self.feed(stream, groups, &mut way).await.err();
        Fed { taken: way.taken, failure }
    }

    async fn feed(
        &self,
        stream: Stream,
        mut groups: mpsc::Receiver<Vec<Made>>,
        way: &mut OnTheWay,
    ) -> Result<(), FeedError> {
        while let Some(group) = groups.recv().await {
            for made in group {
                self.gather(stream, made, way).await?;
            }
            self.decode(way)?;
            self.submit(way, DECODING).await?;
            way.settle(DECIDING).await?;
        }
        self.submit(way, 0).await?;
        way.settle(0).await
    }

    async fn gather(&self, stream: Stream, made: Made, way: &mut OnTheWay) -> Result<(), FeedError> {
        let Made { sequence, rows, payload } = made;
        let memory = self.memory(decoded_cost(rows), way).await?;
        // What waits in front of this is bounded in number and bytes; from here on the share for the decoded batch bounds it.
        way.payloads.push(Encoded { payload, payload_memory: Share::default(), memory });
        let token = Token::received(&self.counters);
        way.gathered.push(Entry::Batch { stream, sequence, token, is_quiet: false, batch: None });
        Ok(())
    }

    /// Memory for a decoded batch.
    async fn memory(&self, bytes: u64, way: &mut OnTheWay) -> Result<Share, FeedError> {
        let budget = &self.behind.batch_memory;
        if let Some(memory) = budget.try_take(bytes) {
            return Ok(memory);
        }
        // Whoever waits for a share must not hold others back: they are given back behind the decision.
        self.decode(way)?;
        self.submit(way, 0).await?;
        loop {
            if let Some(memory) = budget.take(bytes, PAUSE).await {
                return Ok(memory);
            }
        }
    }

    /// Gives what was gathered to a worker.
    fn decode(&self, way: &mut OnTheWay) -> Result<(), FeedError> {
        if way.payloads.is_empty() {
            return Ok(());
        }
        let (reply, decoded) = oneshot::channel();
        let payloads = std::mem::take(&mut way.payloads);
        // The queue has room for every batch that holds a share of the budget; it is closed only when workers died.
        self.behind.decode.try_send(DecodeJob { payloads, reply }).map_err(|_| FeedError::Ended)?;
        way.decoding.push_back((std::mem::take(&mut way.gathered), decoded));
        Ok(())
    }

    /// Submits what is decoded, until at most so many groups are not.
    async fn submit(&self, way: &mut OnTheWay, most: usize) -> Result<(), FeedError> {
        while way.decoding.len() > most {
            let Some((mut entries, decoded)) = way.decoding.pop_front() else { break };
            let decoded = decoded.await.map_err(|_| FeedError::Ended)?;
            for (entry, decoded) in entries.iter_mut().zip(decoded) {
                if let Entry::Batch { batch, .. } = entry {
                    *batch = decoded.ok().map(Box::new);
                }
            }
            let answers = self.behind.queue.submit(&self.session, entries).await;
            way.deciding.push_back(answers.ok_or(FeedError::Ended)?);
        }
        Ok(())
    }
}

impl OnTheWay {
    /// Awaits answers, until at most so many groups have none.
    async fn settle(&mut self, most: usize) -> Result<(), FeedError> {
        while self.deciding.len() > most {
            let Some(answers) = self.deciding.pop_front() else { break };
            for answer in answers.await.map_err(|_| FeedError::Ended)? {
                match answer {
                    Answer::Taken { .. } => self.taken += 1,
                    Answer::Refused { reason, .. } => return Err(FeedError::Refused(reason)),
                    Answer::Opened { .. } | Answer::Unopened(_) => {}
                }
            }
        }
        Ok(())
    }
}
