//! Building images from source and releasing them.
//!
//! `images` → `record`. One image is built per distinct recipe and tagged for
//! every service that shares it; build, images and release are recorded in one
//! transaction. A build that a dead server left behind ends as failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use manifest::{Build as Recipe, Manifest};
use rack_api::Environment;
use rack_api::build::{CreateOptions, status};
use rack_api::ignore::Ignore;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::build_log::BuildLog;
use super::context::Context;
use super::error::{Failure, Result};
use super::plan::one_line;
use super::registry;
use super::source::{self, Source};
use super::{Operation, event};
use crate::engine::{BuildSpec, EngineError, Image};
use crate::store::{BuildRow, ImageRow, NewRelease};

/// How often an image is built if it is removed before it can be tagged.
const ATTEMPTS: u32 = 5;
/// Name of a manifest of generation 1.
const GENERATION_1: &str = "docker-compose.yml";
/// Pause before it is built again, longer each time.
const LOST_PAUSE: Duration = Duration::from_millis(100);
/// Chunks of log text in flight between the engine and the log.
const LOG_QUEUE: usize = 64;

/// A build under way.
#[derive(Clone)]
pub struct Handle {
    /// Its log.
    pub log: Arc<BuildLog>,
    /// Ends it.
    pub cancel: CancellationToken,
    app: String,
}

impl Handle {
    /// A handle on work on a build of an app.
    pub(super) fn new(log: Arc<BuildLog>, cancel: CancellationToken, app: &str) -> Self {
        Self {
            log,
            cancel,
            app: app.to_owned(),
        }
    }
}

/// The builds under way of one rack.
#[derive(Default)]
pub struct Running(Mutex<HashMap<String, Handle>>);

impl Running {
    fn handles(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a build up.
    pub fn get(&self, id: &str) -> Option<Handle> {
        self.handles().get(id).cloned()
    }

    /// Adds a build.
    pub(super) fn insert(&self, id: &str, handle: Handle) {
        self.handles().insert(id.to_owned(), handle);
    }

    /// Forgets a build that has ended.
    pub(super) fn remove(&self, id: &str) {
        self.handles().remove(id);
    }

    /// Cancels all builds of an app and waits until they have ended.
    pub async fn end_app(&self, app: &str) {
        let of_app: Vec<_> = {
            let handles = self.handles();
            let of_app = handles.values().filter(|handle| handle.app == app);
            of_app.cloned().collect()
        };
        for handle in &of_app {
            handle.cancel.cancel();
        }
        for handle in of_app {
            handle.log.ended().await;
        }
    }

    /// Cancels all builds of an app; returns how many.
    pub fn cancel_app(&self, app: &str) -> usize {
        let handles = self.handles();
        let of_app = handles.values().filter(|handle| handle.app == app);
        of_app.inspect(|handle| handle.cancel.cancel()).count()
    }
}

/// What a build is told; part of the operation's row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Options {
    build_args: Vec<String>,
    development: bool,
    manifest: Option<String>,
    no_cache: bool,
}

impl From<&CreateOptions> for Options {
    fn from(options: &CreateOptions) -> Self {
        Self {
            build_args: options.build_args.clone(),
            development: options.development,
            manifest: options.manifest.clone(),
            no_cache: options.no_cache,
        }
    }
}

/// A build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Build {
    app: String,
    id: String,
    source: PathBuf,
    /// The source is a file of ours that goes when the build has ended.
    temporary: bool,
    options: Options,
}

/// Where the log of a build is kept, and its object key.
pub fn log_path(context: &Context, app: &str, id: &str) -> PathBuf {
    context.dir.join("objects").join(app).join(log_key(id))
}

/// Object key of a build's log.
pub fn log_key(id: &str) -> String {
    format!("build/{id}/logs")
}

