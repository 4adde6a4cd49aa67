//! Building images.
//!
//! With BuildKit where the engine has it, else with the classic builder. The
//! context is streamed to the engine as it is read. Every connection of a build,
//! the session BuildKit calls back over included, lives exactly as long as the
//! build: when it is done, fails or is cancelled, they are closed, which makes the
//! engine stop what it is doing and leaves no session behind.
//!
//! The image is made without a tag and returned by its id. It stays usable by that
//! id until something prunes untagged images, so the caller tags it right away. If it is
//! gone before the build is over, as when another program removes an image with the very
//! same content, the answer is "no such image": building again helps.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use bytes::Bytes;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::archive::Source;
use super::progress::{self, Progress};
use super::{Docker, error};
use crate::engine::{BuildSpec, Credentials, EngineError, Image, LogSink, Result, registry};

impl Docker {
    pub(super) async fn image_build(
        &self,
        spec: BuildSpec,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<Image> {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let session = self.session().await?;
        let buildkit = self.buildkit(&session);
        let lifetime = CancellationToken::new();
        let _connections = lifetime.clone().drop_guard();
        let client = self.client_within(&session, lifetime)?;

        let credentials = logins(&spec.registries, buildkit);
        let source = Source::default();
        let options = BuildImageOptions {
            dockerfile: spec.dockerfile,
            buildargs: Some(spec.args.into_iter().collect()),
            target: spec.target.unwrap_or_default(),
            nocache: spec.no_cache,
            networkmode: Some("default".into()),
            rm: true,
            forcerm: true,
            version: if buildkit {
                BuilderVersion::BuilderBuildKit
            } else {
                BuilderVersion::BuilderV1
            },
            session: session
                .buildkit
                .then(|| format!("{:032x}", rand::random::<u128>())),
            ..BuildImageOptions::default()
        };
        let context = bollard::body_try_stream(source.read(spec.context));
        let mut steps = client.build_image(options, credentials, Some(context));

        let mut report = Report {
            log,
            progress: Progress::default(),
            id: None,
        };
        loop {
            let step = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(EngineError::Cancelled),
                step = steps.next() => step,
            };
            match step {
                None => break,
                Some(Ok(info)) => {
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Err(EngineError::Cancelled),
                        taken = report.take(info) => taken?,
                    }
                }
                Some(Err(bollard::errors::Error::DockerStreamError { error })) => {
                    return Err(source.blame(|| failed(&error)));
                }
                Some(Err(error)) => {
                    let why = |error| match self.failure("build", "context", error) {
                        EngineError::Failed(text) => failed(&text),
                        other => other,
                    };
                    return Err(source.blame(|| why(error)));
                }
            }
        }
        drop(steps);
        match report.id {
            Some(id) => self.image_made(&id).await,
            None => Err(source
                .blame(|| EngineError::Failed("docker ended the build without an image".into()))),
        }
    }
}

/// Why a builder failed.
fn failed(text: &str) -> EngineError {
    if progress::lost_the_image(text) {
        return EngineError::NotFound {
            kind: "image",
            name: "the one just built".into(),
        };
    }
    EngineError::Failed(progress::failure(text))
}

/// Takes in what the builder says.
struct Report {
    log: LogSink,
    progress: Progress,
    id: Option<String>,
}

impl Report {
    async fn take(&mut self, info: BuildInfo) -> Result<()> {
        if let Some(detail) = info.error_detail {
            let text = detail
                .message
                .unwrap_or_else(|| "the build failed without a reason".into());
            return Err(failed(&text));
        }
        match info.aux {
            Some(BuildInfoAux::BuildKit(status)) => {
                let text = self.progress.render(&status);
                self.say(text).await;
            }
            Some(BuildInfoAux::Default(image)) => self.id = image.id.or(self.id.take()),
            None => {}
        }
        if let Some(text) = info.stream {
            // Builders without an id message name the image in their last words.
            if let Some(id) = text.trim().strip_prefix("Successfully built ") {
                self.id.get_or_insert_with(|| id.to_owned());
            }
            self.say(text.into_bytes()).await;
        }
        // Pull progress repeats many times a second; only its milestones are kept.
        if let Some(status) = info.status
            && info
                .progress_detail
                .is_none_or(|detail| detail.current.is_none() && detail.total.is_none())
        {
            let of = info
                .id
                .filter(|id| id != "moby.image.id")
                .map(|id| format!("{id}: "))
                .unwrap_or_default();
            self.say(format!("{of}{}\n", error::one_line(&status)).into_bytes())
                .await;
        }
        Ok(())
    }

