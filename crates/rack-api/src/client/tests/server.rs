//! The recording server.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ::http::{HeaderMap, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::client::{Client, Endpoint};
use crate::socket::{Role, Socket, SocketReader, SocketWriter, accept_key};

pub(super) type Reader = SocketReader<TokioIo<Upgraded>>;
pub(super) type Writer = SocketWriter<TokioIo<Upgraded>>;
type Script = Arc<dyn Fn(Reader, Writer) -> BoxFuture<'static, ()> + Send + Sync>;

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    /// Method and target.
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Recorded {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(std::str::from_utf8(value.as_bytes()).expect("utf-8"))
    }
}

/// What is answered.
#[derive(Clone)]
enum Answer {
    Fixed(u16, &'static [(&'static str, &'static str)], Bytes),
    Socket(Script),
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

impl Server {
    /// Gives the same answer to everything.
    pub(super) async fn answering(status: u16, body: impl Into<Bytes>) -> Self {
        Self::start(Answer::Fixed(status, &[], body.into())).await
    }

    /// The same, with headers.
    pub(super) async fn with_headers(
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
    ) -> Self {
        Self::start(Answer::Fixed(200, headers, body.into())).await
    }

    /// Upgrades every request and plays a script on the socket.
    pub(super) async fn socket<F>(
        script: impl Fn(Reader, Writer) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script =
            move |reader, writer| -> BoxFuture<'static, ()> { Box::pin(script(reader, writer)) };
        Self::start(Answer::Socket(Arc::new(script))).await
    }

    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&recorded);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (answer, record) = (answer.clone(), Arc::clone(&record));
                let service = service_fn(move |request| {
                    let (answer, record) = (answer.clone(), Arc::clone(&record));
                    async move { Ok::<_, Infallible>(respond(request, answer, &record).await) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), service)
                    .with_upgrades();
                tokio::spawn(serving);
            }
        });
        Self { address, recorded }
    }

    pub(super) fn client(&self) -> Client {
        let url = format!("http://convox:s%2Fcret@{}", self.address);
        let endpoint = Endpoint::parse(&url).expect("a url");
        Client::new(endpoint.with_rack(Some("personal/staging".into())))
    }

    /// The requests so far.
    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.recorded
            .lock()
            .expect("no test panics with it")
            .clone()
    }

    pub(super) fn last(&self) -> Recorded {
        self.recorded().pop().expect("a request")
    }
}

async fn respond(
    mut request: hyper::Request<Incoming>,
    answer: Answer,
    record: &Mutex<Vec<Recorded>>,
) -> Response<Full<Bytes>> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let line = format!("{} {}", head.method, head.uri);
    // A client may break its upload off; what came until then is not recorded.
    let Ok(body) = body.collect().await else {
        return Response::new(Full::default());
    };
    let body = body.to_bytes().to_vec();
    let headers = head.headers;
    let key = headers
        .get("sec-websocket-key")
        .and_then(|key| key.to_str().ok())
        .map(accept_key);
    record
        .lock()
        .expect("no test panics with it")
        .push(Recorded {
            line,
            headers,
            body,
        });
    match answer {
        Answer::Fixed(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Full::new(body)).expect("a response")
        }
        Answer::Socket(script) => {
            tokio::spawn(async move {
                let upgraded = TokioIo::new(upgrade.await.expect("upgraded"));
                let (reader, writer) = Socket::new(upgraded, Role::Server).split();
                script(reader, writer).await;
            });
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", key.unwrap_or_default())
                .body(Full::default())
                .expect("a response")
        }
    }
}
