//! Events: recorded, and told to webhooks that really listen.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::{Client, until, within};

on_both_engines!(
    webhooks_receive_the_document_of_an_event,
    the_server_tells_what_it_does,
);

/// A request a receiver has got: its head, and the document.
type Received = (String, Value);

/// A little HTTP server that remembers what it is told.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// Statuses of the next answers; 200 afterwards.
    answers: Arc<Mutex<VecDeque<u16>>>,
}

async fn whole(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head = loop {
        bytes.push(stream.read_u8().await.ok()?);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8(std::mem::take(&mut bytes)).ok()?;
        }
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    })?;
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes).await.ok()?;
    Some((head, bytes))
}

impl Receiver {
    async fn bind(port: u16) -> (Self, TcpListener) {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("a port");
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            received: Arc::default(),
            answers: Arc::default(),
        };
        (receiver, listener)
    }

    /// Listens on a port, any for 0.
    async fn listen(port: u16) -> Self {
        let (receiver, listener) = Self::bind(port).await;
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.answer(stream).await;
            }
        });
        receiver
    }

    /// Listens with TLS.
    async fn listen_encrypted(acceptor: TlsAcceptor) -> Self {
        let (receiver, listener) = Self::bind(0).await;
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serving.answer(stream).await;
                }
            }
        });
        receiver
    }

    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some((head, body)) = whole(&mut stream).await else {
            return;
        };
        let document = serde_json::from_slice(&body).expect("a document");
        let status = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .unwrap_or(200);
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((head, document));
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        // A client that has gone away has heard enough.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn got(&self) -> Vec<Received> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until so many requests have come; returns all.
    async fn wait(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} events to come"), async || {
            self.got().len() >= count
        })
        .await;
        self.got()
    }

    /// Actions and statuses in the order they came.
    fn told(&self) -> Vec<(String, String)> {
        self.got()
            .iter()
            .map(|(_, document)| (text(document, "action"), text(document, "status")))
            .collect()
    }

    async fn hear(&self, action: &str, status: &str) -> Value {
        let wanted = (action.to_owned(), status.to_owned());
        until(&format!("{wanted:?} to come"), async || {
            self.told().contains(&wanted)
        })
        .await;
        let mut got = self.got().into_iter().map(|(_, document)| document);
        got.find(|document| document["action"] == action && document["status"] == status)
            .expect("it has come")
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

async fn hook(rack: &Client, name: &str, url: &str) -> Value {
    let parameters = form(&[("Url", url)]);
    let fields = form(&[
        ("kind", "webhook"),
        ("name", name),
        ("parameters", &parameters),
    ]);
    rack.post("/resources", &fields).await.json()
}

/// Waits until the rack's log says something; returns the log.
async fn logged(rack: &Client, wanted: &str) -> String {
    let mut log = String::new();
    until(&format!("the log to say {wanted:?}"), async || {
        let options = [("Follow", "false"), ("Since", "1h0m0s")];
        log = rack.stream("/system/logs", &options).await.text();
        log.contains(wanted)
    })
    .await;
    log
}

async fn webhooks_receive_the_document_of_an_event(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let production = world.rack("production").await;
    let receiver = Receiver::listen(0).await;
    let stranger = Receiver::listen(0).await;
    // Told only of what happens after it was made.
    rack.post("/events", "action=before").await.ok();
    let url = format!("http://user:s3cret@{}/hook?token=t0ken", receiver.address);
    let made = hook(&rack, "hook", &url).await;
    assert_eq!(
        made,
        json!({
            "name": "hook", "parameters": { "Url": url }, "status": "running", "type": "webhook", "url": url,
        })
    );
    hook(&production, "hook", &format!("http://{}", stranger.address)).await;

    let data = form(&[("app", "myapp"), ("id", "a&b=c")]);
    rack.post(
        "/events",
        &form(&[("action", "custom:thing"), ("data", &data)]),
    )
    .await
    .ok();
    let data = form(&[("timestamp", "2020-01-02T03:04:05Z")]);
    let fields = form(&[
        ("action", "failed"),
        ("data", &data),
        ("error", "boom 100%"),
        ("status", "x"),
    ]);
    rack.post("/events", &fields).await.ok();
    rack.post("/events", "action=begun&status=start").await.ok();
    rack.post("/events", "data=a%3D1")
        .await
        .fails(400, "action is required");

    let got = receiver.wait(4).await;
    let (head, first) = &got[0];
    assert!(
        head.starts_with("POST /hook?token=t0ken HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "content-type: application/json".to_owned(),
        format!("host: {}", receiver.address),
        "authorization: Basic dXNlcjpzM2NyZXQ=".to_owned(),
    ] {
        assert!(
            head.lines().any(|own| own.eq_ignore_ascii_case(&line)),
            "{line}: {head}"
        );
    }
    assert_eq!(
        (&first["action"], &first["data"]),
        (
            &json!("resource:create"),
            &json!({ "name": "hook", "type": "webhook", "rack": "staging" })
        )
    );
    let mut second = got[1].1.clone();
    let time = text(&second, "timestamp");
    assert!(time.ends_with('Z'), "{time}");
    let age = jiff::Timestamp::now().duration_since(time.parse().expect("a time"));
    assert!((0..600).contains(&age.as_secs()), "{time}");
    second["timestamp"] = Value::Null;
    assert_eq!(
        second,
        json!({
            "action": "custom:thing",
            "data": { "app": "myapp", "id": "a&b=c", "rack": "staging" },
            "status": "success",
            "timestamp": null,
        })
    );
    assert_eq!(
        got[2].1,
        json!({
            "action": "failed",
            "data": { "message": "boom 100%", "rack": "staging", "timestamp": "2020-01-02T03:04:05Z" },
            "status": "error",
            "timestamp": "2020-01-02T03:04:05Z",
        })
    );
    assert_eq!(
        (&got[3].1["action"], &got[3].1["status"]),
        (&json!("begun"), &json!("start"))
    );
    // The other rack has heard of itself only.
    let theirs = stranger.wait(1).await;
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].1["data"]["rack"], "production");
    let listed = rack.get("/resources").await.text();
    assert!(
        !listed.contains("s3cret") && !listed.contains("t0ken"),
        "{listed}"
    );

    // One that is gone hears nothing; one with another address hears there.
    let elsewhere = Receiver::listen(0).await;
    let parameters = form(&[("Url", &format!("http://{}/new", elsewhere.address))]);
    let updated = rack
        .put("/resources/hook", &form(&[("parameters", &parameters)]))
        .await
        .json();
    assert_eq!(updated["url"], format!("http://{}/new", elsewhere.address));
    rack.post("/events", "action=moved").await.ok();
    elsewhere.hear("moved", "success").await;
    rack.delete("/resources/hook").await.ok();
    let other = Receiver::listen(0).await;
    hook(&rack, "other", &format!("http://{}", other.address)).await;
    rack.post("/events", "action=later").await.ok();
    other.hear("later", "success").await;
    assert_eq!(receiver.got().len(), 4);
    assert!(elsewhere.told().iter().all(|(action, _)| action != "later"));
}

