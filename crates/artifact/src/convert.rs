//! Turns a verified archive into one of another format.
//!
//! Images take the way they take at an import and an export: into a tar as an engine
//! would save it, then through the same proof as an engine's output. Layers keep their
//! bytes, compressed or not, so image digests and layer digests stay what they were.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};

use crate::error::ArtifactError;
use crate::limits::Limits;
use crate::load::write_docker_load;
use crate::record::Source;
use crate::verify::Contents;
use crate::write::{Format, Prepared, prepare};

/// Prepares the conversion of the archive that `contents` describes and `archive` gives
/// once more, from its first byte.
///
/// `spool` is empty scratch space for the uncompressed images and what
/// [`Prepared::write`] reads. An index is written anew: its source stays what the archive
/// says, `required_environment` is for formats with an index.
pub fn prepare_conversion(
    contents: &Contents,
    archive: impl Read,
    format: Format,
    required_environment: &[String],
    spool: &mut (impl Read + Write + Seek),
    limits: &Limits,
) -> Result<Prepared, ArtifactError> {
    let build = contents
        .build
        .as_ref()
        .ok_or_else(|| ArtifactError::Unexportable {
            reason: "the archive has no build.json".to_owned(),
        })?;
    let tag = |service: &str| format!("{}:{service}.{}", build.app, build.id);
    write_docker_load(archive, contents, &tag, &mut *spool, limits)?;
    let images: BTreeMap<_, _> = contents
        .services
        .keys()
        .map(|service| (service.clone(), tag(service)))
        .collect();
    let source = match &contents.index {
        Some(index) => index.source.clone(),
        None => Source::default(),
    };
    let prepared = prepare(format, build, required_environment, &source, &images, spool)?;
    if prepared.services() != &contents.services {
        return Err(ArtifactError::Changed {
            place: "an image".to_owned(),
        });
    }
    Ok(prepared)
}
