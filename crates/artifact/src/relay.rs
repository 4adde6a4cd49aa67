//! Verifies an archive and hands its images over in the same reading.
//!
//! The tar for `docker load` is written while the archive is read, with names of
//! ours: numbers, since digests are known only after the bytes. What makes it an
//! image, the manifest at its end, is held back until the very last byte of the
//! archive is verified: an engine keeps nothing of a tar without one.

use std::fmt;
use std::io::{Read, Write};

use crate::error::ArtifactError;
use crate::layers::Outlet;
use crate::limits::Limits;
use crate::load::finish;
use crate::packer::Packer;
use crate::verify::{Contents, survey};

/// A tar for `docker load`, complete but for its end.
///
/// Dropping it must keep the engine from taking the tar for a whole one: its
/// destination has to tell the difference between an end and a break.
pub struct Held<W>(Packer<W>);

impl<W> fmt::Debug for Held<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// Numbers the files it passes on.
struct Numbered<W> {
    packer: Packer<W>,
    count: u64,
}

impl<W: Write> Outlet for Numbered<W> {
    fn begin(&mut self, size: u64) -> Result<String, ArtifactError> {
        self.count += 1;
        let name = format!("file-{}", self.count);
        self.packer
            .begin(&name, size)
            .map_err(ArtifactError::Write)?;
        Ok(name)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.packer.write_all(bytes).map_err(ArtifactError::Write)
    }
}

/// Reads the whole archive, verifies it as [`verify`](crate::verify()) does and
/// writes the files of its images to `out` on the way.
pub fn relay<W: Write>(
    reader: impl Read,
    out: W,
    limits: &Limits,
) -> Result<(Contents, Held<W>), ArtifactError> {
    let mut numbered = Numbered {
        packer: Packer::new(out),
        count: 0,
    };
    let contents = survey(reader, limits, Some(&mut numbered), false)?;
    Ok((contents, Held(numbered.packer)))
}

impl<W: Write> Held<W> {
    /// Lets go of the end and gives the destination back. `contents` are those it was
    /// verified with; images are named by `tag`, called with the service's name.
    pub fn release(
        self,
        contents: &Contents,
        tag: &dyn Fn(&str) -> String,
    ) -> Result<W, ArtifactError> {
        finish(self.0, &contents.plan.relayed_manifest(tag))
    }
}