async fn the_server_tells_what_it_does(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let receiver = Receiver::listen(0).await;
    hook(&rack, "hook", &format!("http://{}", receiver.address)).await;
    rack.create("myapp").await;
    let release = rack.release("myapp", PLAIN).await;
    // The end of a build is told when its client has its answer already.
    let build = receiver.hear("build:create", "success").await["data"]["id"].clone();
    rack.promote("myapp", &release).await;
    let env = rack.set_env("myapp", "A=1").await;
    let broken = [PLAIN[0], ("Dockerfile", "FROM busybox:1.36\nRUN exit 3\n")];
    let (failed, _) = rack.build("myapp", &broken).await;
    assert_eq!(failed["status"], "failed");
    rack.delete("/apps/myapp").await.ok();
    let deleted = receiver.hear("app:delete", "success").await;
    assert_eq!(
        deleted["data"],
        json!({ "name": "myapp", "rack": "staging" })
    );
    let told = receiver.told();
    let place = |action: &str, status: &str| {
        told.iter()
            .position(|(a, s)| a == action && s == status)
            .unwrap_or_else(|| panic!("{action} {status} in {told:?}"))
    };
    let order = [
        place("app:create", "success"),
        place("release:create", "success"),
        place("build:create", "success"),
        place("release:promote", "start"),
        place("release:promote", "success"),
        place("build:create", "error"),
        place("app:delete", "success"),
    ];
    assert!(order.is_sorted(), "{told:?}");
    let document =
        |action: &str, status: &str| receiver.got()[place(action, status)].1["data"].clone();
    assert_eq!(
        document("app:create", "success"),
        json!({ "name": "myapp", "rack": "staging" })
    );
    assert_eq!(
        document("build:create", "success"),
        json!({ "app": "myapp", "id": build, "release_id": release, "rack": "staging" })
    );
    let of_release = json!({ "app": "myapp", "id": release, "rack": "staging" });
    assert_eq!(document("release:create", "success"), of_release);
    assert_eq!(document("release:promote", "start"), of_release);
    assert_eq!(document("release:promote", "success"), of_release);
    assert_eq!(
        document("build:create", "error"),
        json!({ "app": "myapp", "id": failed["id"], "message": failed["reason"], "rack": "staging" })
    );
    let releases = receiver.got().into_iter().map(|(_, document)| document);
    let ids: Vec<_> = releases
        .filter(|document| document["action"] == "release:create")
        .map(|document| document["data"]["id"].clone())
        .collect();
    assert_eq!(ids, [json!(release), env["id"].clone()]);
}

