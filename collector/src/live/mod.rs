//! What is held in memory: for each class its buckets of event time, the recent past, and what Prometheus is told.
//!
//! One thread, the [`Merger`], owns the [`Store`], adds what workers hand over, and publishes an immutable
//! [`LiveView`]. Views share everything that did not change. A reader takes the newest view and keeps it as long as it
//! likes; nobody waits for anybody.

mod bucket;
mod key;
mod merger;
mod observed;
mod recent;
mod store;
mod top;
mod view;

pub use bucket::{Bucket, Row};
pub use key::{KindKey, RowKey, ServiceKey, Source};
pub use merger::{Merger, Statistics, unix_now};
pub use observed::{KindSeries, Observed, ObservedSample, Series, mark_name};
pub use recent::{RECENT_SERVICES, RECENT_STEP_SECONDS, RECENT_STEPS, RecentStep, RecentSteps};
pub use store::Store;
pub use top::{TopEntry, TopSources};
pub use view::{ClassView, LiveView, SensorView};
