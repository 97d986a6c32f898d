//! How long the certificates of sensors hold, as of a moment ago: for metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// From when and until when a certificate holds, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was issued.
    pub issued: i64,
    /// When it ends.
    pub not_after: i64,
}

impl Life {
    /// How long it holds in all, in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.not_after.saturating_sub(self.issued)
    }
}

/// Of each sensor the certificate that holds longest: renewals leave those before it valid.
pub type BySensor = BTreeMap<String, Life>;

/// The certificates of our CA that hold.
#[derive(Debug, Default)]
pub struct Lives(ArcSwap<BySensor>);

impl Lives {
    /// Those there are.
    #[must_use]
    pub fn now(&self) -> Arc<BySensor> {
        self.0.load_full()
    }

    pub(super) fn replace(&self, lives: BySensor) {
        if *self.0.load_full() != lives {
            self.0.store(Arc::new(lives));
        }
    }
}
