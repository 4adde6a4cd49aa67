//! Giving a build out as an archive. Whatever can fail, fails before the first
//! byte: the images are spooled and every digest in them is checked first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use artifact::{
    ArtifactError, BuildRecord, Digest, Format, Origin, Prepared, Saved, ServiceImage, Source,
};
use bytes::Bytes;
use futures::Stream;
use manifest::{Manifest, Variable};
use rack_api::build::{Provenance, status};
use tokio_util::io::SyncIoBridge;

use super::arrival::{rack_name, same, service_image};
use super::context::Context;
use super::error::{Failure, Result};
use super::pipe::pipe;
use super::plan::one_line;
use super::spool::Tee;
use crate::store::{BuildRow, ImageRow};

/// Gzip level: a third faster than the next one, and as small as `gzip -1` makes it.
const LEVEL: u32 = 2;

/// A verified archive that is about to be written.
pub struct Export {
    prepared: Prepared,
    spool: std::fs::File,
}

/// Spools the images of a build and checks everything about them.
///
/// Layers of `without` are left out: the rack that gets the archive has them.
pub async fn prepare(
    context: &Arc<Context>,
    build: &BuildRow,
    format: Format,
    without: BTreeSet<Digest>,
) -> Result<Export> {
    if build.status != status::COMPLETE {
        return Err(Failure::Conflict(format!(
            "build {} is {}: only complete builds can be exported",
            build.id, build.status
        )));
    }
    let images = context.store.images(&build.id).await?;
    if images.is_empty() {
        return Err(Failure::Invalid("no services found to export".into()));
    }
    let mut recorded = BTreeMap::new();
    for image in images.values() {
        let expected = service_image(image).map_err(|error| {
            Failure::internal(format!("image of service {}: {error}", image.service))
        })?;
        name(context, build, image, &expected).await?;
        recorded.insert(image.service.clone(), expected);
    }
    let references: BTreeMap<String, String> = images
        .values()
        .map(|image| (image.service.clone(), image.reference.clone()))
        .collect();
    let record = record_of(build);
    let source = Source {
        rack: rack_name(context),
        engine: context
            .engine
            .info()
            .await
            .map(|info| format!("{} {}", info.kind, info.version))?,
        origin: build.provenance.as_ref().map(origin),
    };
    let required = required_environment(&build.manifest);
    let saved = context
        .engine
        .save(&references.values().cloned().collect::<Vec<_>>())
        .await?;
    let directory = context.scratch();
    let limits = context.settings.archive_limits.clone();
    let saved = SyncIoBridge::new(saved);
    tokio::task::spawn_blocking(move || {
        let unspooled = Failure::spool("cannot export: a temporary file for the images", &directory);
        // Without a name from the start: it goes with the process, however that ends.
        let spool = tempfile::tempfile_in(&directory).map_err(&unspooled)?;
        let cannot =
            |error: ArtifactError| Failure::Failed(one_line(&format!("cannot export: {error}")));
        let mut tee = Tee::new(io::BufReader::with_capacity(256 << 10, saved), spool);
        let saved = Saved::scan(&mut tee, &limits);
        // A full disk breaks the scan off too, but is the better reason.
        let spool = tee.finish().map_err(unspooled)?;
        let prepared = artifact::plan(
            format,
            &record,
            &required,
            &source,
            &references,
            &saved.map_err(cannot)?,
        )
        .map_err(cannot)?;
        for (service, expected) in &recorded {
            let saved = prepared.services().get(service);
            // The name may have been given to another image since it was looked at.
            if !saved.is_some_and(|saved| saved.is_same_image(expected)) {
                return Err(Failure::Failed(format!(
                    "cannot export: the engine gave another image for service {service} than the build is made of: try again"
                )));
            }
        }
        let prepared = prepared.withholding(&without);
        Ok(Export { prepared, spool })
    })
    .await
    .map_err(|gone| Failure::internal(format!("preparing an export: {gone}")))?
}

/// Makes sure that the name of an image leads to the very bits that were recorded: names
/// can be given and taken by anybody who may use the engine.
async fn name(
    context: &Context,
    build: &BuildRow,
    image: &ImageRow,
    expected: &ServiceImage,
) -> Result<()> {
    let engine = &context.engine;
    let named = engine.image(&image.reference).await?;
    if named.is_some_and(|named| same(&named, expected)) {
        return Ok(());
    }
    match engine.image(&image.id).await? {
        Some(found) if same(&found, expected) => {
            Ok(engine.tag(&found.id, &image.reference).await?)
        }
        _ => Err(Failure::Failed(format!(
            "the image of service {} of build {} is gone from the engine",
            image.service, build.id
        ))),
    }
}

impl Export {
    /// Streams the archive. An error in the stream means that the archive is not whole.
    pub fn stream(mut self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let (mut writer, stream) = pipe();
        tokio::task::spawn_blocking(move || {
            match self.prepared.write(&mut self.spool, &mut writer, LEVEL) {
                // A client that has gone away needs no end.
                Ok(_) => drop(writer.end()),
                Err(error) => writer.fail(io::Error::other(error.to_string())),
            }
        });
        stream
    }
}

/// A build as archives describe it.
pub(super) fn record_of(build: &BuildRow) -> BuildRecord {
    BuildRecord {
        id: build.id.clone(),
        app: build.app.clone(),
        description: build.description.clone(),
        entrypoint: build.entrypoint.clone(),
        git_sha: build.git_sha.clone(),
        logs: build.logs.clone(),
        manifest: build.manifest.clone(),
        release: build.release.clone(),
        status: build.status.clone(),
        started: build.started.to_string(),
        ended: build.ended.map(|time| time.to_string()).unwrap_or_default(),
        ..BuildRecord::default()
    }
}

/// Where a build that came from elsewhere was first made.
fn origin(provenance: &Provenance) -> Origin {
    let first = provenance.first();
    Origin {
        rack: first.rack,
        app: first.app,
        build: first.build,
    }
}

/// Names a target must set, sorted and unique; never their values.
fn required_environment(manifest: &str) -> Vec<String> {
    let Ok(loaded) = Manifest::load_without_environment(manifest, &BTreeMap::new()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = loaded
        .manifest
        .services
        .values()
        .flat_map(|service| &service.environment)
        .filter_map(|variable| match variable {
            Variable::Required(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}
