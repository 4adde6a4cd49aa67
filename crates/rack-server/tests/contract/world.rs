//! A server in this process, and a client that writes its requests byte by byte.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use rack_api::socket::{Event, Role, Socket, SocketReader, SocketWriter, accept_key};
use rack_server::operations::clock::Clock;
use rack_server::operations::context::Settings;
use rack_server::rack::access::Limits;
use rack_server::rack::console::{Console, Options};
use rack_server::{api, listener};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::coverage::{self, Call};
use super::engines::Engine;

/// Longest wait for anything that must happen, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Password of every test server.
pub(crate) const SERVER_PASSWORD: &str = "server-password-sentinel";
/// Type of a form.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Fails the test when something does not happen in time.
pub(crate) async fn within<F: Future>(what: &str, work: F) -> F::Output {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

/// Asks until the answer is yes.
pub(crate) async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A running server with a data directory of its own.
pub(crate) struct World {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) data: Arc<TempDir>,
    engine: Engine,
    /// The server's, to be moved on.
    pub(crate) clock: Clock,
    console: Arc<Console>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl World {
    /// A server without racks, on the simulated engine.
    pub(crate) async fn empty() -> Self {
        Engine::simulated().empty().await
    }

    /// A server with the rack `staging` on the simulated engine, and a client that has
    /// its password.
    pub(crate) async fn with_rack() -> (Self, Client) {
        Engine::simulated().with_rack().await
    }

    /// A server on a data directory, with failpoints, on the simulated engine.
    pub(crate) async fn open(data: Arc<TempDir>, failpoints: &str) -> Self {
        Engine::simulated().open(data, failpoints).await
    }

    /// A server on a data directory, with failpoints.
    pub(crate) async fn open_on(engine: &Engine, data: Arc<TempDir>, failpoints: &str) -> Self {
        // Tests are wrong so often that they would be waiting all the time.
        let limits = Limits {
            slowest_refusal: Duration::ZERO,
            ..Limits::default()
        };
        Self::with_limits(engine, data, failpoints, limits).await
    }

    /// A server that takes what it is told to take.
    pub(crate) async fn with_limits(
        engine: &Engine,
        data: Arc<TempDir>,
        failpoints: &str,
        limits: Limits,
    ) -> Self {
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let port = listener::bind(loopback, false).await.expect("a port");
        let address = port.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let clock = Clock::default();
        let opened = Console::open(Options {
            data: data.path().to_owned(),
            engine: engine.name().into(),
            docker_host: None,
            password: Some(engine.password().into()),
            settings: Settings {
                port: address.port(),
                usual_port: false,
                build_timeout: Duration::from_secs(30),
                promote_timeout: engine.promote_timeout(),
                steady: Duration::from_millis(500),
                measure_every: Duration::from_millis(500),
                clock: clock.clone(),
                failpoints: failpoints.parse().expect("failpoints"),
                archive_limits: artifact::Limits::default(),
            },
            limits,
            shutdown: shutdown.clone(),
        })
        .await
        .expect("a console");
        let console = opened.console;
        engine.opened(&console, &shutdown, &data);
        let routes = coverage::recorded(api::routes(Arc::clone(&console)), engine.name());
        let tls = Arc::new(console.tls());
        let router = Arc::clone(console.router());
        let serving = tokio::spawn(listener::serve(port, tls, router, routes, shutdown.clone()));
        Self {
            address,
            data,
            engine: engine.clone(),
            clock,
            console,
            shutdown,
            serving,
        }
    }

    /// Makes a rack, over HTTP; the client has its password.
    pub(crate) async fn rack(&self, name: &str) -> Client {
        let answer = self.server().post("/racks", &format!("name={name}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let password = answer.json()["password"]
            .as_str()
            .expect("a password")
            .to_owned();
        self.with_password(&password)
    }

    /// A client that has the server's password.
    pub(crate) fn server(&self) -> Client {
        self.with_password(self.engine.password())
    }

    /// A client that has a password.
    pub(crate) fn with_password(&self, password: &str) -> Client {
        let credentials = BASE64_STANDARD.encode(format!("convox:{password}"));
        Client {
            address: self.address,
            headers: vec![("Authorization".into(), format!("Basic {credentials}"))],
        }
    }

    /// A client without a password.
    pub(crate) fn stranger(&self) -> Client {
        Client {
            address: self.address,
            headers: Vec::new(),
        }
    }

    /// Directory of a rack.
    pub(crate) fn rack_directory(&self, rack: &str) -> PathBuf {
        self.data.path().join("racks").join(rack)
    }

    /// Image tags of an app that the engine keeps.
    pub(crate) async fn tags(&self, rack: &str, app: &str) -> Vec<String> {
        self.engine.tags(self.data.path(), rack, app).await
    }

    /// Whether the engine has an image, by its id.
    pub(crate) async fn has_image(&self, id: &str) -> bool {
        self.engine.has_image(self.data.path(), id).await
    }

    /// Names of the volumes that the engine keeps.
    pub(crate) async fn volumes(&self) -> Vec<String> {
        self.engine.volumes(self.data.path()).await
    }

    /// Removes a process behind the back of a rack.
    pub(crate) async fn remove_process(&self, rack: &str, id: &str) {
        let rack = self.console.rack(rack).expect("a rack");
        let removed = rack.engine().remove(id).await;
        removed.expect("a process less");
    }

    /// What the simulated engine keeps on disk.
    pub(crate) fn engine_state(&self) -> Value {
        engine_state(self.data.path())
    }

    /// Ends the server in good order; the data stays.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.shutdown.cancel();
        within("the end of the listener", self.serving)
            .await
            .expect("no panic");
        within("the end of the racks", self.console.stop()).await;
        self.data
    }
}

/// What the simulated engine of a data directory keeps on disk.
pub(crate) fn engine_state(data: &Path) -> Value {
    match std::fs::read(data.join("simulated").join("state.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).expect("the engine's state"),
        Err(_) => serde_json::json!({ "references": {} }),
    }
}

/// Image tags of an app that the simulated engine keeps.
pub(crate) fn tags(data: &Path, rack: &str, app: &str) -> Vec<String> {
    let state = engine_state(data);
    let references = state["references"].as_object().expect("references");
    let prefix = format!("twinrack/{rack}/{app}:");
    references
        .keys()
        .filter(|name| name.starts_with(&prefix))
        .cloned()
        .collect()
}

/// Everything below a directory, as paths relative to it.
pub(crate) fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let relative = path
                    .strip_prefix(directory)
                    .expect("below")
                    .to_string_lossy()
                    .into_owned();
                found.push(relative);
            }
        }
    }
    found.sort();
    found
}

