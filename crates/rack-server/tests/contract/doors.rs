//! Ports of this machine that lead to services: balancers, `nlb` and further ports.

use std::net::SocketAddr;
use std::sync::Arc;

use rack_api::trust::any_certificate;
use rand::RngExt as _;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::engines::{Engine, on_both_engines};
use super::flow::text;
use super::world::{Client, World, until, within};

on_both_engines!(
    ports_lead_to_services_and_stay_where_they_are,
    a_connection_is_drained_when_its_process_is_replaced,
);

const DOCKERFILE: &str = "FROM busybox:1.36
WORKDIR /app
COPY . .
RUN echo served >index.html
CMD [\"sh\", \"-c\", \"httpd -p 3001 && httpd -f -p 3000\"]
";

/// A free port that nobody is given by chance.
fn free() -> u16 {
    loop {
        let port = rand::rng().random_range(20_000..30_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn manifest(balancer: u16, listener: u16, further: &str) -> String {
    format!(
        "services:
  web:
    build: .
    port: 3000
    {further}
    nlb:
      - {{port: {listener}, containerPort: 3000, protocol: tls, certificate: \"arn:aws:acm:us-east-1:123456789012:certificate/abc\"}}
    health: {{interval: 1, timeout: 1}}
    drain: 40
    termination: {{grace: 1}}
balancers:
  mail:
    service: web
    ports:
      {balancer}: 3001
      53: {{protocol: UDP, port: 53}}
    whitelist: 192.0.2.0/24
"
    )
}

async fn deploy(rack: &Client, manifest: &str) {
    let files = [("convox.yml", manifest), ("Dockerfile", DOCKERFILE)];
    let release = rack.release("myapp", &files).await;
    let app = rack.promote("myapp", &release).await;
    assert_eq!(text(&app, "release"), release);
}

/// One request over a connection; what the process answers.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    within("an answer", async {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("written");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    })
    .await
}

/// Asks until there is an answer: a process may still be about to listen.
async fn answers(address: &str) {
    until(
        &format!("an answer at {address}"),
        async || match TcpStream::connect(address).await {
            Ok(stream) => ask(stream).await.contains(" 200 OK"),
            Err(_) => false,
        },
    )
    .await;
}

/// Where the balancer of the app is.
async fn endpoint(rack: &Client) -> String {
    let balancers = rack.get("/apps/myapp/balancers").await.json();
    text(&balancers[0], "endpoint")
}

/// Where port 3001 of the service is.
async fn further(rack: &Client) -> u16 {
    let services = rack.get("/apps/myapp/services").await.json();
    let ports = services[0]["ports"].as_array().expect("ports").clone();
    assert_eq!(ports.len(), 3, "{ports:?}");
    assert_eq!(ports[2]["container"], 3001);
    u16::try_from(ports[2]["balancer"].as_u64().expect("a port")).expect("a port")
}

async fn ports_lead_to_services_and_stay_where_they_are(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let (balancer, listener) = (free(), free());
    let manifest = |further: &str| manifest(balancer, listener, further);
    for rack in [&staging, &production] {
        rack.create("myapp").await;
        deploy(rack, &manifest("ports: [3001]")).await;
    }
    // First come has the port, the second rack has another one.
    let first = endpoint(&staging).await;
    assert_eq!(first, format!("127.0.0.1:{balancer}"));
    let second = endpoint(&production).await;
    let moved: SocketAddr = second.parse().expect("an address");
    assert!(moved.ip().is_loopback() && second != first, "{second}");
    let log = staging.log("myapp").await;
    let said = format!("balancer mail port {balancer}: {first} leads to port 3001 of web");
    assert!(log.contains(&said), "{log}");
    assert!(log.contains("a UDP port of balancer mail"), "{log}");
    let said = format!("port {balancer} is not free here, {second} leads to port 3001 of web");
    let log = production.log("myapp").await;
    assert!(log.contains(&said), "{log}");
    for place in [&first, &second] {
        answers(place).await;
    }
    let ports = (further(&staging).await, further(&production).await);
    assert_ne!(ports.0, ports.1);
    answers(&format!("127.0.0.1:{}", ports.0)).await;
    // TLS ends at the door.
    let services = staging.get("/apps/myapp/services").await.json();
    assert_eq!(
        services[0]["nlb"],
        json!([{ "container-port": 3000, "port": listener, "protocol": "tls", "scheme": "public" }])
    );
    let tls = TlsConnector::from(Arc::new(any_certificate()));
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(("127.0.0.1", listener)).await;
    let stream = tls.connect(name, stream.expect("open")).await;
    let answer = ask(stream.expect("a handshake")).await;
    assert!(answer.contains(" 200 OK"), "{answer}");
    // The ports are the same when the server is another one.
    let data = world.stop().await;
    let refused = TcpStream::connect(&first).await;
    assert!(
        refused.is_err(),
        "a server that has stopped listens nowhere"
    );
    let world = World::open_on(&engine, data, "").await;
    let again = |name: &str| world.server().with("Rack", name);
    for (rack, place) in [(again("production"), &second), (again("staging"), &first)] {
        answers(place).await;
        assert_eq!(&endpoint(&rack).await, place);
    }
    let log = again("staging").log("myapp").await;
    assert_eq!(log.matches("balancer mail port").count(), 1, "said once");
    // What is no longer declared is closed, and the other rack is left alone.
    let staging = again("staging");
    let bare = manifest("")
        .split("balancers:")
        .next()
        .expect("services")
        .to_owned();
    deploy(&staging, &bare).await;
    assert_eq!(staging.get("/apps/myapp/balancers").await.json(), json!([]));
    assert!(TcpStream::connect(&first).await.is_err(), "closed");
    answers(&second).await;
    let production = again("production");
    production.delete("/apps/myapp").await.ok();
    until("the door to close", async || {
        TcpStream::connect(&second).await.is_err()
    })
    .await;
}

async fn a_connection_is_drained_when_its_process_is_replaced(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = manifest(free(), free(), "");
    deploy(&rack, &manifest).await;
    let place = endpoint(&rack).await;
    answers(&place).await;
    let before = rack.get("/apps/myapp/processes").await.json();
    let mut stream = TcpStream::connect(&place).await.expect("open");
    stream
        .write_all(b"GET / HTTP/1.1\r\n")
        .await
        .expect("written");
    deploy(&rack, &manifest).await;
    until("another process", async || {
        let now = rack.get("/apps/myapp/processes").await.json();
        let newer = |process: &serde_json::Value| process["id"] != before[0]["id"];
        now.as_array().expect("processes").iter().any(newer)
    })
    .await;
    answers(&place).await;
    // The old one still answers what it was asked.
    within("an answer", async {
        let rest = b"Host: x\r\nConnection: close\r\n\r\n";
        stream.write_all(rest).await.expect("written");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.contains(" 200 OK"), "{answer:?}");
    })
    .await;
    drop(stream);
    until("the end of the old process", async || {
        let now = rack.get("/apps/myapp/processes").await.json();
        let now = now.as_array().expect("processes");
        now.len() == 1 && now[0]["id"] != before[0]["id"]
    })
    .await;
}
