//! Durable logs: one per app and one for the rack itself.
//!
//! Responsible for keeping every acknowledged line through a crash of the
//! server, for bounded disk use, and for readers that follow at their own pace.
//! It knows nothing of processes or websockets: callers bring time, stream name
//! and bytes, readers get formatted text.
//!
//! # On disk
//!
//! ```text
//! DIR/rack/00000000000000000000.log      the rack's own log
//! DIR/apps/NAME/00000000000000000000.log an app's log, one directory each
//! DIR/apps/NAME/00000000000016777190.log its next segment
//! ```
//!
//! A log is one endless sequence of bytes cut into append-only segment files,
//! each named by the offset of its first byte in twenty decimal digits. A segment
//! holds whole lines and ends at 16 MiB; the oldest are deleted when the log
//! exceeds 256 MiB ([`Limits`]). A line is
//!
//! ```text
//! <RFC 3339 in UTC with nanoseconds> <stream> <message>\n
//! ```
//!
//! The time is always thirty bytes, so times compare as text. The stream
//! (`service/web/0123456789ab`, `system/docker/web`) holds no blank and no
//! control character; the message is any bytes but a newline. A message of
//! several lines becomes several lines; a line over 32 KiB is wrapped, because
//! clients give up on very long lines. A line is written with one system call
//! before [`Log::append`] returns, so killing the server loses nothing; a torn
//! last line (power loss) is cut off when the log is opened again.
//!
//! Colour and other terminal sequences are kept on disk and left out when
//! reading: they stop the official clients, see [`mod@plain`].

mod line;
mod log;
mod plain;
mod read;
mod segment;

pub use log::{Limits, Log, Logs};
pub use plain::plain;
pub use read::Streams;