/// Records a build as running and starts it. The row is on disk when this returns.
pub async fn begin(
    context: &Arc<Context>,
    app: &str,
    source: PathBuf,
    temporary: bool,
    options: &CreateOptions,
) -> Result<BuildRow> {
    let id = rack_api::id::build();
    let log = BuildLog::create(log_path(context, app, &id)).await?;
    let row = BuildRow {
        id: id.clone(),
        app: app.to_owned(),
        status: status::RUNNING.to_owned(),
        description: options.description.clone().unwrap_or_default(),
        git_sha: options.git_sha.clone().unwrap_or_default(),
        started: context.now(),
        ..BuildRow::default()
    };
    let operation = Build {
        app: app.to_owned(),
        id: id.clone(),
        source,
        temporary,
        options: options.into(),
    };
    let operation_id = rack_api::id::hex(16);
    context.store.create_build(row.clone()).await?;
    super::save(
        context,
        &operation_id,
        &operation,
        crate::store::Outcome::Running,
        0,
        "",
    )
    .await?;
    let cancel = context.shutdown.child_token();
    let handle = Handle::new(log, cancel, app);
    context.builds.insert(&id, handle.clone());
    let at = Arc::clone(context);
    context.tasks.spawn(async move {
        // The failure is in the build's log and record.
        if let Err(failure) = super::execute(&at, operation_id, operation).await {
            tracing::info!(build = id, %failure, "build failed");
        }
        handle.log.end();
        at.builds.remove(&id);
    });
    Ok(row)
}

#[async_trait]
impl Operation for Build {
    const KIND: &'static str = "build";
    const STEPS: &'static [&'static str] = &["images", "record"];
    const RESUMES: bool = false;
    const KEEPS_UNDOING: bool = true;

    fn app(&self) -> &str {
        &self.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        if step == "record" {
            // `images` records in the same breath, for it has the results at hand.
            return Ok(());
        }
        let handle = context
            .builds
            .get(&self.id)
            .ok_or_else(|| Failure::internal("a build without its handle"))?;
        let limit = context.settings.build_timeout;
        tokio::select! {
            result = self.build(context, &handle) => result,
            () = tokio::time::sleep(limit) => {
                handle.cancel.cancel();
                Err(Failure::Failed(format!("the build took longer than {} seconds", limit.as_secs())))
            }
            () = handle.cancel.cancelled() => Err(if context.shutdown.is_cancelled() {
                Failure::Interrupted("the server was stopped during the build".into())
            } else {
                Failure::Cancelled("the build was cancelled".into())
            }),
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, _step: &'static str) -> Result<()> {
        let Some(row) = context.store.build(&self.app, &self.id).await? else {
            return Ok(());
        };
        if row.status == status::COMPLETE {
            // The server died between the last write of the build and that of its operation.
            return Ok(());
        }
        if let Ok(loaded) = Manifest::load_without_environment(&row.manifest, &BTreeMap::new()) {
            for service in loaded.manifest.services.keys() {
                context
                    .engine
                    .untag(&context.image_reference(&self.app, service, &self.id))
                    .await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        let complete = match context.store.build(&self.app, &self.id).await? {
            Some(row) => row.status == status::COMPLETE,
            None => true,
        };
        if let Some(failure) = failure.filter(|_| !complete) {
            record_failure(context, &self.app, &self.id, failure).await?;
        }
        if self.temporary {
            match tokio::fs::remove_file(&self.source).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "could not remove an uploaded source");
                }
                _ => {}
            }
        }
        event::tell_build(context, &self.app, &self.id, failure).await
    }
}

/// Whether the engine has lost an image that was just built.
fn is_lost(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Engine(EngineError::NotFound { kind: "image", .. })
    )
}

/// Makes a reason the last line of a build's log, and the build failed.
pub(super) async fn record_failure(
    context: &Context,
    app: &str,
    id: &str,
    failure: &Failure,
) -> Result<()> {
    let reason = one_line(&failure.to_string());
    let logs = format!("object://{app}/{}", log_key(id));
    let line = format!("ERROR: {reason}\n");
    match context.builds.get(id) {
        Some(handle) => {
            handle.log.write(line.as_bytes()).await?;
            handle.log.sync().await?;
        }
        None => append(&log_path(context, app, id), &line).await?,
    }
    let now = context.now();
    Ok(context.store.fail_build(id, &reason, &logs, now).await?)
}

