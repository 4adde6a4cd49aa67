//! The port itself: hostile clients, many clients, and the end.

use std::sync::Arc;

use axum::routing::get as on_get;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::world::{World, get, send, soon};

#[tokio::test]
async fn shutdown_lets_requests_in_flight_finish_and_takes_no_more() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, gate) = (Arc::clone(&begun), Arc::clone(&finish));
    let api = axum::Router::new().route(
        "/slow",
        on_get(|| async move {
            signal.notify_one();
            gate.notified().await;
            "finished"
        }),
    );
    let mut world = World::with_api(api).await;
    let mut idle = world.client().await;
    send(&mut idle, get("localhost", "/"))
        .await
        .into_body()
        .collect()
        .await
        .expect("a body");
    let mut busy = world.client().await;
    let answer = tokio::spawn(async move { busy.send_request(get("localhost", "/slow")).await });
    soon(begun.notified()).await;
    world.shutdown.cancel();
    soon(async {
        while TcpStream::connect(world.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(async {
        while idle.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!world.serving.is_finished(), "a request is still in flight");
    finish.notify_one();
    let body = soon(answer)
        .await
        .expect("joined")
        .expect("answered")
        .into_body()
        .collect()
        .await
        .expect("whole");
    assert_eq!(body.to_bytes(), "finished");
    soon(&mut world.serving).await.expect("ended");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let api = axum::Router::new().fallback(std::future::pending::<&str>);
    let mut world = World::with_api(api).await;
    let mut stuck = world.client().await;
    let answer = tokio::spawn(async move { stuck.send_request(get("localhost", "/")).await });
    // A second connection that never says anything.
    let _silent = world.connect().await;
    tokio::task::yield_now().await;
    world.shutdown.cancel();
    soon(&mut world.serving).await.expect("ended");
    soon(answer).await.expect("joined").expect_err("cut off");
}

#[tokio::test]
async fn nonsense_harms_nobody_else() {
    let world = World::new().await;
    let enormous = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(300_000)
    );
    let nonsense: [&[u8]; 4] = [
        b"\x16\x03\x01\x00\x05hello",
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        enormous.as_bytes(),
    ];
    for bytes in nonsense {
        let mut stream = world.connect().await;
        // The server may hang up before it has read everything.
        let written = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = soon(stream.read_to_end(&mut answer)).await;
        let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4") || answer[0] == 0x15;
        assert!(
            refused,
            "{written:?} {read:?} {:?}",
            String::from_utf8_lossy(&answer)
        );
        assert_eq!(
            world.get("localhost", "/x").await,
            (200, "api /x".to_owned())
        );
    }
}
