//! The encoder: the second thread of a sensor, which makes batches of closed parts and looks after the spool.

use std::time::Duration;

use martlet_journal::Disk;
use martlet_observe::batch::{BatchError, Batcher};
use martlet_telemetry::watchdog::Pulse;

use crate::spool::SpoolWriter;

/// How often it comes round when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// Turns parts into batches until the capture ends, then looks after the spool until nobody sends from it any more. The pulse
/// beats while it is not stuck in either.
///
/// # Errors
/// If a batch cannot be encoded.
pub fn run<D: Disk>(mut batcher: Batcher, mut spool: SpoolWriter<D>, pulse: &Pulse) -> Result<(), BatchError> {
    let (parts, work) = (batcher.parts(), spool.work());
    let mut works = true;
    while works {
        pulse.beat();
        crossbeam_channel::select! {
            recv(parts) -> closing => match closing {
                Ok(closing) => batcher.encode(closing, &mut spool)?,
                Err(_) => break,
            },
            recv(work) -> more => {
                works = more.is_ok();
                spool.tend();
            }
            default(IDLE) => {}
        }
    }
    // Nobody sends any more, but what is captured is kept.
    batcher.run(&mut spool)?;
    spool.close();
    for () in &work {
        spool.tend();
    }
    spool.finish();
    Ok(())
}
