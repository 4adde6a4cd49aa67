//! Encryption on the shared port, with certificates that can be checked.

use std::fs;
use std::sync::Arc;

use rack_server::router::{Origin, Router, Scheme};
use rack_server::tls::TlsError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{HOST, World, get, http, key, named, read, send, soon, tls};

/// Connects the way a browser does that trusts our authority and nobody else.
async fn encrypted(world: &World, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    encrypted_with(world, name, &[b"http/1.1"]).await
}

/// The same for one that speaks these protocols.
pub(crate) async fn encrypted_with(
    world: &World,
    name: &str,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let authority = world.tls.authority().await.expect("an authority");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority).expect("a certificate"))
        .expect("usable");
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, world.connect().await)).await
}

#[tokio::test]
async fn tls_and_plain_http_share_the_port() {
    let api = axum::Router::new().fallback(|request: http::Request<axum::body::Body>| async move {
        let origin = request
            .extensions()
            .get::<Origin>()
            .copied()
            .expect("the origin");
        format!("{} {}", origin.tls, origin.peer.ip())
    });
    let world = World::with_api(api).await;
    let files = || {
        fs::read_dir(world.data.path())
            .expect("a directory")
            .count()
    };
    assert_eq!(world.get("localhost", "/").await.1, "false 127.0.0.1");
    assert_eq!(files(), 0, "the authority is made when it is needed");
    let stream = encrypted_with(&world, "localhost", &[b"h2", b"http/1.1"])
        .await
        .expect("trusted");
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
    let (_, text) = read(send(&mut http(stream).await, get("localhost", "/")).await).await;
    assert_eq!(text, "true 127.0.0.1");
    assert_eq!(files(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name| {
            fs::metadata(world.data.path().join(name))
                .expect("there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!((mode("ca-key.pem"), mode("ca.pem")), (0o600, 0o644));
    }
}

#[tokio::test]
async fn certificates_fit_the_names_that_are_ours_and_no_others() {
    let world = World::new().await;
    let web = world.fleet.start("web", named("web"));
    world
        .router
        .publish(key(), vec!["shop.example".to_owned()], vec![web.target()])
        .expect("published");
    let mut serials = std::collections::BTreeSet::new();
    for name in [
        HOST,
        "rack.staging.localhost",
        "localhost",
        "127.0.0.1",
        "shop.example",
    ] {
        let stream = encrypted(&world, name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let chain = stream
            .get_ref()
            .1
            .peer_certificates()
            .expect("a chain")
            .to_vec();
        serials.insert(chain[0].to_vec());
    }
    assert_eq!(serials.len(), 5);
    encrypted(&world, "bank.example")
        .await
        .expect_err("not ours: the default certificate does not fit");
    let stream = encrypted(&world, "shop.example").await.expect("trusted");
    let first = stream.get_ref().1.peer_certificates().expect("a chain")[0].to_vec();
    assert!(serials.contains(&first), "minted once, then kept");
    assert_eq!(
        read(send(&mut http(stream).await, get("shop.example", "/")).await)
            .await
            .1,
        "web"
    );
}

#[tokio::test]
async fn the_authority_stays_the_same_and_a_half_made_one_is_made_anew() {
    let world = World::new().await;
    let router = Arc::new(Router::new());
    let directory = world.data.path();
    let path = tls(directory, &router).authority().await.expect("made");
    let first = fs::read(&path).expect("readable");
    tls(directory, &router).authority().await.expect("kept");
    assert_eq!(
        fs::read(&path).expect("readable"),
        first,
        "a restart keeps it"
    );
    fs::remove_file(directory.join("ca-key.pem")).expect("removed");
    tls(directory, &router)
        .authority()
        .await
        .expect("made anew");
    let second = fs::read(&path).expect("readable");
    assert_ne!(second, first);
    encrypted(&world, "localhost")
        .await
        .expect("the new one works");
    // The old certificate beside the new key would fail in every client: said here instead.
    fs::write(&path, first).expect("written");
    let error = tls(directory, &router)
        .authority()
        .await
        .expect_err("they do not belong together");
    assert!(matches!(error, TlsError::Invalid { .. }), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("remove both to have them made anew"),
        "{error}"
    );
}

#[tokio::test]
async fn processes_may_speak_tls_themselves() {
    let world = World::new().await;
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key_der = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key_der)
    .expect("usable");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let process = world.fleet.start_raw("secure", |listener| async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("a handshake");
                let service = hyper::service::service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(http::Response::new("secure".to_owned()))
                });
                let stream = hyper_util::rt::TokioIo::new(stream);
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(stream, service)
                    .await
                    .expect("served");
            });
        }
    });
    let target = process.target_with(Scheme::Https);
    let status = Router::probe(&target, "/", crate::world::DEADLINE)
        .await
        .expect("an answer");
    assert_eq!(status, http::StatusCode::OK);
    world
        .router
        .publish(key(), vec![], vec![target])
        .expect("published");
    assert_eq!(world.get(HOST, "/").await, (200, "secure".to_owned()));
}
