//! The engines that contract tests run on, and how everything a test makes on one goes
//! away again, however the test ends.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};
use futures::FutureExt as _;
use rack_server::engine::docker::Docker;
use rack_server::engine::simulated::Simulated;
use rack_server::engine::{Engine as _, Labels, label};
use rack_server::rack::console::Console;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::world::{Client, SERVER_PASSWORD, World, engine_state};

/// Makes of each `async fn name(engine: Engine)` two tests: `simulated::name`, and
/// `docker::name`, which needs Docker. One list per file.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod simulated {
            $(
                #[tokio::test]
                async fn $test() {
                    $crate::engines::Engine::simulated().run(super::$test).await;
                }
            )+
        }

        mod docker {
            $(
                #[tokio::test]
                #[ignore = "needs Docker"]
                async fn $test() {
                    $crate::engines::Engine::docker().run(super::$test).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_engines;

/// An engine under a test, and what the test has opened on it.
#[derive(Clone)]
pub(crate) struct Engine {
    name: &'static str,
    password: &'static str,
    opened: Arc<Mutex<Vec<Opened>>>,
}

/// A server that a test has opened.
struct Opened {
    console: Weak<Console>,
    shutdown: CancellationToken,
    data: Arc<TempDir>,
}

impl Engine {
    /// The simulated one.
    pub(crate) fn simulated() -> Self {
        Self::named("simulated")
    }

    /// The real one.
    pub(crate) fn docker() -> Self {
        Self::named("docker")
    }

    fn named(name: &'static str) -> Self {
        Self {
            name,
            password: SERVER_PASSWORD,
            opened: Arc::default(),
        }
    }

    /// The same engine beneath servers with another password.
    pub(crate) fn with_password(mut self, password: &'static str) -> Self {
        self.password = password;
        self
    }

    /// Password of servers on it.
    pub(crate) fn password(&self) -> &'static str {
        self.password
    }

    /// Its name in requests and answers.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether processes really run.
    pub(crate) fn is_docker(&self) -> bool {
        self.name == "docker"
    }

    /// How long processes may take to become healthy: simulated ones take no time.
    pub(crate) fn promote_timeout(&self) -> Duration {
        Duration::from_secs(if self.is_docker() { 30 } else { 2 })
    }

    /// A server without racks.
    pub(crate) async fn empty(&self) -> World {
        self.open(Arc::new(tempfile::tempdir().expect("a directory")), "")
            .await
    }

    /// A server with the rack `staging`, and a client that has its password.
    pub(crate) async fn with_rack(&self) -> (World, Client) {
        let world = self.empty().await;
        let rack = world.rack("staging").await;
        (world, rack)
    }

    /// A server on a data directory, with failpoints.
    pub(crate) async fn open(&self, data: Arc<TempDir>, failpoints: &str) -> World {
        World::open_on(self, data, failpoints).await
    }

    /// Takes note of a server, to remove what it made.
    pub(super) fn opened(
        &self,
        console: &Arc<Console>,
        shutdown: &CancellationToken,
        data: &Arc<TempDir>,
    ) {
        let opened = Opened {
            console: Arc::downgrade(console),
            shutdown: shutdown.clone(),
            data: Arc::clone(data),
        };
        self.lock().push(opened);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a test, then removes everything it made.
    pub(crate) async fn run(self, test: impl AsyncFnOnce(Self)) {
        let outcome = AssertUnwindSafe(test(self.clone())).catch_unwind().await;
        let opened = std::mem::take(&mut *self.lock());
        // First nothing is made any more, by none of them: several may have had the same
        // data directory, and the last one would start anew what was removed for the first.
        for server in &opened {
            server.shutdown.cancel();
            if let Some(console) = server.console.upgrade() {
                console.stop().await;
            }
        }
        let mut removed = Ok(());
        if self.is_docker() {
            for server in &opened {
                removed = removed.and(remove(server.data.path()).await);
            }
        }
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        removed.expect("everything of the test goes");
    }

    /// Image tags of an app that the engine keeps for the server of a data directory.
    pub(crate) async fn tags(&self, data: &Path, rack: &str, app: &str) -> Vec<String> {
        let prefix = format!("twinrack/{rack}/{app}:");
        let mut tags: Vec<_> = if self.is_docker() {
            images_of(data).await
        } else {
            let state = engine_state(data);
            let references = state["references"].as_object().expect("references");
            references.keys().cloned().collect()
        };
        tags.retain(|tag| tag.starts_with(&prefix));
        tags.sort();
        tags
    }

    /// Whether the engine of a data directory has an image, by its id.
    pub(crate) async fn has_image(&self, data: &Path, id: &str) -> bool {
        if self.is_docker() {
            let found = connect().await.inspect_image(id).await;
            return match found {
                Ok(_) => true,
                Err(bollard::errors::Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => false,
                Err(error) => panic!("{error}"),
            };
        }
        engine_state(data).to_string().contains(id)
    }

    /// Removes an image behind the back of the server of a data directory, which is stopped.
    pub(crate) async fn prune(&self, data: &Path, tag: &str) {
        if self.is_docker() {
            let options = None::<RemoveImageOptions>;
            let removed = connect().await.remove_image(tag, options, None).await;
            removed.expect("an image less");
        } else {
            let engine = Simulated::open(&data.join("simulated")).expect("the engine");
            engine.untag(tag).await.expect("an image less");
        }
    }

    /// Gives a name to another image, behind the back of the server of a data directory,
    /// which is stopped.
    pub(crate) async fn retag(&self, data: &Path, from: &str, to: &str) {
        if self.is_docker() {
            let (repo, tag) = to.rsplit_once(':').expect("a tag");
            let options = bollard::query_parameters::TagImageOptionsBuilder::default()
                .repo(repo)
                .tag(tag)
                .build();
            let tagged = connect().await.tag_image(from, Some(options)).await;
            tagged.expect("another name");
        } else {
            let engine = Simulated::open(&data.join("simulated")).expect("the engine");
            let image = engine
                .image(from)
                .await
                .expect("an answer")
                .expect("an image");
            engine.tag(&image.id, to).await.expect("another name");
        }
    }

    /// Names of the volumes that the engine keeps for the server of a data directory.
    pub(crate) async fn volumes(&self, data: &Path) -> Vec<String> {
        if !self.is_docker() {
            let state = engine_state(data);
            let volumes = state["volumes"].as_object().expect("volumes");
            return volumes.keys().cloned().collect();
        }
        let label = format!("{}={}", label::SERVER, server_id(data));
        let filters = std::collections::HashMap::from([("label", vec![label])]);
        let options = bollard::query_parameters::ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let volumes = connect().await.list_volumes(Some(options)).await;
        let volumes = volumes.expect("volumes").volumes.unwrap_or_default();
        volumes.into_iter().map(|volume| volume.name).collect()
    }
}

async fn connect() -> bollard::Docker {
    let docker = bollard::Docker::connect_with_defaults().expect("a Docker address");
    docker.negotiate_version().await.expect("Docker answers")
}

fn server_id(data: &Path) -> String {
    let text = std::fs::read(data.join("server.json")).expect("a server's file");
    let server: Value = serde_json::from_slice(&text).expect("JSON");
    server["id"].as_str().expect("an id").to_owned()
}

/// Tags of the builds of a data directory. Other servers may have racks and apps of
/// the same names; their build ids are others.
async fn images_of(data: &Path) -> Vec<String> {
    let builds = builds(data);
    let options = ListImagesOptionsBuilder::default().build();
    let images = connect().await.list_images(Some(options)).await;
    let tags = images.expect("images").into_iter();
    tags.flat_map(|image| image.repo_tags)
        .filter(|tag| {
            let build = tag.rsplit_once('.').map(|(_, build)| build);
            tag.starts_with("twinrack/") && build.is_some_and(|build| builds.contains(build))
        })
        .collect()
}

/// Every build id that occurs in the databases of a data directory.
fn builds(data: &Path) -> BTreeSet<String> {
    let racks = data.join("racks");
    let databases = super::world::files_below(&racks);
    let databases = databases.iter().filter(|path| path.contains("/rack.db"));
    let mut found = BTreeSet::new();
    for path in databases {
        // A file that goes away meanwhile holds nothing any more.
        let bytes = std::fs::read(racks.join(path)).unwrap_or_default();
        for window in bytes.windows(11) {
            if window[0] == b'B' && window[1..].iter().all(u8::is_ascii_uppercase) {
                found.insert(String::from_utf8_lossy(window).into_owned());
            }
        }
    }
    found
}

/// Removes what the server of a data directory has made on Docker.
async fn remove(data: &Path) -> Result<(), String> {
    let docker = Docker::connect(None).map_err(|error| error.to_string())?;
    let labels = Labels::from([(label::SERVER.to_owned(), server_id(data))]);
    let removed = docker.remove_labelled(&labels).await;
    let client = connect().await;
    for tag in images_of(data).await {
        let removed = client
            .remove_image(&tag, None::<RemoveImageOptions>, None)
            .await;
        removed.map_err(|error| format!("{tag}: {error}"))?;
    }
    removed.map_err(|error| error.to_string())
}
