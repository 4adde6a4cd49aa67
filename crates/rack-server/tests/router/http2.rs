//! HTTP/2 to apps, and gRPC all the way.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use futures::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rack_server::router::{Router, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::tls::encrypted_with;
use crate::world::{DEADLINE, HOST, Process, World, get, key, named, read, send, soon};

/// Speaks HTTP/2 over a connection without agreeing on it first.
async fn http2<S>(stream: S) -> SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("a connection");
    tokio::spawn(connection);
    sender
}

fn ask(scheme: &str, path: &str) -> Request<Body> {
    Request::get(format!("{scheme}://{HOST}{path}"))
        .body(Body::empty())
        .expect("a request")
}

#[tokio::test]
async fn apps_are_reached_over_http2_and_processes_see_http1() {
    let world = World::new().await;
    let show = |request: Request<Body>| async move {
        format!(
            "{:?} {} {}",
            request.version(),
            request.headers()["host"].to_str().expect("text"),
            request.headers()["x-forwarded-proto"]
                .to_str()
                .expect("text"),
        )
    };
    let web = world.fleet.start("web", axum::Router::new().fallback(show));
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let plain = http2(world.connect().await).await;
    let encrypted = encrypted_with(&world, HOST, &[b"h2", b"http/1.1"])
        .await
        .expect("trusted");
    assert_eq!(
        encrypted.get_ref().1.alpn_protocol(),
        Some(b"h2".as_slice())
    );
    let encrypted = http2(encrypted).await;
    for (mut client, scheme) in [(plain, "http"), (encrypted, "https")] {
        let several = (0..50).map(|_| client.send_request(ask(scheme, "/")));
        for answer in soon(futures::future::join_all(several)).await {
            let answer = answer.expect("an answer");
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_eq!(
                read(answer).await,
                (200, format!("HTTP/1.1 {HOST} {scheme}"))
            );
        }
    }
    // Whoever does not ask for it does not get it, and the API does not offer it.
    let old = encrypted_with(&world, HOST, &[b"http/1.1"])
        .await
        .expect("trusted");
    assert_eq!(
        old.get_ref().1.alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
    let api = encrypted_with(&world, "localhost", &[b"h2", b"http/1.1"])
        .await
        .expect("trusted");
    assert_eq!(
        api.get_ref().1.alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
    let mut plain = http2(world.connect().await).await;
    let api = Request::get("http://localhost/apps")
        .body(Body::empty())
        .expect("a request");
    let answer = soon(plain.send_request(api)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    // A first word that comes letter by letter is read to its end.
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let mut stream = world.connect().await;
    stream.set_nodelay(true).expect("a setting");
    let slow = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut word = [0; 24];
        near.read_exact(&mut word).await.expect("a first word");
        for letter in word {
            stream.write_all(&[letter]).await.expect("written");
            tokio::task::yield_now().await;
        }
        let _ = tokio::io::copy_bidirectional(&mut near, &mut stream).await;
    });
    let mut client = http2(far).await;
    let answer = soon(client.send_request(ask("http", "/"))).await;
    assert_eq!(answer.expect("an answer").status(), 200);
    slow.abort();
}

/// A message as gRPC frames it.
fn message(text: &str) -> Bytes {
    let mut frame = vec![0];
    frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

/// A gRPC process: echoes every message as it comes; `/fails` says so in its trailers; its
/// health is what it is told.
fn grpc(world: &World, name: &str, health: &'static [u8]) -> Process {
    world.fleet.start_raw(name, move |listener| async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service =
                service_fn(
                    move |request| async move { Ok::<_, Infallible>(answer(request, health)) },
                );
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    })
}

fn answer(request: Request<Incoming>, health: &'static [u8]) -> Response<Body> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["te"], "trailers");
    let path = request.uri().path().to_owned();
    let ended = move |status: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        Frame::trailers(trailers)
    };
    let authority = request.uri().authority().expect("a host").to_string();
    let hosts = request.headers().get_all("host").iter().count();
    let (sender, frames) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if path.starts_with("/grpc.health") {
                continue;
            }
            if let Ok(data) = frame.into_data()
                && sender.send(Frame::data(data)).await.is_err()
            {
                return;
            }
        }
        let status = match path.as_str() {
            "/echo.Echo/Fails" => "9",
            "/grpc.health.v1.Health/Check" if health.is_empty() => "12",
            "/grpc.health.v1.Health/Check" => {
                let message = Bytes::from_static(health);
                let _ = sender.send(Frame::data(message)).await;
                "0"
            }
            _ => "0",
        };
        let _ = sender.send(ended(status)).await;
    });
    let frames = futures::stream::unfold(frames, |mut frames| async {
        frames
            .recv()
            .await
            .map(|frame| (Ok::<_, Infallible>(frame), frames))
    });
    Response::builder()
        .header("content-type", "application/grpc")
        .header("x-authority", authority)
        .header("x-hosts", hosts)
        .body(Body::new(StreamBody::new(frames)))
        .expect("a response")
}

