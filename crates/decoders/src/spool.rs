//! What stands in the records of the sensor's spool.

use martlet_sensor::spool::{Kind, Prelude};

/// Any bytes as a record: what is taken is written back as the same bytes.
pub fn spool(bytes: &[u8]) {
    let Some((prelude, frame)) = Prelude::read(bytes) else { return };
    let written = [&prelude.write()[..], frame].concat();
    match prelude.kind {
        Kind::Batch(_) => assert_eq!(written, bytes),
        // A loss has no digest: what stands in its place is not looked at, and is written as zeros.
        Kind::Loss => {
            assert!(frame.is_empty());
            assert_eq!(Prelude::read(&written), Some((prelude, frame)));
        }
    }
}
