//! A build that was made elsewhere, on its way into an app: what is refused before the
//! engine is touched, how its images get their names here and are proven, how it is
//! recorded with where it came from, and how all of that is taken back.
//!
//! What an import and a copy have in common; how the images reach the engine, if they
//! are not there, is for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use artifact::{BuildRecord, ServiceImage};
use manifest::Manifest;
use rack_api::build::{Provenance, status};
use rack_api::rack::ORGANIZATION;
use rack_api::{Environment, app};
use serde::{Deserialize, Serialize};

use super::build::{entrypoint, image_row, log_key, log_path};
use super::context::Context;
use super::error::{Failure, Result};
use super::plan::one_line;
use crate::engine::Image;
use crate::store::{BuildRow, ImageRow, NewRelease};

/// Parameter of an app that names, separated by commas, other apps whose builds may
/// come into it; `*` stands for all. For clients that know no `--force`.
const IMPORT_FROM: &str = "ImportFrom";

/// Most characters of a name that somebody else's archive gives.
const LONGEST_NAME: usize = 200;

/// How a build comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In an archive.
    Import,
    /// From another rack on the same engine.
    Copy,
}

impl Way {
    /// How its refusals begin.
    fn cannot(self) -> &'static str {
        match self {
            Self::Import => "cannot import",
            Self::Copy => "cannot copy",
        }
    }

    /// What has the images of the build.
    fn source(self) -> &'static str {
        match self {
            Self::Import => "the archive",
            Self::Copy => "the source rack",
        }
    }

    /// First word of its log.
    fn done(self) -> &'static str {
        match self {
            Self::Import => "Imported",
            Self::Copy => "Copied",
        }
    }
}

/// A build that comes. After a restart only what undoing needs is left of it.
#[derive(Serialize, Deserialize)]
pub struct Arrival {
    /// App it comes into.
    pub app: String,
    /// Id it gets.
    pub id: String,
    services: BTreeMap<String, ServiceImage>,
    #[serde(skip)]
    news: Option<News>,
    #[serde(skip)]
    images: Vec<ImageRow>,
}

/// What is known of a build that comes.
struct News {
    way: Way,
    build: BuildRecord,
    provenance: Provenance,
}

/// The full name of a rack, as others know it.
pub fn rack_name(context: &Context) -> String {
    format!("{ORGANIZATION}/{}", context.rack)
}

/// A name as it may be kept and shown, whatever an archive claims.
pub fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_NAME)
        .collect()
}

pub(super) fn same(image: &Image, expected: &ServiceImage) -> bool {
    image.config_digest == expected.config_digest.as_str()
        && image
            .diff_ids
            .iter()
            .map(String::as_str)
            .eq(expected.diff_ids.iter().map(artifact::Digest::as_str))
}

/// What a record of an image says of its bits.
pub(super) fn service_image(
    image: &ImageRow,
) -> std::result::Result<ServiceImage, artifact::ArtifactError> {
    let diff_ids = image.diff_ids.iter().map(|diff_id| diff_id.parse());
    Ok(ServiceImage {
        config_digest: image.config_digest.parse()?,
        diff_ids: diff_ids.collect::<std::result::Result<_, _>>()?,
        entrypoint: image.entrypoint.clone(),
    })
}

fn load(way: Way, build: &BuildRecord) -> Result<Manifest> {
    Manifest::load_without_environment(&build.manifest, &BTreeMap::new())
        .map(|loaded| loaded.manifest)
        .map_err(|errors| {
            Failure::Invalid(format!(
                "{}: the manifest of the build: {}",
                way.cannot(),
                one_line(&errors.to_string())
            ))
        })
}

/// Refuses a build of another app, unless it is allowed by `foreign` or by the app.
pub(super) async fn check_app(
    context: &Context,
    way: Way,
    app: &str,
    foreign: bool,
    build: &BuildRecord,
) -> Result<()> {
    let parameters = context.app(app).await?.parameters;
    let allowed = parameters.get(IMPORT_FROM).map_or("", String::as_str);
    let expected = |name: &str| name.trim() == build.app || name.trim() == "*";
    if build.app == app || foreign || allowed.split(',').any(expected) {
        return Ok(());
    }
    let cannot = way.cannot();
    let source = plain(&build.app);
    let what = match way {
        Way::Import => "the archive is a build",
        Way::Copy => "it is a build",
    };
    Err(Failure::Invalid(format!(
        "{cannot}: {what} of app {source}, not of {app}; to {} it nevertheless \
         use --force, or first `convox apps params set {IMPORT_FROM}={source} -a {app}`",
        cannot.trim_start_matches("cannot ")
    )))
}

