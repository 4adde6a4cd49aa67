//! A look at the first bytes of an archive: enough to guess what it is, and
//! nothing that anybody may rely on.

use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::images::is_configuration;
use crate::limits::{Limits, Meter, Received};
use crate::record::{BUILD_ENTRY, BuildRecord};
use crate::tarball::{Kind, TarReader};
use crate::verify::{IMAGE_SUFFIX, open, text};

/// What the beginning of an archive says, unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// The build, if its description comes first.
    pub build: Option<BuildRecord>,
    /// Digests of the image configurations that come before any layer.
    pub images: Vec<Digest>,
    /// Whether more of the archive would add nothing to this.
    pub complete: bool,
}

/// Looks at `head`, the beginning of an archive. Whatever is wrong with it will be
/// found when it is verified, and is no concern here.
pub fn glimpse(head: &[u8], limits: &Limits) -> Glimpse {
    let mut seen = Glimpse::default();
    let looked = look(head, limits, &mut seen);
    // Cut off where the head ends, which is to be expected.
    seen.complete = !matches!(looked, Err(ArtifactError::Truncated { .. }));
    seen
}

fn look(head: &[u8], limits: &Limits, seen: &mut Glimpse) -> Result<(), ArtifactError> {
    let meter = Meter::new(limits);
    let mut archive = open(Received::new(head, &meter), &meter);
    while let Some(entry) = archive.next_entry()? {
        if entry.kind != Kind::File {
            continue;
        }
        if entry.name == BUILD_ENTRY {
            let json = text(&mut archive, entry.size, &meter)?;
            seen.build = Some(BuildRecord::from_json(&json)?);
        } else if entry.name.ends_with(IMAGE_SUFFIX) {
            let place = entry.name.as_str();
            let mut tar = TarReader::new(&mut archive, place, &meter);
            while let Some(file) = tar.next_entry()? {
                if file.kind != Kind::File {
                    continue;
                }
                if file.size > limits.json {
                    return Ok(());
                }
                let json = text(&mut tar, file.size, &meter)?;
                if !is_configuration(&json) {
                    return Ok(());
                }
                seen.images.push(Digest::of(&json));
            }
            return Ok(());
        } else {
            return Ok(());
        }
    }
    Ok(())
}