async fn append(path: &PathBuf, line: &str) -> Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .await
        .map_err(Failure::io("the build log"))?;
    file.write_all(line.as_bytes())
        .await
        .map_err(Failure::io("the build log"))?;
    file.sync_all().await.map_err(Failure::io("the build log"))
}

/// Why a manifest cannot be built. The steps to move one of generation 1 are many: they stand
/// in the log, and the reason is one sentence.
async fn unloadable(handle: &Handle, errors: &manifest::Errors, file: &str) -> Result<Failure> {
    let errors_in_file = errors.in_file(file).to_string();
    if !errors.is_generation1() {
        return Ok(Failure::Failed(one_line(&errors_in_file)));
    }
    for line in errors_in_file.lines() {
        handle.log.line(line).await?;
    }
    Ok(Failure::Failed(format!(
        "{file} is a generation 1 manifest, which does not run here: describe the app in a \
         convox.yml with services:, by the steps above"
    )))
}

/// Runs blocking work on the source.
async fn on_source<T, F>(source: &Source, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&Source) -> Result<T> + Send + 'static,
{
    let source = source.clone();
    tokio::task::spawn_blocking(move || work(&source))
        .await
        .map_err(|gone| Failure::internal(format!("reading the source: {gone}")))?
}

impl Build {
    async fn build(&self, context: &Arc<Context>, handle: &Handle) -> Result<()> {
        let source = Source::new(&self.source);
        on_source(&source, Source::check).await?;
        let name = self
            .options
            .manifest
            .clone()
            .unwrap_or_else(|| "convox.yml".into());
        let file = source::join(".", &name);
        let old = source::join(".", GENERATION_1);
        let wanted = BTreeSet::from([file.clone(), old.clone()]);
        let mut texts = on_source(&source, move |source| source.texts(&wanted)).await?;
        let Some(text) = texts.remove(&file) else {
            if let Some(text) = texts.remove(&old) {
                let steps = Manifest::generation1_steps(&text);
                return Err(unloadable(handle, &steps, GENERATION_1).await?);
            }
            return Err(Failure::Failed(format!(
                "{name} is not in the source: is it there, and not in .dockerignore?"
            )));
        };
        context.store.set_build_manifest(&self.id, &text).await?;

        let variables = self.variables(context).await?;
        let loaded = match Manifest::load(&text, &variables) {
            Ok(loaded) => loaded,
            Err(_) if file == old => {
                let steps = Manifest::generation1_steps(&text);
                return Err(unloadable(handle, &steps, &name).await?);
            }
            Err(errors) => return Err(unloadable(handle, &errors, &name).await?),
        };
        for warning in &loaded.warnings {
            let warning = warning.in_file(&name);
            handle.log.line(&format!("WARNING: {warning}")).await?;
        }
        let manifest = loaded.manifest;
        if manifest.services.is_empty() {
            return Err(Failure::Failed(format!("{name} declares no services")));
        }

        let mut rows = Vec::new();
        let mut built: Vec<(Recipe, Image)> = Vec::new();
        for service in manifest.services.values() {
            if let Some(reference) = &service.image {
                handle.log.line(&format!("Pulling: {reference}")).await?;
                let own = registry::own_logins(service, &variables)?;
                let image = registry::pull(context, reference, &own).await?;
                rows.push(self.keep(context, &service.name, image).await?);
                continue;
            }
            let recipe = &service.build;
            let mut known = built
                .iter()
                .find(|(of, _)| of == recipe)
                .map(|(_, image)| image.clone());
            let mut attempt = 1;
            let (image, row) = loop {
                let made = async {
                    let image = match known.take() {
                        Some(image) => image,
                        None => {
                            self.image(context, handle, &source, recipe, &variables)
                                .await?
                        }
                    };
                    let row = self.keep(context, &service.name, image.clone()).await?;
                    Ok((image, row))
                };
                match made.await {
                    // Until it is tagged it goes with the last tag of another build that had
                    // the very same result.
                    Err(failure) if is_lost(&failure) => {
                        if attempt == ATTEMPTS {
                            return Err(Failure::Failed(format!(
                                "the image was removed from the engine each of the {ATTEMPTS} times it had been \
                                 built: stop what removes unused images there, then build again"
                            )));
                        }
                        tokio::time::sleep(LOST_PAUSE * attempt).await;
                        attempt += 1;
                    }
                    other => break other?,
                }
            };
            if built.iter().all(|(of, _)| of != recipe) {
                built.push((recipe.clone(), image));
            }
            rows.push(row);
        }

        handle.log.sync().await?;
        let mut row = context
            .store
            .build(&self.app, &self.id)
            .await?
            .ok_or_else(|| Failure::Cancelled("the app was deleted during the build".into()))?;
        status::COMPLETE.clone_into(&mut row.status);
        row.ended = Some(context.now());
        row.logs = format!("object://{}/{}", self.app, log_key(&self.id));
        row.entrypoint = entrypoint(&rows);
        let release = NewRelease {
            id: rack_api::id::release(),
            app: self.app.clone(),
            build: self.id.clone(),
            env: None,
            manifest: text,
            description: row.description.clone(),
            now: context.now(),
        };
        let recorded = context.store.complete_build(row, rows, release).await?;
        recorded
            .map(drop)
            .ok_or_else(|| Failure::Cancelled("the app was deleted during the build".into()))
    }

