//! Taking a build archive in: all or nothing.
//!
//! The archive is spooled and verified to its last byte before anything is
//! recorded. Then `load` gives its images to the engine, unless they are there
//! already, and checks what the engine made of them; `record` writes build,
//! images and release in one transaction.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use artifact::{BuildRecord, Contents, ServiceImage};
use async_trait::async_trait;
use rack_api::build::{Origin, Provenance};
use serde::{Deserialize, Serialize};
use tempfile::TempPath;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::arrival::{Arrival, Way, plain};
use super::context::Context;
use super::error::{Failure, Result};
use super::plan::one_line;
use super::{Operation, event};
use crate::store::BuildRow;

/// Bytes of images in flight to the engine.
const PIPE: usize = 256 << 10;

/// An archive that was received and verified whole.
pub struct Received {
    path: TempPath,
    contents: Contents,
}

/// Copies what it reads into a file.
struct Tee<R> {
    from: R,
    to: io::BufWriter<std::fs::File>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(&buffer[..length])?;
        Ok(length)
    }
}

/// Receives an archive into a temporary file, verifying it on the way.
pub async fn receive(
    context: &Context,
    body: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Received> {
    let limits = context.settings.archive_limits.clone();
    let directory = context.scratch();
    let from = SyncIoBridge::new(body);
    tokio::task::spawn_blocking(move || {
        let file = tempfile::Builder::new()
            .prefix("import-")
            .tempfile_in(&directory)
            .map_err(Failure::io("a temporary file for the archive"))?;
        let (file, path) = file.into_parts();
        let mut tee = Tee {
            from,
            to: io::BufWriter::with_capacity(256 << 10, file),
        };
        let contents = artifact::verify(&mut tee, &limits)
            .map_err(|error| Failure::Invalid(one_line(&format!("cannot import: {error}"))))?;
        tee.to
            .flush()
            .map_err(Failure::io("a temporary file for the archive"))?;
        Ok(Received { path, contents })
    })
    .await
    .map_err(|gone| Failure::internal(format!("receiving an archive: {gone}")))?
}

/// An import.
#[derive(Serialize, Deserialize)]
pub struct Import {
    arrival: Arrival,
    archive: PathBuf,
    #[serde(skip)]
    contents: Option<Contents>,
}

/// Imports a received archive into an app. `foreign` allows a build of another app.
pub async fn import(
    context: &Arc<Context>,
    app: &str,
    received: Received,
    foreign: bool,
) -> Result<BuildRow> {
    let Received { path, contents } = received;
    let build = contents.build.clone().ok_or_else(|| {
        Failure::Invalid(
            "cannot import: the archive has no build.json, so it is not a build".into(),
        )
    })?;
    let services = contents.services.clone();
    let provenance = provenance(&build, &contents);
    let arrival = Arrival::new(
        context,
        Way::Import,
        app,
        foreign,
        build,
        services,
        provenance,
    )
    .await?;
    let operation = Import {
        arrival,
        archive: path.to_path_buf(),
        contents: Some(contents),
    };
    let done = super::execute(context, rack_api::id::hex(16), operation).await?;
    done.arrival.row(context).await
}

/// What an archive says of where it is from; nobody vouches for it.
fn provenance(build: &BuildRecord, contents: &Contents) -> Provenance {
    let source = contents.index.as_ref().map(|index| &index.source);
    Provenance {
        rack: source.map(|source| plain(&source.rack)).unwrap_or_default(),
        app: plain(&build.app),
        build: plain(&build.id),
        origin: source
            .and_then(|source| source.origin.as_ref())
            .map(|origin| Origin {
                rack: plain(&origin.rack),
                app: plain(&origin.app),
                build: plain(&origin.build),
            }),
        archive: contents.digest.to_string(),
        ..Provenance::default()
    }
}

#[async_trait]
impl Operation for Import {
    const KIND: &'static str = "import";
    const STEPS: &'static [&'static str] = &["load", "record"];
    const RESUMES: bool = false;
    const KEEPS_UNDOING: bool = true;

    fn app(&self) -> &str {
        &self.arrival.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "load" => self.load(context).await,
            _ => self.arrival.record(context).await,
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, _step: &'static str) -> Result<()> {
        self.arrival.undo(context).await
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        event::tell_build(context, &self.arrival.app, &self.arrival.id, failure).await?;
        match tokio::fs::remove_file(&self.archive).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("the received archive")(error))
            }
            _ => Ok(()),
        }
    }
}

impl Import {
    async fn load(&mut self, context: &Arc<Context>) -> Result<()> {
        let by_digest = |_: &str, image: &ServiceImage| image.config_digest.to_string();
        let absent = self.arrival.tag_present(context, by_digest).await?;
        if !absent.is_empty() {
            self.feed(context).await?;
        }
        self.arrival.confirm(context).await
    }

    /// Streams the images to the engine under their new names only.
    async fn feed(&self, context: &Arc<Context>) -> Result<()> {
        let contents = self
            .contents
            .clone()
            .ok_or_else(|| Failure::internal("an import without its contents"))?;
        let limits = context.settings.archive_limits.clone();
        let archive = self.archive.clone();
        let tags = self.arrival.references(context);
        let (reader, writer) = tokio::io::duplex(PIPE);
        let writer = SyncIoBridge::new(writer);
        let writing = tokio::task::spawn_blocking(move || {
            let file =
                std::fs::File::open(&archive).map_err(Failure::io("the received archive"))?;
            let from = io::BufReader::with_capacity(256 << 10, file);
            let tag = |service: &str| tags.get(service).cloned().unwrap_or_default();
            artifact::write_docker_load(from, &contents, &tag, writer, &limits)
                .map_err(|error| Failure::Failed(one_line(&format!("cannot import: {error}"))))
        });
        let loaded = context.engine.load(Box::pin(reader)).await;
        let written = writing
            .await
            .map_err(|gone| Failure::internal(format!("loading images: {gone}")))?;
        // The engine's own words explain a broken pipe, not the other way round.
        loaded?;
        written
    }
}
