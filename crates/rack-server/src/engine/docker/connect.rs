//! The engine as one value: where it is, what was agreed with it, and what it says of itself.
//!
//! The API version is agreed once, on first use, and again after the engine was
//! lost: it may have come back as another version.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, ClientVersion};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::port::Ports;
use super::transport::Transport;
use super::{error, image};
use crate::engine::{EngineError, EngineInfo, Labels, Result, architecture};

/// What [`crate::engine::Engine::kind`] says.
pub(super) const KIND: &str = "docker";

/// How long an ordinary request may wait for the start of its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// For requests whose answer starts when long work is over.
const NO_HURRY: Duration = Duration::from_secs(24 * 60 * 60);

/// A Docker engine. Clones share what was agreed with it.
#[derive(Clone)]
pub struct Docker {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    session: Mutex<Option<Session>>,
    /// Whether to build with the classic builder even where there is BuildKit.
    classic: AtomicBool,
    /// One network at a time: engines before API 1.44 create duplicates in a race.
    networks: tokio::sync::Mutex<()>,
    ports: Ports,
    digests: image::Digests,
}

/// What was agreed with the engine.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: bollard::Docker,
    /// Highest API version both sides speak.
    pub(super) version: ClientVersion,
    /// Whether the engine has BuildKit.
    pub(super) buildkit: bool,
}

impl Session {
    /// A client whose requests may take long before they answer.
    pub(super) fn unhurried(&self) -> bollard::Docker {
        self.client.clone().with_timeout(NO_HURRY)
    }

    /// A client whose stop requests may take `grace`.
    pub(super) fn patient(&self, grace: Duration) -> bollard::Docker {
        self.client
            .clone()
            .with_timeout(grace.saturating_add(PATIENCE))
    }

    /// Whether the engine speaks API 1.`minor`.
    pub(super) fn speaks(&self, minor: usize) -> bool {
        self.version
            >= ClientVersion {
                major_version: 1,
                minor_version: minor,
            }
    }
}

impl Docker {
    /// Aims at an engine without connecting yet: `host`, else `DOCKER_HOST`, else
    /// whichever of the usual sockets answers. Fails only when a host is not understood.
    pub fn connect(host: Option<&str>) -> Result<Self> {
        let variable = || {
            std::env::var("DOCKER_HOST")
                .ok()
                .filter(|text| !text.is_empty())
        };
        let named = host.map(str::to_owned).or_else(variable);
        let named: Option<Address> = named
            .map(|text| text.parse())
            .transpose()
            .map_err(EngineError::Failed)?;
        if matches!(named, Some(Address::Tcp(_)))
            && std::env::var("DOCKER_TLS_VERIFY").is_ok_and(|v| !v.is_empty())
        {
            return Err(EngineError::Failed(
                "docker over TLS is not supported: unset DOCKER_TLS_VERIFY and use a socket or plain tcp".into(),
            ));
        }
        Ok(Docker {
            shared: Arc::new(Shared {
                transport: Transport::new(named),
                session: Mutex::new(None),
                classic: AtomicBool::new(
                    std::env::var("DOCKER_BUILDKIT").is_ok_and(|value| value == "0"),
                ),
                networks: tokio::sync::Mutex::new(()),
                ports: Ports::default(),
                digests: image::Digests::default(),
            }),
        })
    }

    /// Builds with the classic builder from now on, as `DOCKER_BUILDKIT=0` in the environment asks for.
    #[must_use]
    pub fn with_classic_builder(self) -> Self {
        self.shared.classic.store(true, Ordering::Relaxed);
        self
    }

    /// Whether builds go through BuildKit.
    pub(super) fn buildkit(&self, session: &Session) -> bool {
        session.buildkit && !self.shared.classic.load(Ordering::Relaxed)
    }

    /// What was agreed, agreeing first if need be.
    pub(super) async fn session(&self) -> Result<Session> {
        let known = self
            .shared
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(session) = known {
            return Ok(session);
        }
        let session = self
            .agree()
            .await
            .map_err(|error| self.failure("engine", KIND, error))?;
        *self
            .shared
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        Ok(session)
    }

    /// Negotiates as `negotiate_version` does, and learns from the same answer who is there.
    async fn agree(&self) -> std::result::Result<Session, Error> {
        let theirs = client(&self.shared.transport, API_DEFAULT_VERSION, PATIENCE)?
            .version()
            .await?;
        let version = theirs
            .api_version
            .as_deref()
            .and_then(parse_version)
            .ok_or(Error::APIVersionParseError {})?;
        let version = if version < *API_DEFAULT_VERSION {
            version
        } else {
            *API_DEFAULT_VERSION
        };
        let podman = theirs
            .components
            .iter()
            .flatten()
            .any(|part| part.name.starts_with("Podman"));
        let modern = version
            >= ClientVersion {
                major_version: 1,
                minor_version: 39,
            };
        let linux = theirs.os.as_deref().is_none_or(|os| os == "linux");
        let client = client(&self.shared.transport, &version, PATIENCE)?;
        tracing::debug!(%version, podman, "agreed on an API version with docker");
        Ok(Session {
            client,
            version,
            buildkit: modern && linux && !podman,
        })
    }

