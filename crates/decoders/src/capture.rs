//! Capture files that others wrote: pcap and pcapng, plain or compressed.

use martlet_observe::capture::file::{CaptureFile, Progress};

use crate::scratch::with_file;

/// More than a frame can have in any capture: what is longer was not cut off where it should have been.
const LONGEST_FRAME: usize = 1 << 26;
/// Frames that are read of one file: a compressed file of a few bytes may hold millions.
const MOST_FRAMES: usize = 10_000;

/// Any bytes as a capture file: it ends, frames are bounded, and after an error there are no more of them.
pub fn capture(bytes: &[u8]) {
    with_file(bytes, |path| {
        let Ok(mut file) = CaptureFile::open(path, &Progress::default()) else { return };
        for _ in 0..MOST_FRAMES {
            match file.next_frame() {
                Ok(Some(frame)) => assert!(frame.bytes.len() <= LONGEST_FRAME),
                Ok(None) => break,
                Err(_) => {
                    assert!(matches!(file.next_frame(), Ok(None)), "there are frames after an error");
                    break;
                }
            }
        }
        for complaint in file.complaints() {
            assert!(!complaint.to_string().is_empty());
        }
    });
}