impl Arrival {
    /// Takes a build on, after everything that can be refused before the engine is
    /// touched. `foreign` allows a build of another app.
    pub async fn new(
        context: &Context,
        way: Way,
        app: &str,
        foreign: bool,
        build: BuildRecord,
        services: BTreeMap<String, ServiceImage>,
        provenance: Provenance,
    ) -> Result<Self> {
        let cannot = way.cannot();
        check_app(context, way, app, foreign, &build).await?;
        let manifest = load(way, &build)?;
        if manifest.services.is_empty() {
            return Err(Failure::Invalid(format!(
                "{cannot}: the manifest of the build declares no services"
            )));
        }
        for service in manifest.services.keys() {
            if !services.contains_key(service) {
                return Err(Failure::Invalid(format!(
                    "{cannot}: {} has no image for service {service}",
                    way.source()
                )));
            }
        }
        Ok(Self {
            app: app.to_owned(),
            id: rack_api::id::build(),
            services,
            news: Some(News {
                way,
                build,
                provenance,
            }),
            images: Vec::new(),
        })
    }

    /// The row of a build that has arrived.
    pub async fn row(self, context: &Context) -> Result<BuildRow> {
        let row = context.store.build(&self.app, &self.id).await?;
        row.ok_or_else(|| {
            Failure::NotFound(format!("build {} was deleted as soon as it came", self.id))
        })
    }

    /// Names of images here, by service.
    pub fn references(&self, context: &Context) -> BTreeMap<String, String> {
        self.services
            .keys()
            .map(|service| (service.clone(), self.reference(context, service)))
            .collect()
    }

    fn reference(&self, context: &Context, service: &str) -> String {
        context.image_reference(&self.app, service, &self.id)
    }

    fn news(&mut self) -> Result<&mut News> {
        self.news
            .as_mut()
            .ok_or_else(|| Failure::internal("a build that comes after a restart"))
    }

    /// Gives the images their names here whose very bits the engine has. Returns the
    /// services of all others. `known` is what the engine may know an image by.
    pub async fn tag_present(
        &mut self,
        context: &Context,
        known: impl Fn(&str, &ServiceImage) -> String,
    ) -> Result<Vec<String>> {
        let mut absent = Vec::new();
        for (service, expected) in &self.services {
            // An image id is the digest of its configuration, which names every
            // layer: what is there under that id is what is meant.
            let found = context.engine.image(&known(service, expected)).await?;
            match found.filter(|image| same(image, expected)) {
                Some(image) => {
                    let reference = self.reference(context, service);
                    context.engine.tag(&image.id, &reference).await?;
                }
                None => absent.push(service.clone()),
            }
        }
        self.news()?.provenance.images_present = absent.is_empty();
        Ok(absent)
    }

    /// Proves that the engine holds what was announced, under the names given here.
    pub async fn confirm(&mut self, context: &Context) -> Result<()> {
        let way = self.news()?.way;
        let cannot = way.cannot();
        self.images.clear();
        for (service, expected) in &self.services {
            let reference = self.reference(context, service);
            let image = context.engine.image(&reference).await?.ok_or_else(|| {
                Failure::Failed(format!(
                    "{cannot}: the engine did not keep the image of service {service}"
                ))
            })?;
            if !same(&image, expected) {
                return Err(Failure::Failed(format!(
                    "{cannot}: the engine holds other bits for service {service} than {}",
                    way.source()
                )));
            }
            self.images.push(image_row(service, image, reference));
        }
        Ok(())
    }

