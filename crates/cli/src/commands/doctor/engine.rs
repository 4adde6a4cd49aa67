//! The engine: whether one answers where the server looks for it, and whether it has the
//! images that the manifest of the working directory names and its Dockerfiles begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use manifest::Manifest;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Finding, State};
use crate::context::{Context, variable};
use crate::start::bases;

/// How long an engine may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MOST: u64 = 1024 * 1024;
/// Oldest version of the engine's API that is known to do (Docker 20.10).
const OLDEST: (u32, u32) = (1, 41);

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// What is known of the engine.
pub(super) struct Engine {
    pub(super) finding: Finding,
    pub(super) images: Vec<Finding>,
    /// The version of its API, if it tells one.
    pub(super) api: Option<String>,
}

impl Engine {
    fn without_more(finding: Finding) -> Self {
        Self {
            finding,
            images: Vec::new(),
            api: None,
        }
    }
}

/// Looks for the engine, then for the images that are wanted of it.
pub(super) async fn look(context: &Context) -> Engine {
    if variable("RACK_SERVER_ENGINE").as_deref() == Some("simulated") {
        return Engine::without_more(Finding::ok("engine", "simulated: nothing really runs"));
    }
    let (place, version) = match find().await {
        Ok(found) => found,
        Err(finding) => return Engine::without_more(finding),
    };
    let mut images = Vec::new();
    for image in wanted(context) {
        images.push(image_finding(&place, &image).await);
    }
    Engine {
        finding: version_finding(&place, &version),
        images,
        api: version["ApiVersion"].as_str().map(str::to_owned),
    }
}

/// The places where the server looks, best first; one that is named is the only one.
fn places(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Place>, String> {
    if let Some(named) = variable("DOCKER_HOST") {
        let place = match named.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Place::Unix(path.into()),
            Some(("tcp" | "http", host)) if !host.trim_end_matches('/').is_empty() => {
                let host = host.trim_end_matches('/');
                let port = host
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Place::Tcp(if port {
                    host.to_owned()
                } else {
                    format!("{host}:2375")
                })
            }
            _ => {
                return Err(format!(
                    "DOCKER_HOST is {named}, which is no unix:// or tcp:// address"
                ));
            }
        };
        return Ok(vec![place]);
    }
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = variable("HOME").map(PathBuf::from);
    let below = |base: &Option<PathBuf>, path: &str| base.as_ref().map(|base| base.join(path));
    let paths = [
        Some(PathBuf::from("/var/run/docker.sock")),
        below(&runtime, "docker.sock"),
        below(&home, ".docker/run/docker.sock"),
        below(&home, ".docker/desktop/docker.sock"),
        below(&home, ".orbstack/run/docker.sock"),
        below(&home, ".colima/default/docker.sock"),
        below(&home, ".rd/docker.sock"),
        below(&runtime, "podman/podman.sock"),
        Some(PathBuf::from("/run/podman/podman.sock")),
    ];
    Ok(paths.into_iter().flatten().map(Place::Unix).collect())
}

/// The first place where an engine answers, and what it says of itself.
async fn find() -> Result<(Place, Value), Finding> {
    const CHECK: &str = "engine";
    let places = places(variable).map_err(|text| {
        let fix = "unset DOCKER_HOST, or set it to unix:///path/to/docker.sock";
        Finding::new(CHECK, State::Broken, text, fix)
    })?;
    let mut refused = None;
    let mut named = None;
    for place in places {
        match ask(&place, "/version").await {
            Ok((200, version)) => return Ok((place, version)),
            Ok((status, _)) => named = Some(format!("{place} answers with status {status}")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused.get_or_insert(place);
            }
            Err(error) => {
                named.get_or_insert_with(|| format!("nothing answers at {place}: {error}"));
            }
        }
    }
    Err(match refused {
        Some(place) => Finding::new(
            CHECK,
            State::Broken,
            format!("your user may not use {place}"),
            "add your user to the group that owns the socket (usually docker) and log in again",
        ),
        None => Finding::new(
            CHECK,
            State::Broken,
            named.unwrap_or_else(|| "no engine was found".to_owned()),
            "start Docker, set DOCKER_HOST to where it listens, or rehearse with `--engine simulated`",
        ),
    })
}

