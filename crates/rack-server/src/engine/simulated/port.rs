//! What answers on the ports of simulated processes: HTTP for services, an
//! open ear for resources.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Whom a port answers for.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Lines of `name: value`.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Answers 503 instead.
    pub(super) unhealthy: bool,
}

/// Answers HTTP/1.1 until the peer hangs up.
pub(super) async fn serve_http(stream: DuplexStream, identity: Identity) {
    let service = service_fn(|request| answer(request, &identity));
    // A peer that hangs up half way is its own business.
    // One that has asked and says no more still wants its answer.
    if let Err(error) = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "connection to a simulated process ended");
    }
}

async fn answer(
    request: Request<Incoming>,
    identity: &Identity,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // `?delay=MS` keeps a request in flight, for rehearsing drains.
    let delay = request
        .uri()
        .query()
        .into_iter()
        .flat_map(|query| form_urlencoded::parse(query.as_bytes()));
    for (name, value) in delay {
        if name == "delay"
            && let Ok(delay) = value.parse()
        {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }
    let mut text = String::new();
    let status = if identity.unhealthy {
        text.push_str("simulated: unhealthy\n");
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        text.push_str("simulated: ok\n");
        StatusCode::OK
    };
    for (name, value) in &identity.facts {
        text.extend([name, ": ", value, "\n"]);
    }
    text.extend([
        "request: ",
        request.method().as_str(),
        " ",
        request.uri().path(),
        "
",
    ]);
    let body = if request.method() == Method::HEAD {
        String::new()
    } else {
        text
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    Ok(response)
}

/// Accepts and listens until the peer hangs up; tells clients of PostgreSQL, Redis,
/// Memcached and RabbitMQ that nothing runs.
pub(super) async fn serve_resource(mut stream: DuplexStream, port: u16) {
    let result = match port {
        5432 => postgres(&mut stream).await,
        6379 => redis(&mut stream).await,
        11211 => memcached(&mut stream).await,
        5672 => rabbitmq(&mut stream).await,
        _ => tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .map(drop),
    };
    if let Err(error) = result {
        tracing::debug!(%error, port, "connection to a simulated resource ended");
    }
}

/// Refuses TLS, then refuses the session, in the words of the protocol.
async fn postgres(stream: &mut DuplexStream) -> std::io::Result<()> {
    const TLS_REQUEST: u32 = 80_877_103;
    const GSS_REQUEST: u32 = 80_877_104;
    loop {
        let length = stream.read_u32().await?;
        let code = stream.read_u32().await?;
        if length == 8 && matches!(code, TLS_REQUEST | GSS_REQUEST) {
            stream.write_all(b"N").await?;
            continue;
        }
        tokio::io::copy(
            &mut stream.take(u64::from(length.saturating_sub(8))),
            &mut tokio::io::sink(),
        )
        .await?;
        let fields = b"SFATAL\0VFATAL\0C57P03\0Msimulated database: nothing runs here\0\0";
        stream.write_all(b"E").await?;
        stream.write_u32(fields.len() as u32 + 4).await?;
        stream.write_all(fields).await?;
        return stream.shutdown().await;
    }
}

/// Begins the conversation of AMQP 0-9-1, and ends it at the first word.
async fn rabbitmq(stream: &mut DuplexStream) -> std::io::Result<()> {
    const START: [u8; 4] = [0, 10, 0, 10];
    const CLOSE: [u8; 4] = [0, 10, 0, 50];
    const INTERNAL_ERROR: u16 = 541;
    let method = |method: [u8; 4], arguments: &[u8]| {
        let length = (method.len() + arguments.len()) as u32;
        // A frame of a method, on the channel of the connection itself.
        let head = [&[1, 0, 0][..], &length.to_be_bytes(), &method].concat();
        [&head, arguments, &[0xCE]].concat()
    };
    let mut header = [0; 8];
    stream.read_exact(&mut header).await?;
    // Version 0-9, no properties, one mechanism, one language.
    let start = b"\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US";
    stream.write_all(&method(START, start)).await?;
    if stream.read(&mut [0; 4096]).await? == 0 {
        return Ok(());
    }
    let text = b"simulated broker: nothing runs here";
    let code = INTERNAL_ERROR.to_be_bytes();
    let close = [&code[..], &[text.len() as u8], text, &[0; 4]].concat();
    stream.write_all(&method(CLOSE, &close)).await?;
    stream.shutdown().await
}

/// Tells its version, refuses everything else.
async fn memcached(stream: &mut DuplexStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let answer: &[u8] = if buffer[..count].starts_with(b"version") {
            b"VERSION 0.0.0-simulated\r\n"
        } else {
            b"SERVER_ERROR simulated cache: nothing runs here\r\n"
        };
        stream.write_all(answer).await?;
    }
}

/// Answers `PING`, refuses everything else.
async fn redis(stream: &mut DuplexStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let ping = buffer[..count]
            .windows(4)
            .any(|word| word.eq_ignore_ascii_case(b"ping"));
        let answer: &[u8] = if ping {
            b"+PONG\r\n"
        } else {
            b"-ERR simulated database: nothing runs here\r\n"
        };
        stream.write_all(answer).await?;
    }
}
