//! Services that speak gRPC: their health, and calls to them.

use axum::body::{Body, Bytes};
use http::Request;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::engines::{Engine, on_both_engines};
use super::flow::text;
use super::world::{World, within};

on_both_engines!(a_grpc_service_is_asked_for_its_health_and_called);

const MANIFEST: &str = "services:
  web:
    build: .
    port: grpc:50051
    grpcHealthEnabled: true
    environment:
      - HEALTH=1
      - TWINRACK_FAULTS=
    health: {interval: 1, timeout: 1, grace: 1}
    drain: 1
    termination: {grace: 1}
";

const DOCKERFILE: &str = "FROM debian:bookworm-slim
COPY . .
CMD [\"perl\", \"server.pl\"]
";

/// A gRPC server in as few words as can be: every call is answered with a message whose
/// first field is `HEALTH`, and status 0.
const SERVER: &str = r#"use strict;
use IO::Socket::INET;
$SIG{CHLD} = 'IGNORE';
$SIG{TERM} = sub { exit 0 };
my $listener = IO::Socket::INET->new(LocalPort => 50051, Listen => 50, ReuseAddr => 1) or die;
sub frame { my ($type, $flags, $stream, $data) = @_;
  return substr(pack('N', length $data), 1) . pack('CCN', $type, $flags, $stream) . $data }
sub literal { my ($name, $value) = @_;
  return "\0" . chr(length $name) . $name . chr(length $value) . $value }
while (1) {
  my $client = $listener->accept or next;
  next if fork;
  binmode $client;
  my $wanted = sub { my $rest = shift; my $data = '';
    while ($rest) { my $got = sysread($client, my $part, $rest) or exit 0; $data .= $part; $rest -= $got }
    return $data };
  $wanted->(24);
  syswrite $client, frame(4, 0, 0, '');
  while (1) {
    my ($high, $low, $type, $flags, $stream) = unpack('CnCCN', $wanted->(9));
    my $data = $wanted->($high * 65536 + $low);
    syswrite $client, frame(4, 1, 0, '') if $type == 4 && !($flags & 1);
    syswrite $client, frame(6, 1, 0, $data) if $type == 6 && !($flags & 1);
    next unless ($type == 0 || $type == 1) && $flags & 1;
    my $message = chr(8) . chr($ENV{HEALTH});
    syswrite $client, frame(1, 4, $stream, "\x88" . literal('content-type', 'application/grpc'))
      . frame(0, 0, $stream, "\0" . pack('N', length $message) . $message)
      . frame(1, 5, $stream, literal('grpc-status', '0'));
  }
}
"#;

/// One call through the router: headers, bytes and status.
async fn call(world: &World) -> (http::response::Parts, Bytes, String) {
    within("an answer", async {
        let stream = TcpStream::connect(world.address).await.expect("open");
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("a connection");
        tokio::spawn(connection);
        let request = Request::post("http://web.myapp.staging.localhost/some.Service/Call")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::from(&b"\0\0\0\0\x02\x08\x01"[..]))
            .expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let whole = body.collect().await.expect("whole");
        let status = whole.trailers().and_then(|trailers| {
            let status = trailers.get("grpc-status")?.to_str().expect("text");
            Some(status.to_owned())
        });
        (head, whole.to_bytes(), status.unwrap_or_default())
    })
    .await
}

async fn a_grpc_service_is_asked_for_its_health_and_called(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let files = [
        ("convox.yml", MANIFEST),
        ("Dockerfile", DOCKERFILE),
        ("server.pl", SERVER),
    ];
    let release = rack.release("myapp", &files).await;
    let app = rack.promote("myapp", &release).await;
    assert_eq!(
        text(&app, "release"),
        release,
        "{}",
        rack.log("myapp").await
    );
    let (head, message, status) = call(&world).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(message, &b"\0\0\0\0\x02\x08\x01"[..]);
    assert_eq!(status, "0");
    // One that says it does not serve never gets a call.
    let ill = rack
        .set_env("myapp", "HEALTH=2\nTWINRACK_FAULTS=never-healthy")
        .await;
    let path = format!("/apps/myapp/releases/{}/promote", text(&ill, "id"));
    rack.post(&path, "timeout=3").await.ok();
    let app = rack.settled("myapp").await;
    assert_eq!(text(&app, "release"), release, "rolled back");
    let log = rack.log("myapp").await;
    assert!(
        log.contains("port 50051: it says that it is not serving"),
        "{log}"
    );
    assert_eq!(call(&world).await.2, "0");
}
