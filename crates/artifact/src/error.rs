//! Why an archive is refused or cannot be written: one variant per reason, each
//! a single line fit for the user who holds the file.

use std::io;

use thiserror::Error;

use crate::digest::Digest;

/// The reason an archive could not be read, verified or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The input is something else altogether.
    #[error("this is not a build archive: {reason}")]
    NotAnArchive {
        /// What was found instead.
        reason: &'static str,
    },
    /// Older racks append the text of a failed export to a valid gzip header.
    #[error("this is not a build archive but the message of a failed export: {message}")]
    FailedExport {
        /// The message of the exporting rack.
        message: String,
    },
    /// The compressed stream is corrupt or its checksum is wrong.
    #[error("{place} is damaged: {reason}; get the archive again")]
    Damaged {
        /// The part that is damaged.
        place: String,
        /// What does not hold.
        reason: String,
    },
    /// The input ends before its content does.
    #[error("{place} is cut short; get the archive again")]
    Truncated {
        /// The part in which the input ended.
        place: String,
    },
    /// Something other than zero padding follows the end.
    #[error("{place} is followed by data that does not belong to it")]
    TrailingData {
        /// The part that had ended.
        place: String,
    },
    /// A tar header breaks the rules of its format.
    #[error("{place} is malformed: {reason}")]
    Malformed {
        /// The tar or entry.
        place: String,
        /// Which rule is broken.
        reason: String,
    },
    /// The two places that state an entry's size contradict each other.
    #[error(
        "{name} has two sizes, {header} in its header and {extension} in its extended header; refusing to guess"
    )]
    AmbiguousSize {
        /// The entry.
        name: String,
        /// The size in the header block.
        header: u64,
        /// The size in the extended header.
        extension: u64,
    },
    /// A name that could lead outside, or deceive a reader.
    #[error("unsafe name {name} in the archive: {reason}")]
    UnsafeName {
        /// The name, escaped and shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two entries have the same name, or names that differ only in case.
    #[error("{name} is in the archive more than once")]
    Duplicate {
        /// The second of the names.
        name: String,
    },
    /// A link, device or other special entry where only files may be.
    #[error("{name} is a {kind}, which has no place in a build archive")]
    Forbidden {
        /// The entry.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// A link inside an image tar that leads to no file.
    #[error("{name} is a link to {target}, which is not a file of the same image")]
    DanglingLink {
        /// The link.
        name: String,
        /// Where it leads.
        target: String,
    },
    /// The archive is larger than the reader was told to accept.
    #[error("the archive exceeds the limit of {limit} for {what}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A JSON document does not say what it must.
    #[error("{place} cannot be read: {reason}")]
    Document {
        /// The document.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Text in place of a digest.
    #[error("{text} is not a digest: expected sha256: and 64 lower-case hexadecimal digits")]
    MalformedDigest {
        /// The text found, escaped and shortened.
        text: String,
    },
    /// Bytes are not what their digest promises.
    #[error(
        "{place} is damaged: its digest is {actual}, expected {expected}; get the archive again"
    )]
    DigestMismatch {
        /// The file.
        place: String,
        /// The digest promised.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A descriptor promises another size than the file has.
    #[error("{place} has {actual} bytes, expected {expected}; get the archive again")]
    SizeMismatch {
        /// The file.
        place: String,
        /// The size promised.
        expected: u64,
        /// The size found.
        actual: u64,
    },
    /// An image refers to a file that is not there.
    #[error("{place} is incomplete: {path} is missing")]
    MissingFile {
        /// The image tar.
        place: String,
        /// The file.
        path: String,
    },
    /// An image lists another number of layers than its configuration.
    #[error("{place} is inconsistent: {layers} layers for {diff_ids} layer digests")]
    LayerCount {
        /// The image tar or configuration.
        place: String,
        /// Layers listed.
        layers: usize,
        /// Digests in the configuration.
        diff_ids: usize,
    },
    /// A layer that no engine of the time can load.
    #[error(
        "layer {place} is compressed with {method}; only gzip and plain layers are supported: build the \
         image with compression=gzip,force-compression=true"
    )]
    UnsupportedCompression {
        /// The layer.
        place: String,
        /// The compression.
        method: &'static str,
    },
    /// The closing index and the content contradict each other.
    #[error("the archive does not match its own index: {reason}")]
    IndexMismatch {
        /// The first difference.
        reason: String,
    },
    /// The archive was written by a later generation of this program.
    #[error(
        "the archive has format version {major}.{minor}, this program reads up to {supported}.x; upgrade it"
    )]
    UnsupportedVersion {
        /// Major version found.
        major: u32,
        /// Minor version found.
        minor: u32,
        /// The newest major version that can be read.
        supported: u32,
    },
    /// There is nothing to run in the archive.
    #[error("the archive contains no images")]
    NoImages,
    /// An image without any name, so its service is unknown.
    #[error("an image in {place} has no tag that names its service")]
    Untagged {
        /// The image tar.
        place: String,
    },
    /// An image layout of several images where one is needed.
    #[error("{place} must contain exactly one image, found {count}")]
    ImageCount {
        /// The image tar.
        place: String,
        /// How many there are.
        count: usize,
    },
    /// Two different images claim the same service.
    #[error("the archive contains two different images for service {service}")]
    AmbiguousService {
        /// The service.
        service: String,
    },
    /// The engine's output lacks an image that the build needs.
    #[error("the engine did not save image {tag} of service {service}")]
    ImageNotSaved {
        /// The service.
        service: String,
        /// The image's tag.
        tag: String,
    },
    /// A build that cannot be named or described in an archive.
    #[error("the build cannot be exported: {reason}")]
    Unexportable {
        /// What stands in the way.
        reason: String,
    },
    /// Text that names no archive format.
    #[error("unknown archive format {name}: use default, v2 or v3")]
    UnknownFormat {
        /// What was given, escaped.
        name: String,
    },
    /// Text that is not a list of limits.
    #[error("{text} sets no limit: {reason}")]
    MalformedLimits {
        /// The part that is wrong, escaped.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document inside an image tar that is of another generation.
    #[error("{place} has version {version}, this program reads {supported}; upgrade it")]
    UnsupportedDocument {
        /// The document.
        place: String,
        /// The version it states.
        version: String,
        /// The versions that can be read.
        supported: &'static str,
    },
    /// The second reading differs from the first.
    #[error("{place} changed while it was being read")]
    Changed {
        /// The part that changed.
        place: String,
    },
    /// The source of the bytes failed.
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// The destination of the bytes failed.
    #[error("cannot write: {0}")]
    Write(io::Error),
}

impl ArtifactError {
    /// Packs the error so that it can pass through `Read` implementations.
    pub(crate) fn carried(self) -> io::Error {
        io::Error::other(self)
    }

    /// Unpacks an error carried through `Read`, or takes it as a failed source.
    pub(crate) fn from_read(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(carried) => carried,
            Err(error) => Self::Read(error),
        }
    }
}

/// Renders a name from an archive harmlessly: escaped, and never long.
pub(crate) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 80;
    let text = String::from_utf8_lossy(&name[..name.len().min(4 * LONGEST)]);
    format!("\"{}\"", escaped(&text, LONGEST))
}

/// Renders text from an archive harmlessly, with at most so many of its characters.
pub(crate) fn escaped(text: &str, longest: usize) -> String {
    let mut escaped: String = text
        .chars()
        .take(longest)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(longest).is_some() {
        escaped.push('…');
    }
    escaped
}
