//! What is held in memory: for each class its buckets of event time, the recent past, and what Prometheus is told.
//!
//! One thread, the [`Merger`], owns the [`LiveStore`], adds what workers hand over, and publishes an immutable
//! [`LiveView`]. Views share everything that did not change. A reader takes the newest view and keeps it as long as it
//! likes; nobody waits for anybody.

mod bucket;
mod codec;
mod coverage;
mod image;
mod key;
mod merger;
mod observed;
mod recent;
mod sorted;
mod store;
mod top;
mod view;

pub use bucket::{Bucket, BucketLimits, Coarsened, LIST_KINDS, ListId, Row};
pub use codec::{Reader, Stored, StoredBlob, Writer};
pub use coverage::{Coverage, CoverageState, Expectation, held_hours};
pub use image::{ByStart, ClassImage, LiveImage, Start};
pub use key::{KindKey, RowKey, ServiceKey, ServiceKind, Source};
pub use merger::{Merger, Parts, Snapshot};
pub use observed::{KindSeries, Observed, ObservedSample, ObserverImage, Series, mark_name, protocol_label};
pub use recent::{RECENT_SERVICES, RECENT_STEP_SECONDS, RECENT_STEPS, RecentStep, RecentSteps};
pub use sorted::{Levels, RowRef, SetRef, Sorted, SortedKey};
pub use store::LiveStore;
pub use top::{TopEntry, TopSources};
pub use view::{ClassView, LiveView, RecentHours, SILENT_WINDOWS, SensorView};
