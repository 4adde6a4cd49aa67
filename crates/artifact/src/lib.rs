//! Build archives: the artifact that carries a verified build between racks.
//!
//! Reads every layout real racks wrote, writes the ones they read, and proves
//! that what was exported is what is imported. Synchronous, streaming, constant
//! memory; knows nothing of Docker, HTTP or clocks. An archive is hostile input:
//! never unpacked to paths it names, sizes counted and not believed.
//!
//! The bytes are described in `docs/archive-format.md`.

mod convert;
mod digest;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod glimpse;
mod gunzip;
mod gzip;
mod hasher;
mod images;
mod layers;
mod limits;
mod load;
mod packer;
mod proof;
mod record;
mod relay;
mod tarball;
mod verify;
mod write;

pub use convert::prepare_conversion;
pub use digest::Digest;
pub use error::ArtifactError;
pub use glimpse::{Glimpse, glimpse};
pub use images::{Compression, Layer, Platform};
pub use limits::Limits;
pub use load::write_docker_load;
pub use proof::Check;
pub use record::{
    BUILD_ENTRY, BuildRecord, FORMAT_MAJOR, FORMAT_MINOR, FileEntry, FormatVersion, INDEX_ENTRY,
    Index, Origin, ServiceImage, Source,
};
pub use relay::{Held, relay};
pub use verify::{Contents, Layout, fingerprint, verify, verify_thin};
pub use write::{Format, Prepared, Saved, Summary, plan, prepare, write};