fn version_finding(place: &Place, version: &Value) -> Finding {
    const CHECK: &str = "engine";
    let text = |name: &str| version[name].as_str().unwrap_or("?").to_owned();
    let name = match version["Components"][0]["Name"].as_str() {
        Some(name) if name.contains("Podman") => "Podman",
        _ => "Docker",
    };
    let api = text("ApiVersion");
    let finding = format!("{name} {} (API {api}) at {place}", text("Version"));
    let number = api
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match number {
        Some(number) if number >= OLDEST => Finding::ok(CHECK, finding),
        _ => Finding::new(
            CHECK,
            State::Warning,
            finding,
            "install Docker 20.10 or later: earlier ones were never tried",
        ),
    }
}

/// The images that the manifest of the working directory names, and those its builds begin
/// with.
fn wanted(context: &Context) -> BTreeSet<String> {
    let root = context.settings.working();
    let file = root.join("convox.yml");
    let Ok(text) = std::fs::read_to_string(file) else {
        return BTreeSet::new();
    };
    // What is wrong with a manifest is said by `convox build`.
    let Ok(loaded) = Manifest::load_without_environment(&text, &BTreeMap::new()) else {
        return BTreeSet::new();
    };
    let resources = loaded.manifest.resources.into_values();
    let mut images: BTreeSet<_> = resources.filter_map(|resource| resource.image).collect();
    for service in loaded.manifest.services.into_values() {
        if let Some(image) = service.image {
            images.insert(image);
        } else if !service.build.path.is_empty() {
            let recipe = root
                .join(&service.build.path)
                .join(&service.build.dockerfile);
            images.extend(
                std::fs::read_to_string(recipe)
                    .iter()
                    .flat_map(|text| bases(text)),
            );
        }
    }
    // A name that can be no part of a path is said by the build.
    images.retain(|image| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter);
        !image.is_empty() && image.chars().all(fits)
    });
    images
}

async fn image_finding(place: &Place, image: &str) -> Finding {
    const CHECK: &str = "images";
    match ask(place, &format!("/images/{image}/json")).await {
        Ok((200, _)) => Finding::ok(CHECK, format!("{image} is there")),
        Ok((404, _)) => Finding::new(
            CHECK,
            State::Note,
            format!("{image} is not there"),
            format!("it is pulled when it is needed; `docker pull {image}` does it now"),
        ),
        // The engine answered a moment ago.
        Ok((status, _)) => Finding::new(
            CHECK,
            State::Warning,
            format!("the engine answers with status {status} when asked for {image}"),
            "see the log of the engine",
        ),
        Err(error) => Finding::new(
            CHECK,
            State::Warning,
            format!("the engine does not answer when asked for {image}: {error}"),
            "see the log of the engine",
        ),
    }
}

/// GETs a path of the engine's API; status and JSON.
async fn ask(place: &Place, path: &str) -> io::Result<(u16, Value)> {
    let asked = async {
        match place {
            Place::Unix(socket) => exchange(UnixStream::connect(socket).await?, path).await,
            Place::Tcp(host) => exchange(TcpStream::connect(host.as_str()).await?, path).await,
        }
    };
    match timeout(LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no answer within five seconds",
        )),
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> io::Result<(u16, Value)> {
    // HTTP/1.0: an answer without chunks, and the end of the stream is its end.
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::other("it does not speak HTTP"))?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_named_is_the_only_one() {
        let named = |text: &'static str| {
            places(move |name| (name == "DOCKER_HOST").then(|| text.to_owned()))
        };
        assert_eq!(
            named("unix:///run/d.sock"),
            Ok(vec![Place::Unix("/run/d.sock".into())])
        );
        assert_eq!(named("tcp://box"), Ok(vec![Place::Tcp("box:2375".into())]));
        assert_eq!(named("tcp://box:1/"), Ok(vec![Place::Tcp("box:1".into())]));
        assert!(named("/var/run/docker.sock").is_err());
        let usual = places(|name| (name == "HOME").then(|| "/home/me".to_owned())).expect("places");
        assert_eq!(usual[0], Place::Unix("/var/run/docker.sock".into()));
        assert!(usual.contains(&Place::Unix("/home/me/.rd/docker.sock".into())));
    }

    #[test]
    fn engines_that_are_too_old_are_told() {
        let place = Place::Unix("/s".into());
        let state = |api: &str| {
            let version = serde_json::json!({"Version": "1", "ApiVersion": api});
            version_finding(&place, &version).state
        };
        assert_eq!(state("1.41"), State::Ok);
        assert_eq!(state("1.100"), State::Ok);
        assert_eq!(state("1.9"), State::Warning);
        assert_eq!(state("?"), State::Warning);
    }
}
