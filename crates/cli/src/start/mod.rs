//! Local development: a development build of the working directory, its log, and the
//! source kept in step with the processes until the user has had enough.

mod dockerfile;
mod sync;
mod tree;
mod voice;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use manifest::Manifest;
use rack_api::build::{CreateOptions, status};
use rack_api::client::Upload;
use rack_api::release::{self, PromoteOptions};
use rack_api::{Environment, log};
use tokio_util::io::ReaderStream;

pub(crate) use self::dockerfile::bases;
use self::sync::{Synced, synced};
use self::tree::Tree;
use self::voice::{BUILD, CONVOX, Lines, Voices, without_cursor};
use crate::commands::{Log, rolled_back};
use crate::error::Error;
use crate::racks::Rack;
use crate::settle;
use crate::source;
use crate::ui::Ui;

/// How often the source is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Longest pause between looks at a source that takes long to look at.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a real rack is asked whether a build has ended.
const POLL: Duration = Duration::from_secs(1);
/// How long a log that has ended rests before it is read again.
const REOPEN: Duration = Duration::from_secs(1);
/// Seconds the processes of a development release may take to become healthy.
const HEALTHY: i64 = 300;

/// What is started.
pub(crate) struct Start<'a> {
    /// The rack.
    pub(crate) rack: &'a Rack,
    /// The app.
    pub(crate) app: &'a str,
    /// Directory of the source.
    pub(crate) root: PathBuf,
    /// File name of the manifest.
    pub(crate) manifest: String,
    /// Services that are listened to and kept in step; all when empty.
    pub(crate) services: Vec<String>,
    /// Whether the source is built.
    pub(crate) build: bool,
    /// Whether the build may use what earlier ones have left.
    pub(crate) cache: bool,
    /// Whether the source is kept in step.
    pub(crate) sync: bool,
    /// Where output goes.
    pub(crate) ui: &'a Ui,
}

/// How the app was before.
pub(crate) struct Before {
    /// Active release; empty when there was none.
    release: String,
}

/// What is known of a source that is running.
struct Running {
    tree: Tree,
    synced: Vec<Synced>,
    /// Files whose change needs a new build.
    recipes: BTreeSet<String>,
    /// Why the last look has failed, so that it is said once.
    unreadable: String,
    /// How long the last look has taken.
    took: Duration,
}

