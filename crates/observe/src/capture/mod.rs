//! A captured frame, and capture files to read frames from. Live capture is the sensor's.

pub mod file;

use martlet_packet::LinkType;
use martlet_window::Timestamp;

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Capture time.
    pub time: Timestamp,
    /// The link type, or `None` where it is not one that Martlet reads.
    pub link: Option<LinkType>,
    /// The captured bytes.
    pub bytes: &'a [u8],
}
