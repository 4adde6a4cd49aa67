//! Receiving a build archive: it is read once, as it comes, and verified to its last
//! byte; where its images go meanwhile depends on what its first bytes say.
//!
//! - To the engine, if it lacks them: all but the end, without which it keeps nothing
//!   ([`artifact::relay`]). The end follows when the import is on record.
//! - Into a file, if the engine seems to have them: nothing has to be loaded then,
//!   unless the seeming deceives.
//! - Into a file, and merely hashed, if the app seems to have a build of this very
//!   archive: one that was verified to its last byte and whose images are all there.
//!   Should it be another archive after all, it is verified from the file.
//!
//! - Into a file, if layers are left out of it, until it is proven that the rack has them.
//!
//! The first bytes decide about the way alone; no way trusts them.

use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, Seek as _};
use std::path::Path;
use std::sync::Arc;

use artifact::{
    ArtifactError, BuildRecord, Contents, Glimpse, Held, Limits, Platform, ServiceImage,
};
use rack_api::build::{Origin, Provenance, status};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinHandle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::arrival::{Way, check_app, plain, same, service_image};
use super::context::Context;
use super::error::{Failure, Result};
use super::layers;
use super::pipe::{PipeWriter, pipe};
use super::plan::one_line;
use super::spool::Tee;
use crate::engine::{self, EngineError};
use crate::store::BuildRow;

/// Most bytes that are looked at before the way is chosen.
const HEAD: usize = 128 << 10;
/// Bytes after which a first look is taken.
const FIRST_LOOK: usize = 4 << 10;
/// The system that racks run images for.
const SYSTEM: &str = "linux";
/// Bytes read from a file at once.
const BUFFER: usize = 256 << 10;

/// An archive that was received and verified whole.
pub struct Received {
    pub(super) build: BuildRecord,
    pub(super) services: BTreeMap<String, ServiceImage>,
    pub(super) provenance: Provenance,
    pub(super) images: Images,
    platforms: BTreeMap<String, Platform>,
}

/// Where the images of a received archive are.
#[derive(Default)]
pub(super) enum Images {
    /// With the engine, which waits for the end.
    Held(Box<Handover>),
    /// In the archive, in a file.
    Spooled(Box<Contents>, TempPath),
    /// On the engine since they came the last time, under these ids by service.
    Known(BTreeMap<String, String>),
    /// Nowhere any more.
    #[default]
    Gone,
}

/// Images that the engine has received, all but their end.
pub(super) struct Handover {
    contents: Contents,
    held: Held<PipeWriter>,
    loading: JoinHandle<engine::Result<()>>,
}

/// A build of the app whose archive may come again; all its images are there.
struct Known {
    row: BuildRow,
    services: BTreeMap<String, ServiceImage>,
    ids: BTreeMap<String, String>,
}

/// What is done with an archive.
enum Course {
    Compare(Vec<Known>),
    Keep,
    HandOver,
}

fn refused(error: &ArtifactError) -> Failure {
    Failure::Invalid(one_line(&format!("cannot import: {error}")))
}

/// For `map_err`: a file of the directory can not be written.
fn unspooled(directory: &Path) -> impl Fn(std::io::Error) -> Failure {
    Failure::spool("cannot import: a temporary file for the archive", directory)
}

/// The same, of a file.
fn unspooled_to(file: &Path) -> impl Fn(std::io::Error) -> Failure {
    unspooled(file.parent().unwrap_or(file))
}

fn gone(error: tokio::task::JoinError) -> Failure {
    Failure::internal(format!("receiving an archive: {error}"))
}

/// Receives an archive for an app, verifying it on the way. `foreign` allows a build of
/// another app; from a `thin` archive layers are left out that images of the rack have.
pub async fn receive(
    context: &Arc<Context>,
    app: &str,
    body: impl AsyncRead + Send + Unpin + 'static,
    foreign: bool,
    thin: bool,
) -> Result<Received> {
    let mut received = if thin {
        receive_thin(context, app, body).await?
    } else {
        receive_whole(context, app, foreign, body).await?
    };
    if let Err(failure) = received.compare_processors(context).await {
        received.images.abandon().await;
        return Err(failure);
    }
    Ok(received)
}

