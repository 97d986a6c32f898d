//! How a capture file becomes a stream of batches, always the same one: its epoch is a hash of the file and of everything
//! that decides what its batches are. So it counts once, however often it is read and by whichever program.

use std::io::{self, Read};
use std::ops::ControlFlow;

use martlet_window::{Origin, Posture, SensorName, Timestamp, TrafficClass, WindowLength};
use sha2::{Digest, Sha256};

use crate::aggregate::{Aggregator, Sink, TableLimits};
use crate::batch::BatchIdentity;
use crate::capture::file::{CaptureError, CaptureFile};
use crate::classify::Aim;
use crate::pipeline::{Outcomes, Pipeline};
use crate::screen::{AddressSet, Screen};

/// Bytes of a file that are hashed at a time.
const PIECE: usize = 1 << 20;

/// What decides the batches of a capture file, besides its bytes.
#[derive(Clone, Debug)]
pub struct ImportSettings {
    /// Name under which the counts are published.
    pub sensor: SensorName,
    /// Observed networks; empty if every packet counts.
    pub observe: AddressSet,
    /// Whether answers to what the observed addresses sent are left out.
    pub drop_solicited: bool,
    /// The address that senders aimed at.
    pub aim: Aim,
    /// Drill or import.
    pub class: TrafficClass,
    /// How the observed addresses behaved.
    pub posture: Posture,
    /// Length of a window.
    pub window: WindowLength,
    /// Caps of a window part.
    pub limits: TableLimits,
}

impl ImportSettings {
    /// The identity under which a name imports files: always the same, so that a file imported twice counts once.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin(hash(&[b"martlet import", self.sensor.as_str().as_bytes()]))
    }

    /// What stays the same over all batches.
    #[must_use]
    pub fn batch_identity(&self) -> BatchIdentity {
        BatchIdentity { origin: self.origin(), class: self.class, posture: self.posture }
    }

    /// The epoch of a file with this content: its hash together with everything that decides what its batches are, so
    /// that the same import counts once, and another import of the same file is another.
    ///
    /// # Errors
    /// If the content cannot be read.
    pub fn epoch(&self, content: impl Read) -> io::Result<u64> {
        let content = content_hash(content)?;
        let settings = format!(
            "{:?} {} {:?} {:?} {:?} {} {:?}",
            self.observe.networks(),
            self.drop_solicited,
            self.aim,
            self.class,
            self.posture,
            self.window.seconds(),
            self.limits
        );
        let [a, b, c, d, e, f, g, h, ..] = hash(&[&content, settings.as_bytes()]);
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// A pipeline for one file.
    #[must_use]
    pub fn pipeline(&self) -> Pipeline {
        let aggregator = Aggregator::new(self.window, self.limits);
        let screen = Screen::offline(&self.observe, self.drop_solicited);
        Pipeline::new(screen, self.aim, self.observe.clone(), aggregator)
    }
}

/// Reads a file to its end through a pipeline. `before` is asked in front of each frame, with its time and what became of
/// those before it; if it breaks off, the open windows are left open, since what it would have closed them with is no
/// whole window of the file.
///
/// # Errors
/// If the file is damaged such that reading cannot go on; what came before was taken, and its windows are closed.
pub fn read(
    file: &mut CaptureFile,
    pipeline: &mut Pipeline,
    sink: &mut dyn Sink,
    mut before: impl FnMut(Timestamp, &Outcomes) -> ControlFlow<()>,
) -> Result<(), CaptureError> {
    let mut newest = Timestamp(i64::MIN);
    let ended = loop {
        match file.next_frame() {
            Ok(Some(frame)) => {
                if before(frame.time, pipeline.outcomes()).is_break() {
                    return Ok(());
                }
                // Only progress closes windows: behind a wrong clock each late packet would close its own.
                if frame.time > newest {
                    newest = frame.time;
                    pipeline.tick(newest, sink);
                }
                pipeline.take(frame, sink);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if newest.0 != i64::MIN {
        pipeline.finish(newest, sink);
    }
    ended
}

fn content_hash(mut content: impl Read) -> io::Result<[u8; 32]> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; PIECE];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(sha.finalize().into()),
            read => sha.update(&buffer[..read]),
        }
    }
}

/// First 128 bits of the SHA-256 of several parts, each with its length.
fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&sha.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ImportSettings {
        ImportSettings {
            sensor: "import".parse().unwrap(),
            observe: std::iter::once("192.0.2.0/24".parse().unwrap()).collect(),
            drop_solicited: true,
            aim: Aim::Public("198.51.100.9".parse().unwrap()),
            class: TrafficClass::Import,
            posture: Posture::Silent,
            window: WindowLength::DEFAULT,
            limits: TableLimits::default(),
        }
    }

    /// The numbers were computed by another program, with Python's hashlib. If they change, every file that was imported
    /// before counts again.
    #[test]
    fn a_file_has_the_same_stream_for_ever() {
        assert_eq!(settings().epoch(&b"a capture"[..]).unwrap(), 0xde5b_a275_70f6_b6d1);
        assert_eq!(settings().origin().to_string(), "affb38c994749d9a87bcee3ab7244525");
    }

    #[test]
    fn what_decides_the_batches_decides_the_stream() {
        let epoch = |change: fn(&mut ImportSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.epoch(&b"a capture"[..]).unwrap()
        };
        let changes: [fn(&mut ImportSettings); 7] = [
            |it| it.observe = AddressSet::default(),
            |it| it.drop_solicited = false,
            |it| it.aim = Aim::Unknown,
            |it| it.class = TrafficClass::Drill,
            |it| it.posture = Posture::Rst,
            |it| it.window = WindowLength::from_seconds(60).unwrap(),
            |it| it.limits.max_rows = 1024,
        ];
        let mut epochs: Vec<u64> = changes.into_iter().map(epoch).collect();
        epochs.push(settings().epoch(&b"another"[..]).unwrap());
        epochs.push(epoch(|_| {}));
        epochs.sort_unstable();
        epochs.dedup();
        assert_eq!(epochs.len(), 9);
        // The name is the origin's affair.
        assert_eq!(epoch(|it| it.sensor = "other".parse().unwrap()), epoch(|_| {}));
    }
}
