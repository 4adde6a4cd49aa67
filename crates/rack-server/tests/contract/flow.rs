//! What tests do to get somewhere: sources, builds, releases, promotes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rack_api::exit_status;
use serde_json::Value;

use super::world::{Client, Stream};

/// A manifest with one routed service.
pub(crate) const MANIFEST: &str = "environment:
  - GREETING=hello
services:
  web:
    build: .
    port: 3000
    health:
      interval: 1
      timeout: 1
    drain: 1
    termination:
      grace: 1
";
/// Builds an image that serves a page, on either engine.
pub(crate) const DOCKERFILE: &str = "FROM busybox:1.36
WORKDIR /app
COPY . .
RUN echo compiling && echo served >index.html
CMD [\"httpd\", \"-f\", \"-p\", \"3000\"]
";
/// Files of the usual app.
pub(crate) const PLAIN: &[(&str, &str)] = &[("convox.yml", MANIFEST), ("Dockerfile", DOCKERFILE)];

/// Name of a file that makes the images of every test others: two tests that build and
/// remove the very same image at the same time are in each other's way on Docker.
const OWN: &str = "own.txt";

thread_local! {
    static OWN_TEXT: String = rack_api::id::hex(16);
}

/// A source as clients upload it.
pub(crate) fn source(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let own = OWN_TEXT.with(Clone::clone);
    let builds = files.iter().any(|(path, _)| path.ends_with("Dockerfile"));
    let own = builds.then_some((OWN, own.as_str()));
    for (path, text) in files.iter().copied().chain(own) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .expect("memory does not fail");
    }
    let gzip = builder.into_inner().expect("memory does not fail");
    gzip.finish().expect("memory does not fail")
}

/// A multipart body of one file part and text fields; returns its type and bytes.
pub(crate) fn multipart(part: &str, file: &[u8], fields: &[(&str, &str)]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    write!(
        body,
        "--frontier\r\nContent-Disposition: form-data; name=\"{part}\"; filename=\"binary-data\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .expect("memory");
    body.extend_from_slice(file);
    for (name, value) in fields {
        write!(
            body,
            "\r\n--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}"
        )
        .expect("memory");
    }
    body.extend_from_slice(b"\r\n--frontier--\r\n");
    ("multipart/form-data; boundary=frontier".to_owned(), body)
}

/// Text of a field.
#[track_caller]
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
        .to_owned()
}

/// The status in the last frame of an exec, and what came before it.
#[track_caller]
pub(crate) fn status_of(stream: &Stream) -> (i64, Vec<u8>) {
    assert!(stream.ended, "{stream:?}");
    let (last, output) = stream.frames.split_last().expect("a marker");
    let last = std::str::from_utf8(last).expect("a marker");
    let status = last
        .strip_prefix(exit_status::MARKER)
        .expect("the marker opens a frame of its own");
    let status = status.strip_suffix('\n').expect("the marker's line ends");
    (status.parse().expect("a status"), output.concat())
}

/// Processes without what they use at the moment.
pub(crate) fn at_rest(mut processes: Value) -> Value {
    let (one, several) = match &mut processes {
        Value::Array(list) => (None, list.as_mut_slice()),
        one => (Some(one), &mut [][..]),
    };
    for process in one.into_iter().chain(several) {
        for load in ["cpu", "memory"] {
            process.as_object_mut().expect("a process").remove(load);
        }
    }
    processes
}

impl Client {
    /// Creates an app.
    pub(crate) async fn create(&self, app: &str) {
        let created = self.post("/apps", &format!("name={app}")).await.json();
        assert_eq!(text(&created, "status"), "running");
    }

    /// Uploads a source and starts a build of it.
    pub(crate) async fn start_build(&self, app: &str, files: &[(&str, &str)]) -> Value {
        let stored = self
            .upload(
                &format!("/apps/{app}/objects/tmp/{}.tgz?", rack_api::id::hex(30)),
                &source(files),
            )
            .await
            .json();
        let url = text(&stored, "Url");
        let url: String = form_urlencoded::byte_serialize(url.as_bytes()).collect();
        self.post(&format!("/apps/{app}/builds"), &format!("url={url}"))
            .await
            .json()
    }

    /// Builds and waits for the end; returns build and log.
    pub(crate) async fn build(&self, app: &str, files: &[(&str, &str)]) -> (Value, String) {
        let id = text(&self.start_build(app, files).await, "id");
        let log = self
            .stream(&format!("/apps/{app}/builds/{id}/logs"), &[])
            .await;
        assert!(log.ended, "{log:?}");
        (
            self.get(&format!("/apps/{app}/builds/{id}")).await.json(),
            log.text(),
        )
    }

    /// Builds; returns the release.
    pub(crate) async fn release(&self, app: &str, files: &[(&str, &str)]) -> String {
        let (build, log) = self.build(app, files).await;
        assert_eq!(text(&build, "status"), "complete", "{log}");
        text(&build, "release")
    }

    /// Promotes and waits until the app is settled.
    pub(crate) async fn promote(&self, app: &str, release: &str) -> Value {
        self.post(&format!("/apps/{app}/releases/{release}/promote"), "")
            .await
            .ok();
        self.settled(app).await
    }

    /// Waits until nothing changes an app.
    pub(crate) async fn settled(&self, app: &str) -> Value {
        let app = self.get(&format!("/apps/{app}?settled=50s")).await.json();
        assert_eq!(text(&app, "status"), "running");
        app
    }

    /// Creates the app, builds the usual source, promotes; returns the release.
    pub(crate) async fn deploy(&self, app: &str) -> String {
        self.create(app).await;
        let release = self.release(app, PLAIN).await;
        let app = self.promote(app, &release).await;
        assert_eq!(text(&app, "release"), release);
        release
    }

    /// Sets an app's environment; returns the release.
    pub(crate) async fn set_env(&self, app: &str, env: &str) -> Value {
        let env: String = form_urlencoded::byte_serialize(env.as_bytes()).collect();
        self.post(&format!("/apps/{app}/releases"), &format!("env={env}"))
            .await
            .json()
    }

    /// Everything an app has logged so far.
    pub(crate) async fn log(&self, app: &str) -> String {
        let options = [("Follow", "false"), ("Prefix", "true"), ("Since", "1h0m0s")];
        self.stream(&format!("/apps/{app}/logs"), &options)
            .await
            .text()
    }

    /// Runs a command in a running process and sends it input; output and status.
    pub(crate) async fn exec(
        &self,
        app: &str,
        process: &str,
        command: &str,
        input: &[u8],
    ) -> (i64, Vec<u8>) {
        let headers = [("Command", command), ("Tty", "false")];
        let socket = self
            .socket(&format!("/apps/{app}/processes/{process}/exec"), &headers)
            .await;
        socket
            .writer
            .data_in_frames(input, 1024)
            .await
            .expect("sent");
        socket.writer.end().await.expect("sent");
        status_of(&socket.rest().await)
    }
}