async fn receive_whole(
    context: &Arc<Context>,
    app: &str,
    foreign: bool,
    mut body: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Received> {
    let limits = context.settings.archive_limits.clone();
    let directory = context.scratch();
    let spool = tokio::task::spawn_blocking(move || {
        tempfile::Builder::new()
            .prefix("import-")
            .tempfile_in(directory)
    });
    let spool = spool
        .await
        .map_err(gone)?
        .map_err(unspooled(&context.scratch()))?;
    let (head, seen) = look(&mut body, &limits).await?;
    if let Some(build) = seen.as_ref().and_then(|seen| seen.build.as_ref()) {
        // Nobody should have to send a gigabyte to be told.
        check_app(context, Way::Import, app, foreign, build).await?;
        check_status(build)?;
    }
    let course = choose(context, app, seen.as_ref()).await?;
    let whole = Cursor::new(head).chain(body);
    match course {
        Course::HandOver => {
            drop(spool);
            hand_over(context, whole, limits).await
        }
        Course::Keep => {
            let from = SyncIoBridge::new(whole);
            tokio::task::spawn_blocking(move || {
                keep(from, spool, |tee| artifact::verify(tee, &limits))
            })
            .await
            .map_err(gone)?
        }
        Course::Compare(known) => {
            let from = SyncIoBridge::new(whole);
            let seen = seen.and_then(|seen| seen.build);
            tokio::task::spawn_blocking(move || compare(from, spool, seen, known, &limits))
                .await
                .map_err(gone)?
        }
    }
}

/// A thin archive goes into a file, for the engine must not see it before the layers that
/// are missing are proven.
async fn receive_thin(
    context: &Arc<Context>,
    app: &str,
    body: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Received> {
    let limits = context.settings.archive_limits.clone();
    let directory = context.scratch();
    let from = SyncIoBridge::new(body);
    let received = tokio::task::spawn_blocking(move || {
        let spool = tempfile::Builder::new()
            .prefix("import-")
            .tempfile_in(&directory)
            .map_err(unspooled(&directory))?;
        keep(from, spool, |tee| artifact::verify_thin(tee, &limits))
    });
    let received = received.await.map_err(gone)??;
    if let Images::Spooled(contents, _) = &received.images {
        layers::prove(context, app, contents).await?;
    }
    Ok(received)
}

/// Reads as much of an archive as it takes to see what it is.
async fn look(
    body: &mut (impl AsyncRead + Unpin),
    limits: &Limits,
) -> Result<(Vec<u8>, Option<Glimpse>)> {
    let mut head = Vec::with_capacity(HEAD);
    let mut next = FIRST_LOOK;
    loop {
        let room = (HEAD - head.len()) as u64;
        let count = (&mut *body)
            .take(room)
            .read_buf(&mut head)
            .await
            .map_err(|error| refused(&ArtifactError::Read(error)))?;
        let ended = count == 0;
        if head.len() < next && !ended {
            continue;
        }
        next = 2 * head.len();
        let limits = limits.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let seen = artifact::glimpse(&head, &limits);
            (head, seen)
        });
        let (looked_at, seen) = looking.await.map_err(gone)?;
        head = looked_at;
        if ended || seen.complete || head.len() >= HEAD {
            return Ok((head, Some(seen)));
        }
    }
}

/// Chooses what to do with an archive that begins like this.
async fn choose(context: &Context, app: &str, seen: Option<&Glimpse>) -> Result<Course> {
    let Some(seen) = seen else {
        return Ok(Course::HandOver);
    };
    if let Some(build) = &seen.build {
        let known = known(context, app, build).await?;
        if !known.is_empty() {
            return Ok(Course::Compare(known));
        }
    }
    if seen.images.is_empty() {
        return Ok(Course::HandOver);
    }
    for digest in &seen.images {
        if context.engine.image(digest.as_str()).await?.is_none() {
            return Ok(Course::HandOver);
        }
    }
    Ok(Course::Keep)
}

/// Builds of the app that came in an archive of this build and are whole.
async fn known(context: &Context, app: &str, build: &BuildRecord) -> Result<Vec<Known>> {
    let mut known = Vec::new();
    'rows: for row in context
        .store
        .builds_imported_of(app, &plain(&build.id))
        .await?
    {
        let mut services = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for (service, image) in context.store.images(&row.id).await? {
            let Ok(expected) = service_image(&image) else {
                continue 'rows;
            };
            let found = context.engine.image(&image.id).await?;
            if !found.is_some_and(|found| same(&found, &expected)) {
                continue 'rows;
            }
            services.insert(service.clone(), expected);
            ids.insert(service, image.id);
        }
        if !services.is_empty() {
            known.push(Known { row, services, ids });
        }
    }
    Ok(known)
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

/// Fails for a build that was never finished.
fn check_status(build: &BuildRecord) -> Result<()> {
    // The oldest descriptions say nothing of it.
    if matches!(build.status.as_str(), "" | status::COMPLETE) {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "cannot import: the build in the archive is {:?}: only complete builds can be imported",
        plain(&build.status)
    )))
}

