//! Wire version 1.

mod batch;
mod bytes;
mod columns;
mod frame;
mod message;

pub use batch::{BATCH_FIXED_LENGTH, BatchEncoder, BatchView, batch_identity, digest, move_batch, predecessor};
pub use columns::{Columns, Run};
pub use frame::{FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits, VERSION, begin_frame, end_frame, write_frame};
pub use message::{Message, NackReason, RefusalReason, Stream, Totals};
