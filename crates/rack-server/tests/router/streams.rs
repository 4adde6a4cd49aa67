//! Bodies and upgraded connections: nothing is held back, everything is counted.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::routing::{get as on_get, post};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::world::{HOST, World, get, key, read, send, soon};

fn streaming(chunks: mpsc::Receiver<Bytes>) -> Body {
    let chunks = futures::stream::unfold(chunks, |mut chunks| async {
        chunks.recv().await.map(|chunk| (chunk, chunks))
    });
    Body::from_stream(chunks.map(Ok::<_, std::io::Error>))
}

#[tokio::test]
async fn events_arrive_as_they_are_sent_and_draining_waits_for_the_last() {
    let world = World::new().await;
    let more = Arc::new(Notify::new());
    let gate = Arc::clone(&more);
    let app = axum::Router::new().fallback(move || async move {
        let (sender, chunks) = mpsc::channel(1);
        tokio::spawn(async move {
            for number in 0..3 {
                sender
                    .send(format!("data: {number}\n\n").into())
                    .await
                    .expect("someone reads");
                gate.notified().await;
            }
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(streaming(chunks))
            .expect("a response")
    });
    let web = world.fleet.start("web", app);
    let target = web.target();
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let response = send(&mut world.client().await, get(HOST, "/")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let waiting = world.router.withdraw(&key()).pop().expect("one target");
    let mut drained = AbortOnDropHandle::new(tokio::spawn(async move { waiting.drained().await }));
    for number in 0..3 {
        // The next event is sent only after this one has arrived here.
        let frame = soon(body.frame())
            .await
            .expect("a frame")
            .expect("unbroken");
        assert_eq!(
            frame.into_data().expect("data"),
            format!("data: {number}\n\n")
        );
        assert_eq!(target.in_flight(), 1);
        assert!(!drained.is_finished());
        more.notify_one();
    }
    assert!(soon(body.frame()).await.is_none());
    soon(&mut drained).await.expect("drained");
    assert_eq!(target.in_flight(), 0);
}

#[tokio::test]
async fn uploads_flow_while_they_are_made() {
    let world = World::new().await;
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let app = axum::Router::new().route(
        "/",
        post(move |body: Body| async move {
            let mut chunks = body.into_data_stream();
            let mut total = 0;
            while let Some(chunk) = chunks.next().await {
                total += chunk.expect("unbroken").len();
                heard.send(total).expect("the test listens");
            }
            total.to_string()
        }),
    );
    let web = world.fleet.start("web", app);
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let (sender, chunks) = mpsc::channel(1);
    let request = Request::post("/")
        .header("host", HOST)
        .body(streaming(chunks))
        .expect("a request");
    let mut client = world.client().await;
    let answer = tokio::spawn(async move { read(send(&mut client, request).await).await });
    for number in 1..=5 {
        sender
            .send(vec![b'x'; 10_000].into())
            .await
            .expect("wanted");
        while soon(hearing.recv()).await.expect("the process reads") < number * 10_000 {}
    }
    drop(sender);
    assert_eq!(answer.await.expect("answered"), (200, "50000".to_owned()));
}

#[tokio::test]
async fn a_client_that_goes_away_is_in_flight_no_more() {
    let world = World::new().await;
    let app = axum::Router::new().fallback(std::future::pending::<&str>);
    let web = world.fleet.start("web", app);
    let target = web.target();
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let mut stream = world.connect().await;
    stream
        .write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes())
        .await
        .expect("written");
    soon(async {
        while target.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(stream);
    soon(target.drained()).await;
}

#[tokio::test]
async fn continue_is_said_when_the_body_is_wanted() {
    let world = World::new().await;
    let app = axum::Router::new().fallback(|headers: http::HeaderMap, body: String| async move {
        assert!(!headers.contains_key("expect"));
        body
    });
    let web = world.fleet.start("web", app);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    let mut refused = world.connect().await;
    refused.write_all(head.as_bytes()).await.expect("written");
    let mut answer = vec![0; 12];
    soon(refused.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 404", "without asking for the body");
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let mut stream = world.connect().await;
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut interim = vec![0; 25];
    soon(stream.read_exact(&mut interim))
        .await
        .expect("an answer");
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.expect("written");
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest))
        .await
        .expect("an answer");
    assert!(
        rest.starts_with("HTTP/1.1 200") && rest.ends_with("body"),
        "{rest}"
    );
}

/// Switches to a protocol that echoes bytes until it reads `q`.
fn echo() -> axum::Router {
    axum::Router::new().route(
        "/socket",
        on_get(|mut request: Request<Body>| async move {
            let accepted = request.headers()["connection"] == "upgrade"
                && request.headers()["upgrade"] == "websocket";
            if !accepted {
                return Response::builder()
                    .status(StatusCode::BAD_REQUEST)
                    .body(Body::empty())
                    .expect("a response");
            }
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("upgraded"));
                let mut byte = [0];
                while stream.read(&mut byte).await.is_ok_and(|length| length == 1) && byte != *b"q"
                {
                    stream.write_all(&byte).await.expect("written");
                }
                stream.write_all(b"bye").await.expect("written");
                stream.shutdown().await.expect("ended");
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", "token")
                .body(Body::empty())
                .expect("a response")
        }),
    )
}

#[tokio::test]
async fn websockets_pass_through_and_count_until_they_end() {
    let world = World::new().await;
    let web = world.fleet.start("web", echo());
    let target = web.target();
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut request = get(HOST, "/socket");
        request.headers_mut().insert(
            "connection",
            "keep-alive, Upgrade".parse().expect("a value"),
        );
        request
            .headers_mut()
            .insert("upgrade", "websocket".parse().expect("a value"));
        let mut response = send(&mut world.client().await, request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["sec-websocket-accept"], "token");
        assert_eq!(response.headers()["upgrade"], "websocket");
        let upgraded = soon(hyper::upgrade::on(&mut response))
            .await
            .expect("upgraded");
        sockets.push(TokioIo::new(upgraded));
    }
    for socket in &mut sockets {
        let mut echoed = [0; 5];
        socket.write_all(b"hello").await.expect("written");
        soon(socket.read_exact(&mut echoed)).await.expect("echoed");
        assert_eq!(&echoed, b"hello");
    }
    world.router.withdraw(&key());
    assert_eq!(
        target.in_flight(),
        2,
        "taken out of the table, the sockets live on"
    );
    // The process ends one …
    let mut socket = sockets.pop().expect("a socket");
    socket.write_all(b"q").await.expect("written");
    let mut rest = String::new();
    soon(socket.read_to_string(&mut rest)).await.expect("ended");
    assert_eq!(rest, "bye");
    drop(socket);
    soon(async {
        while target.in_flight() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // … and the client the other.
    drop(sockets);
    soon(target.drained()).await;
}

#[tokio::test]
async fn an_upgrade_that_the_process_refuses_is_an_ordinary_answer() {
    let world = World::new().await;
    let web = world.fleet.start("web", echo());
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let mut request = get(HOST, "/socket");
    request
        .headers_mut()
        .insert("connection", "upgrade".parse().expect("a value"));
    request
        .headers_mut()
        .insert("upgrade", "something".parse().expect("a value"));
    let response = send(&mut world.client().await, request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let web = world.fleet.start_raw("odd", |listener| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.expect("readable");
                assert!(length > 0, "a request");
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
                    .await
                    .expect("written");
                std::future::pending::<()>().await;
            });
        }
    });
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let (status, _) = world.get(HOST, "/").await;
    assert_eq!(status, 502, "switching unasked is a fault");
}