/// An answer as received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("json")
    }

    /// The answer is `ok`.
    #[track_caller]
    pub(crate) fn ok(&self) {
        assert_eq!((self.status, self.text().as_str()), (200, "ok\n"));
        assert_eq!(
            self.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }

    /// The answer is this failure, as text.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text()), (status, format!("{text}\n")));
        assert_eq!(
            self.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert!(
            !text.contains('%'),
            "clients take messages for format strings"
        );
    }
}

fn split_head(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    (
        String::from_utf8_lossy(&bytes[..end]).into_owned(),
        &bytes[end + 4..],
    )
}

/// Reads an answer that is whole.
pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let (head, rest) = split_head(bytes);
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .expect("a status line");
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked");
    let body = if chunked {
        join_chunks(rest)
    } else {
        rest.to_vec()
    };
    Answer {
        status: status.parse().expect("a status"),
        headers,
        body,
    }
}

fn join_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a chunk that is whole");
        let size = std::str::from_utf8(&rest[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        rest = &rest[end + 2..];
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// Writes raw requests, with headers of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) headers: Vec<(String, String)>,
}

/// Frames and how a stream ended.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) frames: Vec<Bytes>,
    /// The server said that there is no more, rather than just going away.
    pub(crate) ended: bool,
}

impl Stream {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("text")
    }
}

/// A socket after its handshake.
pub(crate) struct Connected {
    pub(crate) reader: SocketReader<TcpStream>,
    pub(crate) writer: SocketWriter<TcpStream>,
    call: Call,
}

impl Connected {
    /// The client's side of a connection that was upgraded.
    pub(crate) fn new(stream: TcpStream, call: Call) -> Self {
        let (reader, writer) = Socket::new(stream, Role::Client).split();
        Self {
            reader,
            writer,
            call,
        }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> std::io::Result<Event> {
        let event = self.reader.next().await?;
        match &event {
            Event::Data(bytes) => self.call.said(bytes),
            Event::End | Event::Close => self.call.said(b""),
        }
        Ok(event)
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Stream {
        let mut stream = Stream {
            frames: Vec::new(),
            ended: false,
        };
        loop {
            match within("the end of a stream", self.next()).await {
                Ok(Event::Data(bytes)) => stream.frames.push(bytes),
                Ok(Event::End) => {
                    stream.ended = true;
                    return stream;
                }
                Ok(Event::Close) | Err(_) => return stream,
            }
        }
    }

    /// Reads until the text received contains something.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            match within(&format!("{wanted:?} after {text:?}"), self.next()).await {
                Ok(Event::Data(bytes)) => text.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} instead of {wanted:?} after {text:?}"),
            }
        }
        text
    }
}