    /// Records build, images and release in one transaction.
    pub async fn record(&mut self, context: &Arc<Context>) -> Result<()> {
        let News {
            way,
            build,
            mut provenance,
        } = self
            .news
            .take()
            .ok_or_else(|| Failure::internal("a build that comes after a restart"))?;
        let deleted =
            || Failure::Conflict(format!("{}: the app was deleted meanwhile", way.cannot()));
        let manifest = load(way, &build)?;
        let latest = context.store.latest_release(&self.app).await?;
        let variables = latest
            .map(|release| Environment::parse(&release.env).to_map())
            .unwrap_or_default();
        let missing = manifest.missing_environment(&variables);
        // A delete of the app comes wholly before this or wholly after it.
        let _alone = context.lock_builds(&self.app).await;
        if context.app(&self.app).await?.status == app::status::DELETING {
            return Err(deleted());
        }
        let archive = provenance.archive.clone();
        if !archive.is_empty() {
            let before = context.store.build_of_archive(&self.app, &archive).await?;
            provenance.imported_before = before.unwrap_or_default();
        }
        let now = context.now();
        provenance.imported = Some(now);
        self.write_log(context, way, &provenance).await?;
        let row = BuildRow {
            id: self.id.clone(),
            app: self.app.clone(),
            status: status::COMPLETE.to_owned(),
            description: build.description.clone(),
            entrypoint: entrypoint(&self.images),
            git_sha: build.git_sha,
            manifest: build.manifest.clone(),
            logs: format!("object://{}/{}", self.app, log_key(&self.id)),
            started: now,
            ended: Some(now),
            provenance: Some(provenance),
            missing,
            archive,
            ..BuildRow::default()
        };
        let release = NewRelease {
            id: rack_api::id::release(),
            app: self.app.clone(),
            build: self.id.clone(),
            env: None,
            manifest: build.manifest,
            description: build.description,
            now: context.now(),
        };
        let recorded = context
            .store
            .complete_build(row, self.images.clone(), release)
            .await?;
        recorded.map(drop).ok_or_else(deleted)
    }

    /// The log of a build that came says where from.
    async fn write_log(&self, context: &Context, way: Way, from: &Provenance) -> Result<()> {
        use std::fmt::Write as _;
        let rack = match from.rack.as_str() {
            "" => "another rack",
            rack => rack,
        };
        let mut text = format!(
            "{} build {} of app {} from {rack}\n",
            way.done(),
            from.build,
            from.app
        );
        let mut line = |what: &str, of: &str| {
            writeln!(text, "{what}{of}").expect("memory");
        };
        if let Some(origin) = &from.origin {
            let rack = match origin.rack.as_str() {
                "" => "another rack",
                rack => rack,
            };
            let first = format!("{} of app {} on {rack}", origin.build, origin.app);
            line("First made as build ", &first);
        }
        for (service, image) in &self.services {
            line(
                &format!("Verified {service}: "),
                image.config_digest.as_str(),
            );
        }
        for (service, architecture) in &from.emulated {
            let runs = "not for the engine's processors: it runs only where they are emulated";
            line(
                &format!("Image of {service} is made for {architecture}, "),
                runs,
            );
        }
        if !from.imported_before.is_empty() {
            let before = &from.imported_before;
            line("The same archive was imported before as build ", before);
        }
        if from.images_present && way == Way::Import {
            line("All images were on the engine already", "");
        }
        let path = log_path(context, &self.app, &self.id);
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent)
                .await
                .map_err(Failure::io("the build log"))?;
        }
        tokio::fs::write(&path, text)
            .await
            .map_err(Failure::io("the build log"))
    }

    /// Takes everything back, unless the build was recorded.
    pub async fn undo(&self, context: &Context) -> Result<()> {
        if context.store.build(&self.app, &self.id).await?.is_some() {
            // Recorded whole: the server died between that write and the operation's.
            return Ok(());
        }
        for service in self.services.keys() {
            context
                .engine
                .untag(&self.reference(context, service))
                .await?;
        }
        let log = log_path(context, &self.app, &self.id);
        match tokio::fs::remove_file(&log).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io("the build log")(error));
            }
            _ => {}
        }
        if let Some(directory) = log.parent() {
            // Not there, or with something in it: neither is ours to mend.
            let _ = tokio::fs::remove_dir(directory).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_of_others_are_harmless() {
        assert_eq!(plain("personal/staging"), "personal/staging");
        assert_eq!(plain("a\u{1b}[31mb\nc\u{9b}"), "a[31mbc");
        assert_eq!(plain(&"ä".repeat(1000)).chars().count(), 200);
    }
}
