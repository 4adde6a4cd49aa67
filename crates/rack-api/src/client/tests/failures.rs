//! What goes wrong, and how it is told apart.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::server::Server;
use crate::client::{Client, ClientError, Endpoint, Upload, Verification};

/// A server that reads a request's head, sends raw bytes and drops the connection.
async fn raw(answer: &'static [u8]) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if connection.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            if connection.write_all(answer).await.is_err() {
                return;
            }
        }
    });
    Client::new(Endpoint::parse(&format!("http://convox:hunter2@{address}")).expect("a url"))
}

#[tokio::test]
async fn the_racks_words_are_the_error() {
    for (status, body, message) in [
        (404, "app not found: foo\n", "app not found: foo"),
        (
            409,
            "{\"error\":\"app already exists: foo\"}",
            "app already exists: foo",
        ),
        (503, "", "response status 503"),
    ] {
        let server = Server::answering(status, body).await;
        let error = server
            .client()
            .app_get("foo")
            .await
            .expect_err("an error status");
        assert_eq!(error.to_string(), message);
        assert!(matches!(error, ClientError::Api { status: got, .. } if got == status));
        assert_eq!(error.is_not_found(), status == 404);
        let error = server
            .client()
            .app_logs("foo", &crate::log::Options::default())
            .await;
        assert_eq!(error.expect_err("no socket").to_string(), message);
    }
}

#[tokio::test]
async fn nobody_listening_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    for host in [
        address.to_string(),
        format!("rack.x.localhost:{}", address.port()),
    ] {
        let url = format!("http://convox:hunter2@{host}");
        let client = Client::new(Endpoint::parse(&url).expect("a url"));
        let error = client.system_get().await.expect_err("nobody there");
        assert!(error.is_refused(), "{error:?}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot reach {host}: ")),
            "{error}"
        );
        assert!(!format!("{error} {error:?} {client:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn lost_connections_are_told_apart() {
    let error = raw(b"").await.system_get().await.expect_err("no answer");
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");

    let half = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}").await;
    let error = half.system_get().await.expect_err("half an answer");
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");

    let mut download = half
        .build_export("foo", "BABC", None)
        .await
        .expect("a head");
    let end = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Err(ClientError::Lost { .. })), "{end:?}");

    let unfinished = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n").await;
    let mut download = unfinished
        .build_export("foo", "BABC", None)
        .await
        .expect("a head");
    let end = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Err(ClientError::Lost { .. })), "{end:?}");
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let server = Server::answering(200, "<html>").await;
    let error = server.client().system_get().await.expect_err("no json");
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    let error = server
        .client()
        .build_logs("foo", "BABC")
        .await
        .expect_err("no socket");
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn unreadable_uploads_are_no_network_failure() {
    let server = Server::answering(200, "{}").await;
    let pieces = [
        Ok(Bytes::from_static(b"start")),
        Err(io::Error::other("disk on fire")),
    ];
    let upload = Upload::from_stream(futures::stream::iter(pieces));
    let error = server
        .client()
        .build_import("foo", upload)
        .await
        .expect_err("cannot be read");
    assert_eq!(error.to_string(), "cannot read the upload: disk on fire");

    let short = Upload::from(Bytes::from_static(b"start")).with_length(10);
    server
        .client()
        .build_import("foo", short)
        .await
        .expect_err("fewer bytes than announced");
}

#[tokio::test]
async fn unverified_hosts_cannot_send_us_elsewhere() {
    let elsewhere = Server::answering(200, "{}").await;
    let redirects =
        raw(b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n");
    let error = redirects
        .await
        .system_get()
        .await
        .expect_err("another host");
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    assert!(elsewhere.recorded().is_empty());
}

#[tokio::test]
async fn certificates_of_this_machine_are_trusted_unless_told_otherwise() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else {
                    return;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if connection.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                connection.write_all(answer).await.expect("answered");
            });
        }
    });
    let endpoint = Endpoint::parse(&format!("https://rack.x.localhost:{port}")).expect("a url");
    Client::new(endpoint.clone())
        .system_get()
        .await
        .expect("trusted");
    let strict = Client::new(endpoint.with_verification(Verification::Always));
    let error = strict.system_get().await.expect_err("self-signed");
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot trust rack.x.localhost:{port}: ")));
    assert!(
        text.ends_with(" trusts") || text.ends_with("its certificate"),
        "{text}"
    );
}

#[tokio::test]
async fn plain_http_answered_to_tls_is_told() {
    let server = Server::answering(200, "{}").await;
    let endpoint = Endpoint::parse(&format!("https://{}", server.address)).expect("a url");
    let error = Client::new(endpoint)
        .system_get()
        .await
        .expect_err("no tls");
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with(": it does not speak TLS"),
        "{error}"
    );
}

/// A server that drops its first connections without an answer; counts them all.
async fn dying(deaths: usize) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if connection.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            if count.fetch_add(1, Ordering::SeqCst) >= deaths {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
                connection.write_all(answer).await.expect("answered");
            }
        }
    });
    let endpoint = Endpoint::parse(&format!("http://convox:hunter2@{address}")).expect("a url");
    (Client::new(endpoint), seen)
}

/// Revives as told and counts how often it was asked.
fn reviving(client: Client, well: bool) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let client = client.with_revive(Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(well))
    }));
    (client, asked)
}

#[tokio::test]
async fn a_rack_that_died_is_asked_once_more_after_it_came_back() {
    let (client, seen) = dying(1).await;
    let (client, asked) = reviving(client, true);
    assert_eq!(client.app_list().await.expect("the second answer"), []);
    assert_eq!(
        (seen.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)),
        (2, 1)
    );

    // Only once, and not at all when it did not come back.
    let (client, seen) = dying(9).await;
    let (client, asked) = reviving(client, true);
    client.app_list().await.expect_err("dead again");
    assert_eq!(
        (seen.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)),
        (2, 1)
    );
    let (client, seen) = dying(1).await;
    let (client, asked) = reviving(client, false);
    client.app_list().await.expect_err("dead");
    assert_eq!(
        (seen.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)),
        (1, 1)
    );

    // What changes something may have had its effect.
    let (client, seen) = dying(1).await;
    let (client, asked) = reviving(client, true);
    client.app_cancel("foo").await.expect_err("dead");
    assert_eq!(
        (seen.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)),
        (1, 0)
    );
}