    /// Environment of the latest release, overlaid by the build arguments
    /// (`convox-yml.md` §1).
    async fn variables(&self, context: &Context) -> Result<BTreeMap<String, String>> {
        let latest = context.store.latest_release(&self.app).await?;
        let mut variables = latest
            .map(|release| Environment::parse(&release.env).to_map())
            .unwrap_or_default();
        for pair in &self.options.build_args {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::Failed(format!("build argument {pair} is not KEY=VALUE"))
            })?;
            variables.insert(key.to_owned(), value.to_owned());
        }
        Ok(variables)
    }

    async fn image(
        &self,
        context: &Arc<Context>,
        handle: &Handle,
        source: &Source,
        recipe: &Recipe,
        variables: &BTreeMap<String, String>,
    ) -> Result<Image> {
        let log = &handle.log;
        log.line(&format!("Building: {}", recipe.path)).await?;
        if [&recipe.path, &recipe.dockerfile]
            .iter()
            .any(|path| path.split('/').any(|part| part == ".."))
        {
            return Err(Failure::Failed(format!(
                "build path {} leads out of the source: only what is below the app's directory is uploaded",
                recipe.path
            )));
        }
        let dockerfile = source::join(&recipe.path, &recipe.dockerfile);
        let ignore_file = source::join(&recipe.path, ".dockerignore");
        let wanted = BTreeSet::from([dockerfile.clone(), ignore_file.clone()]);
        let texts = on_source(source, move |source| source.texts(&wanted)).await?;
        let text = texts
            .get(&dockerfile)
            .ok_or_else(|| Failure::Failed(format!("{dockerfile} is not in the source")))?;
        let inner = source::join(".", &recipe.dockerfile);
        let spec = BuildSpec {
            args: build_args(text, recipe, variables),
            target: (self.options.development && has_stage(text, "development"))
                .then(|| "development".to_owned()),
            no_cache: self.options.no_cache,
            registries: registry::logins(context).await?,
            context: source.context(
                &recipe.path,
                Ignore::parse(texts.get(&ignore_file).map_or("", String::as_str)),
                vec![inner.clone()],
            ),
            dockerfile: inner,
        };
        let (sender, mut lines) = mpsc::channel::<bytes::Bytes>(LOG_QUEUE);
        let writer = {
            let log = Arc::clone(log);
            tokio::spawn(async move {
                while let Some(text) = lines.recv().await {
                    log.write(&text).await?;
                }
                Ok::<_, Failure>(())
            })
        };
        let built = context
            .engine
            .build(spec, sender, handle.cancel.clone())
            .await;
        // The log is complete before the outcome is looked at.
        writer
            .await
            .map_err(|gone| Failure::internal(format!("writing the build log: {gone}")))??;
        built.map_err(|error| match error {
            EngineError::Cancelled => Failure::Cancelled("the build was cancelled".into()),
            EngineError::Failed(reason) => Failure::Failed(registry::advise(one_line(&reason))),
            other => other.into(),
        })
    }

    /// Tags an image so that the engine keeps it.
    async fn keep(&self, context: &Context, service: &str, image: Image) -> Result<ImageRow> {
        let reference = context.image_reference(&self.app, service, &self.id);
        context.engine.tag(&image.id, &reference).await?;
        if context.engine.image(&reference).await?.is_none() {
            return Err(EngineError::NotFound {
                kind: "image",
                name: reference,
            }
            .into());
        }
        Ok(image_row(service, image, reference))
    }
}