#[tokio::test]
async fn a_promote_that_fails_is_told() {
    let (_world, rack) = Engine::simulated().with_rack().await;
    let receiver = Receiver::listen(0).await;
    hook(&rack, "hook", &format!("http://{}", receiver.address)).await;
    rack.create("myapp").await;
    let sick = [PLAIN[0], PLAIN[1], (".twinrack-faults", "never-healthy\n")];
    let release = rack.release("myapp", &sick).await;
    rack.promote("myapp", &release).await;
    let told = receiver.hear("release:promote", "error").await;
    assert_eq!(told["data"]["id"], json!(release));
    let message = text(&told["data"], "message");
    assert!(message.contains("did not become healthy"), "{message}");
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_holds_nothing_up() {
    let (_world, rack) = Engine::simulated().with_rack().await;
    let (patient, healthy) = (Receiver::listen(0).await, Receiver::listen(0).await);
    // Nobody listens there yet.
    let (late, listener) = Receiver::bind(0).await;
    drop(listener);
    *patient.answers.lock().expect("not poisoned") = VecDeque::from([500, 429, 200, 410]);
    hook(
        &rack,
        "patient",
        &format!("http://user:s3cret@{}/t0ken", patient.address),
    )
    .await;
    hook(&rack, "late", &format!("http://{}/t0ken", late.address)).await;
    hook(&rack, "healthy", &format!("http://{}", healthy.address)).await;
    for action in ["one", "two"] {
        rack.post("/events", &format!("action={action}")).await.ok();
    }
    // The others do not keep it waiting.
    healthy.hear("two", "success").await;
    let shown = format!("http://{}", patient.address);
    logged(&rack, &format!("webhook patient: resource:create could not be delivered to {shown}: it answered 500; trying again")).await;
    let log = logged(
        &rack,
        &format!(
            "webhook late: resource:create could not be delivered to http://{}: cannot connect",
            late.address
        ),
    )
    .await;
    assert!(!log.contains("s3cret") && !log.contains("t0ken"), "{log}");
    // Tried again until it was taken; what is refused is given up at once; nothing is
    // told out of turn.
    patient.hear("two", "success").await;
    let log = logged(
        &rack,
        &format!("was not delivered to {shown}: it answered 410; given up"),
    )
    .await;
    assert!(!log.contains("s3cret") && !log.contains("t0ken"), "{log}");
    let told: Vec<_> = patient
        .told()
        .into_iter()
        .map(|(action, _)| action)
        .collect();
    assert_eq!(told[..3], ["resource:create"; 3]);
    let rest: Vec<_> = told[3..].iter().map(String::as_str).collect();
    assert_eq!(rest, ["resource:create", "resource:create", "one", "two"]);
    let late = Receiver::listen(late.address.port()).await;
    late.hear("two", "success").await;
}

#[tokio::test]
async fn a_restarted_server_tells_what_was_not_told_yet() {
    let engine = Engine::simulated();
    let (world, rack) = engine.with_rack().await;
    let (receiver, listener) = Receiver::bind(0).await;
    drop(listener);
    hook(&rack, "hook", &format!("http://{}", receiver.address)).await;
    for action in ["one", "two"] {
        rack.post("/events", &format!("action={action}")).await.ok();
    }
    let data = world.stop().await;
    let receiver = Receiver::listen(receiver.address.port()).await;
    let world = engine.open(data, "").await;
    receiver.hear("two", "success").await;
    let told: Vec<_> = receiver
        .told()
        .into_iter()
        .map(|(action, _)| action)
        .collect();
    assert_eq!(told, ["resource:create", "one", "two"]);
    let data = world.stop().await;
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    rack.post("/events", "action=three").await.ok();
    receiver.hear("three", "success").await;
    // The last one may come twice: the server may have died before it had its answer.
    let told: Vec<_> = receiver
        .told()
        .into_iter()
        .map(|(action, _)| action)
        .collect();
    for action in ["resource:create", "one", "three"] {
        let times = told.iter().filter(|other| *other == action).count();
        assert_eq!(times, 1, "{action} in {told:?}");
    }
}

/// Accepts connections as `localhost`, with a certificate of this issuer.
fn acceptor(issuer: Option<&Issuer<'_, KeyPair>>) -> TlsAcceptor {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    }
    .expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("usable");
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn encrypted_receivers_must_prove_who_they_are() {
    let (world, rack) = Engine::simulated().with_rack().await;
    // The authority is made when it is needed first.
    rack.post("/certificates/generate", "domains=localhost")
        .await
        .json();
    let read = |name: &str| std::fs::read_to_string(world.data.path().join(name)).expect("a file");
    let key = KeyPair::from_pem(&read("ca-key.pem")).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).expect("an authority");
    let trusted = Receiver::listen_encrypted(acceptor(Some(&issuer))).await;
    let doubtful = Receiver::listen_encrypted(acceptor(None)).await;
    hook(
        &rack,
        "doubtful",
        &format!("https://localhost:{}/x", doubtful.address.port()),
    )
    .await;
    hook(
        &rack,
        "trusted",
        &format!("https://localhost:{}/x", trusted.address.port()),
    )
    .await;
    rack.post("/events", "action=secret").await.ok();
    trusted.hear("secret", "success").await;
    logged(&rack, "tls handshake failed").await;
    assert_eq!(doubtful.got().len(), 0);
    // A receiver that says nothing at all is no reason to wait.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    hook(&rack, "silent", &format!("http://{address}")).await;
    let (_held, _): (TcpStream, _) = within("a connection", silent.accept()).await.expect("one");
    rack.post("/events", "action=next").await.ok();
    trusted.hear("next", "success").await;
    within("the server to stop", world.stop()).await;
}