impl Client {
    /// The same client with one more header.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.into(), value.into()));
        client
    }

    fn head(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut host = true;
        for (name, value) in own.chain(headers.iter().copied()) {
            host &= !name.eq_ignore_ascii_case("host");
            write!(head, "{name}: {value}\r\n").expect("memory");
        }
        if host {
            write!(head, "Host: {}\r\n", self.address).expect("memory");
        }
        head
    }

    /// Writes bytes, reads the answer to the end of the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let received = within("an answer", async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            // A server that refuses early may not read to the end.
            let _ = stream.write_all(bytes).await;
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.map(|_| received)
        })
        .await
        .expect("an answer");
        parse(&received)
    }

    /// Writes a request's last headers and what of its body is wanted, and hangs up.
    pub(crate) async fn sends_and_leaves(&self, method: &str, target: &str, rest: &[u8]) {
        let mut bytes = self.head(
            method,
            target,
            &[("Content-Type", "application/octet-stream")],
        );
        bytes.extend_from_slice(rest);
        within("a request", async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            stream.write_all(&bytes).await.expect("written");
            // In good order: nothing of it is lost on the way.
            stream.shutdown().await.expect("the end of the request");
            let mut answer = Vec::new();
            // Refused, or dropped without a word.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "it was not whole");
        })
        .await;
    }

    /// Sends a request.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut bytes = self.head(method, target, headers);
        let length = body.len();
        write!(
            bytes,
            "Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        .expect("memory");
        bytes.extend_from_slice(body);
        self.raw(&bytes).await
    }

    /// Sends a request whose body comes in chunks.
    pub(crate) async fn send_chunked(
        &self,
        method: &str,
        target: &str,
        chunks: &[&[u8]],
    ) -> Answer {
        let mut bytes = self.head(
            method,
            target,
            &[("Content-Type", "application/octet-stream")],
        );
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        for chunk in chunks {
            write!(bytes, "{:x}\r\n", chunk.len()).expect("memory");
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        self.raw(&bytes).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"").await
    }

    pub(crate) async fn delete(&self, target: &str) -> Answer {
        self.send("DELETE", target, &[], b"").await
    }

    pub(crate) async fn post(&self, target: &str, form: &str) -> Answer {
        self.send("POST", target, &[("Content-Type", FORM)], form.as_bytes())
            .await
    }

    pub(crate) async fn put(&self, target: &str, form: &str) -> Answer {
        self.send("PUT", target, &[("Content-Type", FORM)], form.as_bytes())
            .await
    }

    pub(crate) async fn upload(&self, target: &str, body: &[u8]) -> Answer {
        self.send(
            "POST",
            target,
            &[("Content-Type", "application/octet-stream")],
            body,
        )
        .await
    }

    /// Asks for an upgrade and gets it.
    pub(crate) async fn upgrade(
        &self,
        target: &str,
        headers: &[(&str, &str)],
    ) -> (TcpStream, Call) {
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        let mut head = self.head("GET", target, headers);
        write!(
            head,
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
             Origin: http://{}\r\n\r\n",
            self.address
        )
        .expect("memory");
        within("a handshake", async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            stream.write_all(&head).await.expect("written");
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                received.push(stream.read_u8().await.expect("a head"));
            }
            let answer = parse(&received);
            assert_eq!(answer.status, 101, "{answer:?}");
            assert_eq!(
                answer.header("sec-websocket-accept"),
                Some(accept_key(KEY).as_str())
            );
            assert_eq!(answer.header("sec-websocket-protocol"), None);
            assert_eq!(answer.header("sec-websocket-extensions"), None);
            (stream, Call::of(&answer))
        })
        .await
    }

    /// Opens a socket.
    pub(crate) async fn socket(&self, target: &str, headers: &[(&str, &str)]) -> Connected {
        let (stream, call) = self.upgrade(target, headers).await;
        Connected::new(stream, call)
    }

    /// Everything a socket sends.
    pub(crate) async fn stream(&self, target: &str, headers: &[(&str, &str)]) -> Stream {
        self.socket(target, headers).await.rest().await
    }
}