fn call(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://{HOST}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

#[tokio::test]
async fn grpc_calls_and_streams_pass_with_their_trailers() {
    let world = World::new().await;
    let process = grpc(&world, "grpc", &[]);
    let target = process.target_with(Scheme::Grpc);
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let mut client = http2(world.connect().await).await;
    for (path, status) in [("/echo.Echo/Say", "0"), ("/echo.Echo/Fails", "9")] {
        let request = call(path, Body::from(message("hello")));
        let answer = soon(client.send_request(request)).await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert_eq!(answer.headers()["x-authority"], HOST);
        assert_eq!(answer.headers()["x-hosts"], "0");
        let whole = soon(answer.into_body().collect()).await.expect("whole");
        assert_eq!(
            whole.trailers().expect("trailers")["grpc-status"],
            status,
            "{path}"
        );
        assert_eq!(whole.to_bytes(), message("hello"));
    }
    // Both ways at once: each message is answered before the next one is said.
    let (say, said) = mpsc::channel::<Bytes>(1);
    let said = futures::stream::unfold(said, |mut said| async {
        said.recv()
            .await
            .map(|data| (Ok::<_, Infallible>(Frame::data(data)), said))
    });
    let request = call("/echo.Echo/Chat", Body::new(StreamBody::new(said)));
    let answer = soon(client.send_request(request)).await.expect("an answer");
    let mut body = answer.into_body();
    for number in 0..5 {
        let words = message(&format!("message {number}"));
        say.send(words.clone()).await.expect("wanted");
        let mut heard = Vec::new();
        while heard.len() < words.len() {
            let frame = soon(body.frame()).await.expect("more").expect("unbroken");
            heard.extend_from_slice(&frame.into_data().expect("data"));
        }
        assert_eq!(heard, words);
        assert_eq!(target.in_flight(), 1);
    }
    drop(say);
    let last = soon(body.frame()).await.expect("more").expect("unbroken");
    let trailers = last.into_trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    drop(body);
    soon(target.drained()).await;
}

#[tokio::test]
async fn many_streams_are_spread_over_connections() {
    let world = World::new().await;
    let process = grpc(&world, "grpc", &[]);
    let target = process.target_with(Scheme::Grpc);
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let (end, _) = tokio::sync::watch::channel(());
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = http2(world.connect().await).await;
        for _ in 0..70 {
            let mut end = end.subscribe();
            // Says nothing, until all of them end.
            let silence = futures::stream::once(async move { drop(end.changed().await) })
                .filter_map(|()| async { None::<Result<Frame<Bytes>, Infallible>> });
            let waits = Body::new(StreamBody::new(silence));
            let answer = soon(client.send_request(call("/echo.Echo/Chat", waits))).await;
            open.push((answer.expect("an answer"), client.clone()));
        }
    }
    assert_eq!(target.in_flight(), 210);
    let mut client = http2(world.connect().await).await;
    let request = call("/echo.Echo/Say", Body::from(message("hello")));
    let answer = soon(client.send_request(request)).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    drop((open, answer, end));
    soon(target.drained()).await;
}

#[tokio::test]
async fn health_is_asked_in_the_words_of_grpc() {
    let world = World::new().await;
    for (health, expected) in [
        (&[0, 0, 0, 0, 2, 8, 1][..], None),
        (
            &[0, 0, 0, 0, 2, 8, 2],
            Some("it says that it is not serving"),
        ),
        (&[], Some("it has no health service")),
    ] {
        let process = grpc(&world, "grpc", health);
        let target = process.target_with(Scheme::Grpc);
        let outcome = Router::probe_grpc(&target, DEADLINE).await;
        match expected {
            None => outcome.expect("healthy"),
            Some(reason) => {
                let said = outcome.expect_err("ill").to_string();
                assert!(said.starts_with(reason), "{said}");
            }
        }
        // That it listens can be seen without asking.
        Router::probe_connect(&target, DEADLINE)
            .await
            .expect("accepts");
    }
    let web = world.fleet.start("web", named("web"));
    Router::probe_grpc(&web.target_with(Scheme::Grpc), DEADLINE)
        .await
        .expect_err("speaks HTTP/1");
    Router::probe_grpc(&world.fleet.dead("dead"), DEADLINE)
        .await
        .expect_err("refuses");
}

#[tokio::test]
async fn a_flood_of_requests_that_are_given_up_ends() {
    let world = World::new().await;
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let app = axum::Router::new().fallback(move |uri: http::Uri| {
        let count = Arc::clone(&count);
        async move {
            if uri.path() == "/quick" {
                return "quick";
            }
            count.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    });
    let web = world.fleet.start("web", app);
    let target = web.target();
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let mut client = http2(world.connect().await).await;
    let mut sent = 0;
    let cut = soon(async {
        while client.ready().await.is_ok() && sent < 100_000 {
            let mut batch: Vec<_> = (0..50)
                .map(|_| Box::pin(client.send_request(ask("http", "/wait"))))
                .collect();
            for request in &mut batch {
                let begun = request.now_or_never();
                assert!(begun.is_none_or(|end| end.is_err()), "nothing is answered");
            }
            // Sent, and then given up.
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            sent += batch.len();
        }
        client.is_closed()
    })
    .await;
    assert!(cut, "after {sent} requests the connection is still there");
    assert!(
        begun.load(Ordering::SeqCst) <= 2000,
        "{begun:?} of {sent} have reached the process"
    );
    soon(target.drained()).await;
    assert_eq!(
        read(send(&mut world.client().await, get(HOST, "/quick")).await).await,
        (200, "quick".to_owned()),
        "others are served"
    );
}