impl Start<'_> {
    /// Runs until `stop` is ready. What is given is for [`Self::put_back`].
    pub(crate) async fn run(&self, stop: impl Future<Output = ()>) -> Result<Before, Error> {
        let client = &self.rack.client;
        let before = match client.app_get(self.app).await {
            Ok(app) if app.generation.is_empty() || app.generation == "2" => app.release,
            Ok(app) => {
                return Err(Error::failed(format!(
                    "invalid generation: {}",
                    app.generation
                )));
            }
            Err(error) if error.is_not_found() => {
                client.app_create(self.app, Some("2")).await?;
                settle::quietly(self.rack, self.app).await?;
                String::new()
            }
            Err(error) => return Err(error.into()),
        };
        let manifest = self.read_manifest().await?;
        let voices = Voices::new(self.ui, self.wanted(&manifest)?);
        let outcome = {
            let work = self.work(&manifest, &voices);
            tokio::pin!(work, stop);
            tokio::select! {
                failed = &mut work => failed,
                () = &mut stop => Ok(()),
            }
        };
        let before = Before { release: before };
        match outcome {
            Ok(()) => {
                self.ui.text("\n")?;
                voices.say(CONVOX, "stopping")?;
                Ok(before)
            }
            // Nobody looks any more, which is a wish to stop too.
            Err(Error::OutputClosed) => {
                self.put_back(before).await?;
                Err(Error::OutputClosed)
            }
            // What was started stays as it is, for a look at it.
            Err(error) => Err(error),
        }
    }

    fn wanted(&self, manifest: &Manifest) -> Result<Vec<String>, Error> {
        if let Some(unknown) = self
            .services
            .iter()
            .find(|name| !manifest.services.contains_key(*name))
        {
            return Err(Error::failed(format!("service not found: {unknown}")));
        }
        Ok(if self.services.is_empty() {
            manifest.services.keys().cloned().collect()
        } else {
            self.services.clone()
        })
    }

    async fn read_manifest(&self) -> Result<Manifest, Error> {
        let latest = self.rack.client.release_list(self.app, Some(1)).await?;
        let environment = match latest.first() {
            Some(release) => {
                let release = self.rack.client.release_get(self.app, &release.id).await?;
                Environment::parse(&release.env).to_map()
            }
            None => Environment::default().to_map(),
        };
        let path = self.root.join(&self.manifest);
        let text = std::fs::read_to_string(&path)
            .map_err(Error::io(format!("can not read {}", path.display())))?;
        let loaded = Manifest::load_without_environment(&text, &environment)
            .map_err(|errors| Error::failed(format!("{}: {errors}", self.manifest)))?;
        Ok(loaded.manifest)
    }

    /// Builds and keeps the source in step, and listens all the while: what a process says
    /// that never becomes healthy is what one wants to read. Ends only by failing.
    async fn work(&self, manifest: &Manifest, voices: &Voices) -> Result<(), Error> {
        let mut running = self.look(manifest, voices).await?;
        let follow = self.follow(voices);
        let keep = async {
            if self.build {
                self.make(voices).await?;
            }
            if !self.sync {
                return std::future::pending().await;
            }
            for line in running.synced.iter().flat_map(Synced::introduction) {
                voices.say(CONVOX, &line)?;
            }
            let mut pause = LOOK;
            loop {
                tokio::time::sleep(pause).await;
                self.keep(&mut running, voices).await?;
                // Looking at a large source must not become all this machine does.
                pause = LOOK.max(running.took * 4).min(LONGEST_PAUSE);
            }
        };
        tokio::select! {
            ended = follow => ended,
            ended = keep => ended,
        }
    }

    /// Looks at the source as it is now.
    async fn look(&self, manifest: &Manifest, voices: &Voices) -> Result<Running, Error> {
        let synced = if self.sync {
            let wanted = self.wanted(manifest)?;
            synced(&self.root, manifest, |name| wanted.contains(name), voices)?
        } else {
            Vec::new()
        };
        let mut recipes = BTreeSet::from([self.manifest.clone(), ".dockerignore".to_owned()]);
        let built = manifest.services.values();
        for service in built.filter(|service| !service.build.path.is_empty()) {
            let path = Path::new(&service.build.path).join(&service.build.dockerfile);
            recipes.insert(below_root(&path));
        }
        let tree = read_tree(&self.root, &recipes).await?;
        Ok(Running {
            tree,
            synced,
            recipes,
            unreadable: String::new(),
            took: Duration::ZERO,
        })
    }

    /// Carries what has changed since the last look; a recipe that has changed is
    /// built anew.
    async fn keep(&self, running: &mut Running, voices: &Voices) -> Result<(), Error> {
        let begun = Instant::now();
        let now = read_tree(&self.root, &running.recipes).await;
        running.took = begun.elapsed();
        let now = match now {
            Ok(now) => now,
            // A file that is being replaced; the next look sees what has become of it.
            Err(error) => {
                let unreadable = error.to_string();
                if unreadable != running.unreadable {
                    voices.say(CONVOX, &format!("sync error: {unreadable}"))?;
                }
                running.unreadable = unreadable;
                return Ok(());
            }
        };
        running.unreadable.clear();
        let changes = running.tree.until(&now);
        let recipe = changes
            .written
            .iter()
            .chain(&changes.removed)
            .find(|file| running.recipes.contains(*file));
        if let Some(recipe) = recipe
            && self.build
        {
            voices.say(CONVOX, &format!("{recipe} has changed"))?;
            running.tree = now;
            if self.again(running, voices).await? {
                return Ok(());
            }
        } else {
            running.tree = now;
        }
        for synced in &mut running.synced {
            synced
                .carry(self.rack, self.app, &self.root, &changes, voices)
                .await?;
        }
        Ok(())
    }

    /// Builds once more; says whether that went well. What runs goes on if it did not.
    async fn again(&self, running: &mut Running, voices: &Voices) -> Result<bool, Error> {
        let again = async {
            let manifest = self.read_manifest().await?;
            let fresh = self.look(&manifest, voices).await?;
            voices.listen_to(self.wanted(&manifest)?);
            self.make(voices).await?;
            Ok::<_, Error>(fresh)
        };
        match again.await {
            Ok(fresh) => {
                *running = fresh;
                Ok(true)
            }
            Err(Error::OutputClosed) => Err(Error::OutputClosed),
            Err(error) => {
                voices.say(CONVOX, &format!("error: {error}"))?;
                Ok(false)
            }
        }
    }

    /// Builds the source for development and makes it the active release.
    async fn make(&self, voices: &Voices) -> Result<(), Error> {
        let client = &self.rack.client;
        voices.say(BUILD, "uploading source")?;
        let root = self.root.clone();
        let packed =
            tokio::task::spawn_blocking(move || source::package(&root, Compression::fast()));
        let (file, length) = packed
            .await
            .map_err(|error| Error::failed(error.to_string()))??;
        let body = Upload::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
        let object = client
            .object_store(self.app, "", body.with_length(length))
            .await?;
        voices.say(BUILD, "starting build")?;
        let options = CreateOptions {
            development: true,
            manifest: Some(self.manifest.clone()),
            no_cache: !self.cache,
            ..CreateOptions::default()
        };
        let build = client.build_create(self.app, &object.url, &options).await?;
        let mut stream = client.build_logs(self.app, &build.id).await?;
        let mut lines = Lines::default();
        // A log that breaks off does not stop the build.
        while let Ok(Some(bytes)) = stream.next().await {
            for line in lines.push(&bytes) {
                voices.say(BUILD, &line)?;
            }
        }
        if let Some(line) = lines.rest() {
            voices.say(BUILD, &line)?;
        }
        let release = loop {
            let build = client.build_get(self.app, &build.id).await?;
            match build.status.as_str() {
                status::COMPLETE => break build.release,
                status::FAILED => return Err(Error::failed("build failed")),
                status::CREATED | status::RUNNING => tokio::time::sleep(POLL).await,
                other => return Err(Error::failed(format!("unknown build status: {other}"))),
            }
        };
        let options = PromoteOptions {
            development: Some(true),
            force: Some(true),
            idle: Some(false),
            min: Some(0),
            timeout: Some(HEALTHY),
            ..PromoteOptions::default()
        };
        voices.say(CONVOX, &format!("promoting {release}"))?;
        self.promote(&release, &options).await
    }

    /// Prints what the services say from now on.
    async fn follow(&self, voices: &Voices) -> Result<(), Error> {
        loop {
            let options = log::Options {
                prefix: true,
                since: Some(REOPEN),
                ..log::Options::default()
            };
            let mut lines = Lines::default();
            let log = Log::new(&self.rack.client, self.app, None, options);
            let copied = log
                .copy(|bytes| {
                    for line in lines.push(bytes) {
                        hear(&line, voices)?;
                    }
                    Ok(())
                })
                .await;
            if let Err(Error::OutputClosed) = copied {
                return copied;
            }
            tokio::time::sleep(REOPEN).await;
        }
    }

    /// Makes the build active again that was so before, with the environment of now.
    pub(crate) async fn put_back(&self, before: Before) -> Result<(), Error> {
        let client = &self.rack.client;
        // A promote that is under way is not overtaken, but undone.
        let active = settle::finished(self.rack, self.app).await?.release;
        if active == before.release {
            return Ok(());
        }
        // With nothing to go back to, what runs stays, and is no development any more.
        let mut release = active;
        if !before.release.is_empty() {
            let before = client.release_get(self.app, &before.release).await?;
            if !before.build.is_empty() {
                // Racks refuse older releases: it is a new one of the same build.
                let copy = release::CreateOptions {
                    build: Some(before.build),
                    description: Some(format!("{} after start", before.id)),
                    ..release::CreateOptions::default()
                };
                release = client.release_create(self.app, &copy).await?.id;
            }
        }
        let options = PromoteOptions {
            development: Some(false),
            force: Some(true),
            ..PromoteOptions::default()
        };
        self.promote(&release, &options).await
    }

    /// Makes a release the active one; a rack that goes back to another has failed.
    async fn promote(&self, release: &str, options: &PromoteOptions) -> Result<(), Error> {
        let client = &self.rack.client;
        client.release_promote(self.app, release, options).await?;
        let settled = settle::quietly(self.rack, self.app).await?;
        if settled.release != release {
            return Err(rolled_back(self.rack, self.app, release).await);
        }
        Ok(())
    }
}

/// Prints a line of the app's log when it is of a service that is listened to.
fn hear(line: &str, voices: &Voices) -> Result<(), Error> {
    let Some((_, rest)) = line.split_once(' ') else {
        return Ok(());
    };
    let (stream, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut words = stream.split('/');
    let service = match (words.next(), words.next(), words.next()) {
        (Some("service"), Some(service), _) if voices.hears(service) => service.to_owned(),
        (Some("system"), _, Some(object)) => match voices.service_of(object) {
            Some(service) => service,
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    voices.say(&service, &without_cursor(text))
}

/// A path without `.`, `..` and a slash at its beginning.
fn below_root(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

/// The source, with its recipes even where they are ignored.
async fn read_tree(root: &Path, recipes: &BTreeSet<String>) -> Result<Tree, Error> {
    let (root, recipes) = (root.to_owned(), recipes.clone());
    tokio::task::spawn_blocking(move || {
        let ignore = source::ignored(&root)?;
        Ok(Tree::read(&root, &ignore, &recipes)?)
    })
    .await
    .map_err(|error| Error::failed(error.to_string()))?
}