    /// Nobody listening is no reason to stop building.
    async fn say(&self, text: Vec<u8>) {
        if !text.is_empty() && self.log.send(Bytes::from(text)).await.is_err() {
            tracing::debug!("nobody reads the build log any more");
        }
    }
}

/// Logins as the builders look them up: BuildKit asks through its session by bare
/// host, the classic builder gets a header in which the hub has its old long name.
fn logins(
    registries: &std::collections::BTreeMap<String, Credentials>,
    buildkit: bool,
) -> Option<HashMap<String, DockerCredentials>> {
    let logins = registries.iter().map(|(host, login)| {
        let name = match (host.as_str(), buildkit) {
            (registry::HUB, true) => "registry-1.docker.io",
            (registry::HUB, false) => "https://index.docker.io/v1/",
            (host, _) => host,
        };
        let login = DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.clone()),
            ..DockerCredentials::default()
        };
        (name.to_owned(), login)
    });
    (!registries.is_empty()).then(|| logins.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// An engine that has the classic builder only, and what that says.
    async fn build_on(answer: &'static str) -> Result<Image> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("tcp://{}", listener.local_addr().expect("an address"));
        let engine = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = Vec::new();
                let whole = |request: &[u8]| {
                    let build = request.starts_with(b"POST");
                    request.ends_with(if build { b"\r\n0\r\n\r\n" } else { b"\r\n\r\n" })
                };
                while !whole(&request) {
                    request.push(stream.read_u8().await.expect("a request"));
                }
                let body = if request.starts_with(b"POST") {
                    answer
                } else {
                    r#"{"ApiVersion": "1.38", "Os": "linux"}"#
                };
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).await.expect("sent");
                stream.write_all(body.as_bytes()).await.expect("sent");
            }
        });
        let spec = BuildSpec {
            dockerfile: "Dockerfile".into(),
            args: BTreeMap::new(),
            target: None,
            no_cache: false,
            registries: BTreeMap::new(),
            context: Box::pin(std::io::Cursor::new(vec![0; 1024])),
        };
        let docker = Docker::connect(Some(&address)).expect("an address");
        let (log, mut lines) = mpsc::channel(16);
        let reading = async { while lines.recv().await.is_some() {} };
        let building = docker.image_build(spec, log, CancellationToken::new());
        let (built, ()) = futures::join!(building, reading);
        engine.abort();
        built
    }

    #[tokio::test]
    async fn an_image_that_is_lost_during_its_build_is_not_found() {
        let lost = r#"{"stream": "Step 1/1 : FROM scratch\n"}
            {"errorDetail": {"message": "failed to export image: failed to get digest sha256:0123: no such file or directory"},
             "error": "failed to export image: failed to get digest sha256:0123: no such file or directory"}"#;
        let error = build_on(lost).await.expect_err("lost");
        assert!(
            matches!(error, EngineError::NotFound { kind: "image", .. }),
            "{error:?}"
        );
        let other = r#"{"errorDetail": {"message": "no space left on device"}, "error": "no space left on device"}"#;
        let error = build_on(other).await.expect_err("failed");
        assert_eq!(error.to_string(), "no space left on device");
    }

    #[test]
    fn logins_go_under_the_names_builders_ask_for() {
        let login = Credentials {
            username: "u".into(),
            password: "p".into(),
        };
        let registries = BTreeMap::from([
            ("docker.io".to_owned(), login.clone()),
            ("box.example:5000".to_owned(), login),
        ]);
        let mut names: Vec<_> = logins(&registries, true)
            .expect("some")
            .into_keys()
            .collect();
        names.sort();
        assert_eq!(names, ["box.example:5000", "registry-1.docker.io"]);
        assert!(
            logins(&registries, false)
                .expect("some")
                .contains_key("https://index.docker.io/v1/")
        );
        assert!(logins(&BTreeMap::new(), true).is_none());
    }
}
