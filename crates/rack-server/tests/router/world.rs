//! What the tests play with: processes, an engine that dials them, a server and clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rack_server::engine::{
    BuildSpec, Connection, Credentials, Engine, EngineError, EngineInfo, Exec, ExecSpec, Image,
    Labels, LogChunk, LogPlace, LogSink, PathKind, ProcessEvent, ProcessSpec, ProcessState, Reader,
    Result, Usage,
};
use rack_server::listener;
use rack_server::router::{Key, Router, Scheme, Target};
use rack_server::tls::{Authority, Tls};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Host of the service most tests use.
pub(crate) const HOST: &str = "web.myapp.staging.localhost";

/// Its key.
pub(crate) fn key() -> Key {
    Key::new("staging", "myapp", "web")
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

/// An engine that knows how to dial, and nothing else.
#[derive(Default)]
pub(crate) struct Fleet {
    addresses: Mutex<HashMap<String, SocketAddr>>,
}

/// A running process. Killed when dropped: its connections break at once.
pub(crate) struct Process {
    fleet: Arc<Fleet>,
    id: String,
    runtime: Option<Runtime>,
}

impl Fleet {
    /// Starts a process that serves HTTP.
    pub(crate) fn start(self: &Arc<Self>, id: &str, app: axum::Router) -> Process {
        self.start_raw(id, |listener| async move {
            axum::serve(listener, app).await.expect("serves");
        })
    }

    /// Starts a process that does what it likes with its port.
    pub(crate) fn start_raw<F, S>(self: &Arc<Self>, id: &str, serve: F) -> Process
    where
        F: FnOnce(TcpListener) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("bound");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let guard = runtime.enter();
        let listener = TcpListener::from_std(listener).expect("registered");
        runtime.spawn(serve(listener));
        drop(guard);
        self.addresses
            .lock()
            .expect("unpoisoned")
            .insert(id.to_owned(), address);
        Process {
            fleet: Arc::clone(self),
            id: id.to_owned(),
            runtime: Some(runtime),
        }
    }

    /// A process that accepts no connection.
    pub(crate) fn dead(self: &Arc<Self>, id: &str) -> Arc<Target> {
        Target::new(Arc::clone(self) as Arc<dyn Engine>, id, 80, Scheme::Http)
    }
}

impl Process {
    /// The process as a target.
    pub(crate) fn target(&self) -> Arc<Target> {
        self.target_with(Scheme::Http)
    }

    /// The process as a target that speaks something else.
    pub(crate) fn target_with(&self, scheme: Scheme) -> Arc<Target> {
        Target::new(
            Arc::clone(&self.fleet) as Arc<dyn Engine>,
            self.id.clone(),
            80,
            scheme,
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.fleet
            .addresses
            .lock()
            .expect("unpoisoned")
            .remove(&self.id);
        self.runtime
            .take()
            .expect("not dropped yet")
            .shutdown_background();
    }
}

/// A server with a fleet behind it.
pub(crate) struct World {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) router: Arc<Router>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) data: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_api(
            axum::Router::new()
                .fallback(|request: Request<Body>| async move { format!("api {}", request.uri()) }),
        )
        .await
    }

    pub(crate) async fn with_api(api: axum::Router) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let router = Arc::new(Router::new());
        let tls = Arc::new(tls(data.path(), &router));
        let listener = listener::bind("127.0.0.1:0".parse().expect("an address"), false)
            .await
            .expect("bound");
        let address = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener::serve(
            listener,
            Arc::clone(&tls),
            Arc::clone(&router),
            api,
            shutdown.clone(),
        ));
        Self {
            fleet: Arc::default(),
            router,
            tls,
            address,
            shutdown,
            serving,
            data,
        }
    }

    /// A new connection to the server.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the server accepts")
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> SendRequest<Body> {
        http(self.connect().await).await
    }

    /// One GET on a new connection: status and text.
    pub(crate) async fn get(&self, host: &str, path: &str) -> (u16, String) {
        read(send(&mut self.client().await, get(host, path)).await).await
    }
}

/// TLS that knows the router's domains.
pub(crate) fn tls(directory: &Path, router: &Arc<Router>) -> Tls {
    Tls::new(Authority::new(directory), Arc::clone(router))
}