impl Received {
    fn new(contents: &Contents, images: Images) -> Result<Self> {
        let build = contents.build.clone().ok_or_else(|| {
            Failure::Invalid(
                "cannot import: the archive has no build.json, so it is not a build".into(),
            )
        })?;
        check_status(&build)?;
        for (service, platform) in &contents.platforms {
            if !matches!(platform.os.as_str(), "" | SYSTEM) {
                return Err(Failure::Invalid(format!(
                    "cannot import: the image of service {service} is made for {:?}, \
                     and racks run images for {SYSTEM}",
                    plain(&platform.os)
                )));
            }
        }
        Ok(Self {
            services: contents.services.clone(),
            provenance: provenance(&build, contents),
            build,
            images,
            platforms: contents.platforms.clone(),
        })
    }

    /// Notes which images are for other processors than the engine has. They are not
    /// refused: it may emulate them.
    async fn compare_processors(&mut self, context: &Context) -> Result<()> {
        let own = context.engine.info().await?.architecture;
        let foreign = |platform: &Platform| {
            !own.is_empty() && !platform.architecture.is_empty() && platform.architecture != own
        };
        for (service, platform) in &self.platforms {
            if foreign(platform) {
                let architecture = plain(&platform.architecture);
                self.provenance
                    .emulated
                    .insert(service.clone(), architecture);
            }
        }
        Ok(())
    }
}

/// Verifies an archive while its images go to the engine.
async fn hand_over(
    context: &Arc<Context>,
    body: impl AsyncRead + Send + Unpin + 'static,
    limits: Limits,
) -> Result<Received> {
    let (writer, stream) = pipe();
    let engine = Arc::clone(&context.engine);
    let loading =
        tokio::spawn(async move { engine.load(Box::pin(StreamReader::new(stream))).await });
    let from = SyncIoBridge::new(body);
    let relayed = tokio::task::spawn_blocking(move || artifact::relay(from, writer, &limits))
        .await
        .map_err(gone)?;
    match relayed {
        Ok((contents, held)) => {
            let received = Received::new(&contents, Images::Gone);
            let handover = Handover {
                contents,
                held,
                loading,
            };
            match received {
                Ok(received) => Ok(Received {
                    images: Images::Held(Box::new(handover)),
                    ..received
                }),
                Err(failure) => {
                    handover.abandon().await;
                    Err(failure)
                }
            }
        }
        Err(error) => match (error, loading.await) {
            // The engine's own words explain a broken pipe, not the other way round.
            (ArtifactError::Write(_), Ok(Err(words))) => Err(not_taken(words)),
            (ArtifactError::Write(error), _) => Err(Failure::Failed(one_line(&format!(
                "cannot import: the engine does not take the images: {error}"
            )))),
            (error, _) => Err(refused(&error)),
        },
    }
}

/// Verifies an archive while it goes into a file.
fn keep<R: std::io::Read>(
    from: R,
    spool: NamedTempFile,
    verify: impl FnOnce(&mut Tee<R>) -> std::result::Result<Contents, ArtifactError>,
) -> Result<Received> {
    let (file, path) = spool.into_parts();
    let mut tee = Tee::new(from, file);
    let verified = verify(&mut tee);
    // A full disk breaks the reading off too, but is the better reason.
    tee.finish().map_err(unspooled_to(&path))?;
    let contents = verified.map_err(|error| refused(&error))?;
    Received::new(&contents, Images::Gone).map(|received| Received {
        images: Images::Spooled(Box::new(contents), path),
        ..received
    })
}

