//! Where frames come from: capture files or a live interface.

pub mod file;
pub mod filter;
pub mod live;

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