/// The row of a kept image.
pub(super) fn image_row(service: &str, image: Image, reference: String) -> ImageRow {
    ImageRow {
        service: service.to_owned(),
        id: image.id,
        config_digest: image.config_digest,
        diff_ids: image.diff_ids,
        reference,
        entrypoint: image.entrypoint,
    }
}

/// The entrypoint a build shows: that of its images, shell-quoted.
pub(super) fn entrypoint(images: &[ImageRow]) -> String {
    let quoted = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    images
        .iter()
        .map(|image| {
            image
                .entrypoint
                .iter()
                .map(quoted)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .rfind(|entrypoint| !entrypoint.is_empty())
        .unwrap_or_default()
}

/// Arguments for the `ARG`s a Dockerfile declares (`builds-releases-runtime.md`
/// §1.5): the environment reaches a build only where it is asked for. The
/// manifest's own arguments always go along.
fn build_args(
    dockerfile: &str,
    recipe: &Recipe,
    variables: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut args: BTreeMap<String, String> = recipe
        .args
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("ARG"))
        {
            continue;
        }
        for word in words {
            let name = word.split('=').next().unwrap_or_default();
            if let Some(value) = variables.get(name) {
                args.insert(name.to_owned(), value.clone());
            }
        }
    }
    args
}

/// Whether a Dockerfile has a stage of this name.
fn has_stage(dockerfile: &str, stage: &str) -> bool {
    dockerfile.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.len() >= 4
            && words[0].eq_ignore_ascii_case("FROM")
            && words[words.len() - 2].eq_ignore_ascii_case("AS")
            && words[words.len() - 1].eq_ignore_ascii_case(stage)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_reach_a_build_only_when_asked_for() {
        let variables = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("SECRET".to_owned(), "x".to_owned()),
        ]);
        let recipe = Recipe {
            args: vec!["B=2".into()],
            ..Recipe::default()
        };
        let args = build_args(
            "ARG A=0\nFROM x\narg C\nRUN echo ARG SECRET",
            &recipe,
            &variables,
        );
        assert_eq!(
            args,
            BTreeMap::from([
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ])
        );
    }

    #[test]
    fn stages_are_found() {
        assert!(has_stage(
            "FROM x\nFROM --platform=y z AS Development",
            "development"
        ));
        assert!(!has_stage("FROM development", "development"));
    }

    #[test]
    fn entrypoints_are_quoted() {
        let row = |words: &[&str]| ImageRow {
            service: String::new(),
            id: String::new(),
            config_digest: String::new(),
            diff_ids: Vec::new(),
            reference: String::new(),
            entrypoint: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert_eq!(
            entrypoint(&[row(&["/bin/x", "a b", "it's"])]),
            r"/bin/x 'a b' 'it'\''s'"
        );
        assert_eq!(entrypoint(&[row(&["x"]), row(&[])]), "x");
    }
}