/// Compares an archive with those of known builds while it goes into a file.
fn compare(
    from: impl std::io::Read,
    spool: NamedTempFile,
    seen: Option<BuildRecord>,
    known: Vec<Known>,
    limits: &Limits,
) -> Result<Received> {
    let (file, path) = spool.into_parts();
    let mut tee = Tee::new(from, file);
    let digest = artifact::fingerprint(&mut tee, limits);
    let mut file = tee.finish().map_err(unspooled_to(&path))?;
    let digest = digest.map_err(|error| refused(&error))?.to_string();
    let again = known.into_iter().find(|known| known.row.archive == digest);
    if let (Some(build), Some(again)) = (seen, again) {
        return Ok(Received {
            build,
            services: again.services,
            provenance: Provenance {
                imported: None,
                images_present: false,
                imported_before: String::new(),
                archive: digest,
                ..again.row.provenance.unwrap_or_default()
            },
            images: Images::Known(again.ids),
            // Compared when it came the first time.
            platforms: BTreeMap::new(),
        });
    }
    file.rewind().map_err(unspooled_to(&path))?;
    let contents = artifact::verify(BufReader::with_capacity(BUFFER, file), limits)
        .map_err(|error| refused(&error))?;
    Received::new(&contents, Images::Gone).map(|received| Received {
        images: Images::Spooled(Box::new(contents), path),
        ..received
    })
}

impl Images {
    /// What the engine may know a service's image by.
    pub(super) fn known(&self, service: &str, image: &ServiceImage) -> String {
        match self {
            Self::Known(ids) => ids.get(service).cloned(),
            _ => None,
        }
        .unwrap_or_else(|| image.config_digest.to_string())
    }

    /// Lets go of them; an engine that waits for their end keeps nothing.
    pub(super) async fn abandon(self) {
        if let Self::Held(handover) = self {
            handover.abandon().await;
        }
    }

    /// Gives them to the engine for an app, named by service as `tags` says.
    pub(super) async fn load(
        self,
        context: &Context,
        app: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<()> {
        match self {
            Self::Held(handover) => handover.release(tags).await,
            Self::Spooled(contents, path) => {
                let contents = Arc::new(*contents);
                let fed = feed(context, Arc::clone(&contents), path, tags).await;
                if fed.is_err() {
                    // Layers that were left out may have gone since they were proven:
                    // that is a better reason than the engine's.
                    layers::prove(context, app, &contents).await?;
                }
                fed
            }
            Self::Known(_) | Self::Gone => Err(Failure::Failed(
                "cannot import: images of the build were removed from the engine meanwhile; import it again"
                    .into(),
            )),
        }
    }
}

fn tag_of(tags: &BTreeMap<String, String>) -> impl Fn(&str) -> String + use<'_> {
    |service| {
        tags.get(service)
            .cloned()
            .expect("every service has a reference")
    }
}

fn unloaded(error: &ArtifactError) -> Failure {
    Failure::Failed(one_line(&format!("cannot import: {error}")))
}

/// Why an engine has not taken images: because of what is in them, or for a reason of
/// its own.
fn not_taken(error: EngineError) -> Failure {
    match error {
        EngineError::Refused(reason) => Failure::Invalid(format!("cannot import: {reason}")),
        error => error.into(),
    }
}

/// Whether both the engine and what fed it have succeeded.
fn both(loaded: engine::Result<()>, written: std::result::Result<(), ArtifactError>) -> Result<()> {
    // The engine's own words explain a broken pipe, not the other way round.
    loaded.map_err(not_taken)?;
    written.map_err(|error| unloaded(&error))
}

impl Handover {
    async fn release(self, tags: BTreeMap<String, String>) -> Result<()> {
        let Self {
            contents,
            held,
            loading,
        } = self;
        let writing = tokio::task::spawn_blocking(move || {
            let writer = held.release(&contents, &tag_of(&tags))?;
            writer.end().map_err(ArtifactError::Write)
        });
        let loaded = loading.await.map_err(gone)?;
        both(loaded, writing.await.map_err(gone)?)
    }

    /// Breaks the tar off, and waits until the engine has noticed.
    async fn abandon(self) {
        drop(self.held);
        if let Ok(Ok(())) = self.loading.await {
            tracing::error!("the engine took a tar without an end");
        }
    }
}

/// Gives the engine the images in a spooled archive.
async fn feed(
    context: &Context,
    contents: Arc<Contents>,
    archive: TempPath,
    tags: BTreeMap<String, String>,
) -> Result<()> {
    let limits = context.settings.archive_limits.clone();
    let (mut writer, stream) = pipe();
    let writing = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&archive).map_err(ArtifactError::Read)?;
        let from = BufReader::with_capacity(BUFFER, file);
        artifact::write_docker_load(from, &contents, &tag_of(&tags), &mut writer, &limits)?;
        writer.end().map_err(ArtifactError::Write)
    });
    let tar = Box::pin(StreamReader::new(stream));
    let loaded = context.engine.load(tar).await;
    both(loaded, writing.await.map_err(gone)?)
}
