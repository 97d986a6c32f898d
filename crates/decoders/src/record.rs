//! What stands in the records of the collector's journal.

use martlet_collector::journal::Record;
use martlet_wire::v1::{BatchView, Limits, batch_identity};

/// Any bytes as a record: what names a batch by its payload agrees with what reads all of it.
pub fn record(bytes: &[u8]) {
    if let Ok(Record::Batch { payload, .. }) = Record::read(bytes)
        && let Ok(view) = BatchView::read(payload, &Limits::default())
    {
        let (stream, sequence) = batch_identity(payload).expect("the identity is the beginning of the header");
        assert_eq!((stream.epoch, sequence), (view.header.epoch, view.header.sequence));
    }
}