/// Speaks HTTP over a connection.
pub(crate) async fn http<S>(stream: S) -> SendRequest<Body>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) fn get(host: &str, path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", host)
        .body(Body::empty())
        .expect("a request")
}

pub(crate) async fn send(
    client: &mut SendRequest<Body>,
    request: Request<Body>,
) -> Response<Incoming> {
    soon(client.send_request(request)).await.expect("an answer")
}

/// Status and text of a response.
pub(crate) async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = soon(response.into_body().collect())
        .await
        .expect("a whole body")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

/// A process that answers with its name.
pub(crate) fn named(name: &'static str) -> axum::Router {
    axum::Router::new().fallback(move || async move { name })
}

fn absent<T>() -> Result<T> {
    Err(EngineError::Failed("this engine only dials".to_owned()))
}

#[async_trait]
impl Engine for Fleet {
    fn of_rack(self: Arc<Self>) -> Arc<dyn Engine> {
        self
    }

    fn kind(&self) -> &'static str {
        "fleet"
    }
    async fn dial(&self, id: &str, _: u16) -> Result<Connection> {
        let address = self.addresses.lock().expect("unpoisoned").get(id).copied();
        let address = address.ok_or_else(|| EngineError::NotFound {
            kind: "process",
            name: id.to_owned(),
        })?;
        Ok(Box::pin(TcpStream::connect(address).await?) as Pin<Box<_>>)
    }
    async fn info(&self) -> Result<EngineInfo> {
        absent()
    }
    async fn ensure_network(&self, _: &str, _: &Labels) -> Result<()> {
        absent()
    }
    async fn ensure_volume(&self, _: &str, _: &Labels) -> Result<()> {
        absent()
    }
    async fn remove_volume(&self, _: &str) -> Result<()> {
        absent()
    }
    async fn remove_labelled(&self, _: &Labels) -> Result<()> {
        absent()
    }
    async fn build(&self, _: BuildSpec, _: LogSink, _: CancellationToken) -> Result<Image> {
        absent()
    }
    async fn image(&self, _: &str) -> Result<Option<Image>> {
        absent()
    }
    async fn pull(&self, _: &str, _: Option<&Credentials>) -> Result<Image> {
        absent()
    }
    async fn login(&self, _: &str, _: &Credentials) -> Result<bool> {
        absent()
    }
    async fn tag(&self, _: &str, _: &str) -> Result<()> {
        absent()
    }
    async fn untag(&self, _: &str) -> Result<()> {
        absent()
    }
    async fn save(&self, _: &[String]) -> Result<Reader> {
        absent()
    }
    async fn load(&self, _: Reader) -> Result<()> {
        absent()
    }
    async fn create(&self, _: &ProcessSpec) -> Result<String> {
        absent()
    }
    async fn start(&self, _: &str) -> Result<()> {
        absent()
    }
    async fn stop(&self, _: &str, _: Duration) -> Result<()> {
        absent()
    }
    async fn remove(&self, _: &str) -> Result<()> {
        absent()
    }
    async fn process(&self, _: &str) -> Result<Option<ProcessState>> {
        absent()
    }
    async fn processes(&self, _: &Labels) -> Result<Vec<ProcessState>> {
        absent()
    }
    async fn usage(&self, _: &str) -> Result<Option<Usage>> {
        absent()
    }
    async fn wait(&self, _: &str) -> Result<i64> {
        absent()
    }
    async fn exec(&self, _: &str, _: ExecSpec) -> Result<Exec> {
        absent()
    }
    async fn logs(
        &self,
        _: &str,
        _: Option<LogPlace>,
        _: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        absent()
    }
    async fn events(&self, _: &Labels) -> Result<BoxStream<'static, Result<ProcessEvent>>> {
        absent()
    }
    async fn read_files(&self, _: &str, _: &str) -> Result<Reader> {
        absent()
    }
    async fn write_files(&self, _: &str, _: &str, _: Reader) -> Result<()> {
        absent()
    }
    async fn path_kind(&self, _: &str, _: &str) -> Result<Option<PathKind>> {
        absent()
    }
    async fn remove_files(&self, _: &str, _: &[String]) -> Result<()> {
        absent()
    }
}