    /// A client whose connections all end with `lifetime`, without a time limit.
    pub(super) fn client_within(
        &self,
        session: &Session,
        lifetime: CancellationToken,
    ) -> Result<bollard::Docker> {
        client(
            &self.shared.transport.within(lifetime),
            &session.version,
            NO_HURRY,
        )
        .map_err(|error| self.failure("engine", KIND, error))
    }

    /// Sends a request bollard has no suitable decoder for. `path` starts after the version.
    pub(super) async fn send(
        &self,
        about: (&'static str, &str),
        method: Method,
        path: &str,
        upgrade: bool,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>> {
        let response = self.request(about, method, path, upgrade, body).await?;
        let status = response.status();
        if status.is_success() || status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let message = error::refusal(response).await?;
        Err(error::refused(about.0, about.1, status.as_u16(), &message))
    }

    /// As [`Self::send`], and refusals are answers too.
    pub(super) async fn request(
        &self,
        about: (&'static str, &str),
        method: Method,
        path: &str,
        upgrade: bool,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>> {
        let session = self.session().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v{}{path}", session.version))
            .header(http::header::CONTENT_TYPE, "application/json");
        if upgrade {
            request = request
                .header(http::header::CONNECTION, "Upgrade")
                .header(http::header::UPGRADE, "tcp");
        }
        let request = request
            .body(bollard::body_full(body.into()))
            .map_err(|error| {
                EngineError::Failed(format!("cannot ask docker about {:?}: {error}", about.1))
            })?;
        let answer = tokio::time::timeout(PATIENCE, self.shared.transport.send(request)).await;
        answer
            .unwrap_or(Err(Error::RequestTimeoutError))
            .map_err(|error| self.failure(about.0, about.1, error))
    }

    /// Maps an error; one of connection makes the next call agree anew.
    pub(super) fn failure(&self, kind: &'static str, name: &str, error: Error) -> EngineError {
        let too_new = error::mentions(&error, "client version");
        let mapped = error::about(kind, name, error);
        if too_new || matches!(mapped, EngineError::Unreachable { .. }) {
            *self
                .shared
                .session
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = None;
        }
        mapped
    }

    /// How the engine is reached.
    pub(super) fn transport(&self) -> &Transport {
        &self.shared.transport
    }

    /// Where ports were last seen.
    pub(super) fn ports(&self) -> &Ports {
        &self.shared.ports
    }

    /// Config digests found by reading images.
    pub(super) fn digests(&self) -> &image::Digests {
        &self.shared.digests
    }

    /// Held while a network is made.
    pub(super) fn network_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.shared.networks
    }

    pub(super) async fn engine_info(&self) -> Result<EngineInfo> {
        let info = self
            .session()
            .await?
            .client
            .info()
            .await
            .map_err(|error| self.failure("engine", KIND, error))?;
        Ok(EngineInfo {
            kind: KIND,
            version: info.server_version.unwrap_or_default(),
            cpus: info
                .ncpu
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or_default(),
            memory: info
                .mem_total
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or_default(),
            architecture: architecture(info.architecture.as_deref().unwrap_or_default()).to_owned(),
            // Known of the classic store, which finds layers by what they stand on; the
            // containerd store wants all blobs, and so does podman.
            reuses_layers: info.driver.as_deref() == Some("overlay2"),
        })
    }
}

fn client(
    transport: &Transport,
    version: &ClientVersion,
    patience: Duration,
) -> std::result::Result<bollard::Docker, Error> {
    let transport = transport.clone();
    bollard::Docker::connect_with_custom_transport(
        move |request| {
            let transport = transport.clone();
            async move { transport.send(request).await }
        },
        Some("http://docker"),
        patience.as_secs(),
        version,
    )
}

fn parse_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion {
        major_version: major.parse().ok()?,
        minor_version: minor.parse().ok()?,
    })
}

/// The engine's filter for objects that have all these labels.
pub(super) fn label_filter(labels: &Labels) -> HashMap<String, Vec<String>> {
    HashMap::from([(
        "label".to_owned(),
        labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        let old = parse_version("1.41").expect("a version");
        assert!(old < *API_DEFAULT_VERSION);
        assert!(parse_version("1.100").expect("a version") > *API_DEFAULT_VERSION);
        assert_eq!(parse_version("one"), None);
    }

    #[test]
    fn a_host_that_is_not_understood_is_refused_at_once() {
        let error = Docker::connect(Some("ftp://box")).err().expect("refused");
        assert!(
            error
                .to_string()
                .starts_with("docker host scheme \"ftp\" is not supported"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_stopped_engine_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("docker.sock");
        let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).expect("lazy");
        let error = docker.engine_info().await.expect_err("nothing there");
        assert!(
            matches!(error, EngineError::Unreachable { .. }),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(
            text.starts_with("cannot reach the docker engine: nothing answers at unix://"),
            "{text}"
        );
        assert!(
            text.contains("start Docker") && !text.contains('\n'),
            "{text}"
        );
    }
}
