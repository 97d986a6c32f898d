//! A stream of batches that can be made again, on its way to a collector: what a replay and a drill have in common.
//!
//! Whoever reads frames hands closed parts over; an encoder and an uplink, on threads of their own, bring them to the
//! collector. The spool is in memory, and a reader that is faster than the collector waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use martlet_observe::batch::{BatchError, Handover, handover};
use martlet_observe::import::ImportSettings;
use martlet_telemetry::watchdog::Pulse;

use crate::encode;
use crate::spool::{self, MemoryDisk, SpoolFigures, SpoolSettings};
use crate::uplink::{self, ClientTls, TcpDial, TlsDial, UplinkSettings, UplinkState};

/// One stream that is being delivered. Its batches must be the same each time it is made: its epoch names it, and what
/// the collector has of it already does not count again.
pub struct Delivery {
    handover: Handover,
    encoder: JoinHandle<Result<(), BatchError>>,
    uplink: JoinHandle<Result<()>>,
    figures: Arc<SpoolFigures>,
    failed: Arc<AtomicBool>,
}

impl Delivery {
    /// Begins to deliver under the name, the class and the limits of these settings.
    ///
    /// # Errors
    /// If there is no memory for the encoder, or no thread.
    pub fn start(import: &ImportSettings, epoch: u64, collector: &str, tls: Option<ClientTls>) -> Result<Delivery> {
        let origin = import.origin();
        let figures = Arc::new(SpoolFigures::default());
        let failed = Arc::new(AtomicBool::new(false));
        let (spool, mut outlet, _) = spool::open(
            MemoryDisk::default(),
            origin,
            SpoolSettings::replay(),
            figures.clone(),
            Box::new(move || epoch),
        )?;
        let (handover, batcher) = handover(import.batch_identity())?;
        let settings = UplinkSettings { origin, name: import.sensor.clone(), max_rows: import.limits.max_rows };
        let mut dial = TlsDial { under: TcpDial { collector: collector.to_owned() }, tls };
        let encoder = thread::Builder::new()
            .name("encoder".into())
            .spawn(move || encode::run(batcher, spool, &Pulse::default()))?;
        let gave_up = failed.clone();
        let uplink = thread::Builder::new().name("uplink".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let state = UplinkState::default();
            let sent = runtime.block_on(uplink::run(&settings, &mut outlet, &mut dial, &mut rand::rng(), &state));
            if sent.is_err() {
                // Nobody takes batches any more: let the encoder, and with it the reader, run through.
                gave_up.store(true, Relaxed);
                outlet.abandon();
            }
            sent.map_err(anyhow::Error::from)
        })?;
        Ok(Delivery { handover, encoder, uplink, figures, failed })
    }

    /// Where closed parts go.
    #[must_use]
    pub const fn handover(&self) -> &Handover {
        &self.handover
    }

    /// Whether nothing more will be delivered; [`Self::finish`] says why.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Waits until everything that was handed over is acknowledged, and says how many batches that were.
    ///
    /// # Errors
    /// If the collector refuses the stream or some of its batches.
    pub fn finish(self) -> Result<u64> {
        let Delivery { handover, encoder, uplink, figures, .. } = self;
        drop(handover);
        encoder.join().map_err(|_| anyhow::anyhow!("the encoder panicked"))??;
        uplink.join().map_err(|_| anyhow::anyhow!("the uplink panicked"))??;
        let lost = figures.dropped_in_all().batches;
        anyhow::ensure!(lost == 0, "the collector would not take {lost} batches");
        Ok(figures.delivered.load(Relaxed))
    }
}
