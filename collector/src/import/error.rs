//! Why files, or all of an import, cannot be had.

use std::io;
use std::path::PathBuf;

use martlet_observe::batch::BatchError;
use martlet_observe::capture::file::CaptureError;
use martlet_window::SensorName;
use martlet_wire::v1::NackReason;
use thiserror::Error;

use crate::run::StartError;

/// What is wrong with one file. The others are imported all the same.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be opened or read, is damaged, or holds what Martlet does not read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A pipe, a device: what cannot be read twice.
    #[error(
        "{}: not a regular file; an import reads a file twice, the first time to know it again. `martlet-sensor replay` \
         takes a stream", .0.display()
    )]
    Irregular(PathBuf),
    /// It grew or was replaced before anything was imported.
    #[error("{}: it is being written; import it when it is finished", .0.display())]
    Growing(PathBuf),
    /// It grew or was replaced meanwhile.
    #[error(
        "{}: it changed while it was imported, and what was read of it counts; imported again it is another file and counts \
         as such", .0.display()
    )]
    Changed(PathBuf),
    /// Under this identity the collector has other batches.
    #[error(
        "{}: the collector knows other batches of this file, from another version of Martlet; import it under another name \
         with --sensor", .0.display()
    )]
    OtherBatches(PathBuf),
    /// The journal stage does not take a batch: a defect.
    #[error("{}: a batch was refused ({reason:?}): this is a defect; please report it", file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: NackReason,
    },
}

/// Why nothing, or nothing more, can be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A collector has the data directory.
    #[error(
        "the data directory {} is in use by a collector; stop it, or send it the files with `martlet-sensor replay \
         --collector`", .0.display()
    )]
    InUse(PathBuf),
    /// The store is another user's.
    #[error(
        "{} belongs to the user with number {uid}, who could not use what another user writes there; run this as that user, \
         for example with `sudo -u`", store.display()
    )]
    OtherUser {
        /// The store.
        store: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Batches would be larger than the collector takes.
    #[error(
        "ingest.max_rows and ingest.max_batch_bytes take at most {theirs} rows a batch, and an import makes batches of up to \
         {ours}; raise them"
    )]
    TooManyRows {
        /// What an import makes.
        ours: u32,
        /// What the configuration takes.
        theirs: u32,
    },
    /// The stages cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The signal handlers cannot be set up.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    /// A sensor has the name.
    #[error("the name {0} belongs to a sensor; choose another with --sensor")]
    NameTaken(SensorName),
    /// There are no more names.
    #[error("ingest.max_sensors have names already; raise it, or import under a name that is known")]
    Sensors,
    /// There is no room for a stream, although all are committed.
    #[error("ingest.max_streams are in use; raise it")]
    Streams,
    /// The positions of streams cannot be read.
    #[error("the store cannot be read")]
    Store,
    /// Batches cannot be made.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Interrupted while the disk took nothing.
    #[error(
        "{0} while the disk took nothing: what was taken before counts; run the same command again to go on, nothing counts \
         twice"
    )]
    Stalled(&'static str),
    /// A thread is gone.
    #[error("{0} ended unexpectedly: this is a defect; please report the lines above")]
    Ended(String),
}
