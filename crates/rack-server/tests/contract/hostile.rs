//! Whatever bytes come, every route answers, and never with a fault of our own.
//!
//! Each route of the table gets requests made of what it expects and of what it does
//! not: names of what exists and garbage, absurd numbers, broken escapes, forms,
//! multipart bodies and chunks cut anywhere, frames of no protocol.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rack_server::api::{self, Answer, Largest, Route, Whose};
use rack_server::rack::access::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::roles::fill;
use super::world::{Client, World, within};

/// Names of parameters that mean something somewhere.
const NAMES: &[&str] = &[
    "name",
    "engine",
    "generation",
    "lock",
    "parameters",
    "settled",
    "prefix",
    "limit",
    "url",
    "build-args",
    "manifest",
    "development",
    "force",
    "env",
    "build",
    "description",
    "parent-release",
    "min",
    "max",
    "timeout",
    "service",
    "release",
    "count",
    "cpu",
    "memory",
    "all",
];

/// Names of headers that mean something somewhere.
const HEADERS: &[&str] = &[
    "Accept",
    "Rack",
    "Content-Type",
    "Command",
    "Environment",
    "Height",
    "Width",
    "Memory",
    "Release",
    "Expect",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Authorization",
    "Host",
    "Origin",
    "Sec-Fetch-Site",
    "Cookie",
    "Range",
    "X-Host",
    "X-Port",
];

/// Bytes of a path segment, percent-encoded where they cannot stand as they are.
fn segment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| {
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=".contains(&byte);
            bytes
                .into_iter()
                .flat_map(|byte| {
                    if plain(byte) {
                        vec![byte]
                    } else {
                        format!("%{byte:02X}").into_bytes()
                    }
                })
                .collect()
        }),
        prop::sample::select(vec![
            "..", ".", "%2e%2e", "%00", "%", "%zz", "web", "myapp", "", "%2F", "R%C3%28", "{id}"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        "[A-Za-z]{300}".prop_map(String::into_bytes),
        // As they are, against the rules.
        prop::collection::vec(0x80..=0xff_u8, 1..6),
    ]
}

/// Values that come near to what is expected, and ones that do not.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            "true",
            "false",
            "-1",
            "0",
            "9223372036854775807",
            "99999999999999999999",
            "-9223372036854775808",
            "4294967296",
            "1e9",
            "NaN",
            "0x10",
            "\u{663}",
            "5s",
            "-5s",
            "9223372036854775807h",
            "20260101.000000.000000000",
            "99999999.999999.999999999",
            "1h1h1h",
            "object://myapp/x",
            "object://",
            "a=b&c",
            "%",
            "%ff",
            "RAAAAAAAAAA",
            "application/json",
            "websocket",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "100-continue",
            "chunked",
            "convox.yml",
            "../../etc/passwd",
            "personal/staging",
            "A=1\nB=2",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        (1_usize..3000).prop_map(|length| vec![b'9'; length]),
        (1_usize..300).prop_map(|length| b"a,".repeat(length)),
    ]
}

fn pairs(names: Vec<&'static str>) -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    prop::collection::vec((prop::sample::select(names), value()), 0..4)
}

fn form(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let encode = |(name, value): &(&str, Vec<u8>)| {
        format!(
            "{name}={}",
            form_urlencoded::byte_serialize(value).collect::<String>()
        )
    };
    pairs
        .iter()
        .map(encode)
        .collect::<Vec<_>>()
        .join("&")
        .into_bytes()
}

/// Names of a route's own parameters, a few times, and those of others.
fn names(route: &Route, others: &[&'static str]) -> Vec<&'static str> {
    let own = route.parameters.iter().map(|parameter| parameter.name);
    let mut names = others.to_vec();
    while names.len() < 4 * others.len() && !route.parameters.is_empty() {
        names.extend(own.clone());
    }
    names
}

/// A body and the headers that announce it.
#[derive(Debug, Clone)]
struct Sent {
    head: String,
    body: Vec<u8>,
    /// The server need not wait for more.
    whole: bool,
}

impl Sent {
    fn plain(kind: &str, body: Vec<u8>) -> Self {
        let length = body.len();
        Self {
            head: format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n"),
            body,
            whole: true,
        }
    }
}

/// Parts that begin like parts and end anywhere.
fn multipart() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("--x\r\n"),
        Just("--x--\r\n"),
        Just("--x"),
        Just("\r\n"),
        Just("\r\n\r\n"),
        Just("Content-Disposition: form-data; name=\"source\"; filename=\"f\""),
        Just("Content-Disposition: form-data; name=\"image\""),
        Just("Content-Disposition: form-data; name=\"\u{0}\""),
        Just("Content-Disposition: form-data"),
        Just("Content-Type: \u{1}"),
        Just("contents"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

fn sent(route: &Route) -> impl Strategy<Value = Sent> + use<> {
    const FORM: &str = "application/x-www-form-urlencoded";
    const BYTES: &str = "application/octet-stream";
    const PARTS: &str = "multipart/form-data; boundary=x";
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        2 => bytes().prop_map(|body| Sent::plain(BYTES, body)),
        4 => pairs(names(route, NAMES)).prop_map(|pairs| Sent::plain(FORM, form(&pairs))),
        1 => multipart().prop_map(|body| Sent::plain(PARTS, body)),
        1 => (60_000_usize..80_000).prop_map(|length| Sent::plain(FORM, vec![b'a'; length])),
        1 => (bytes(), 0_usize..80).prop_map(|(body, size)| Sent {
            head: "Transfer-Encoding: chunked\r\n".into(),
            whole: body.len() == size,
            body: [format!("{size:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat(),
        }),
        1 => (bytes(), 0_usize..80).prop_map(|(body, length)| Sent {
            head: format!("Content-Length: {length}\r\n"),
            whole: body.len() >= length,
            body,
        }),
    ]
}

/// A server with something of everything, and the names of that.
struct Scene {
    runtime: Runtime,
    world: World,
    rack: Client,
    build: String,
    release: String,
    process: String,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (world, rack, release) = runtime.block_on(async {
            let (world, rack) = World::with_rack().await;
            let release = rack.deploy("myapp").await;
            (world, rack, release)
        });
        let first = |target: &str| {
            let list = runtime.block_on(rack.get(target)).json();
            list[0]["id"].as_str().expect("an id").to_owned()
        };
        Self {
            build: first("/apps/myapp/builds"),
            process: first("/apps/myapp/processes"),
            release,
            runtime,
            world,
            rack,
        }
    }

    /// What may stand for a variable: something that exists, or anything. What would
    /// take away the ground the others stand on is never named.
    fn variable(&self, route: &Route, before: &str, name: &str) -> BoxedStrategy<Vec<u8>> {
        let last = route.path.ends_with(&format!("{{{name}}}"));
        let there = match (before.rsplit('/').nth(1).unwrap_or_default(), name) {
            _ if last && route.method == "DELETE" => {
                let other = |name: &Vec<u8>| name != b"myapp";
                return segment().prop_filter("the others need it", other).boxed();
            }
            (_, "app") => "myapp",
            (_, "service" | "name") => "web",
            (_, "pid") => &self.process,
            ("builds", "id") => &self.build,
            ("releases", "id") => &self.release,
            _ => return segment().boxed(),
        };
        let there = there.as_bytes().to_vec();
        prop_oneof![3 => Just(there), 1 => segment()].boxed()
    }

    /// The path of a route with something in place of its variables.
    fn path(&self, route: &Route) -> BoxedStrategy<Vec<u8>> {
        let mut path = Just(Vec::new()).boxed();
        let mut rest = route.path;
        let mut before = String::new();
        while let Some((plain, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').expect("a variable ends");
            before.push_str(plain);
            let value = self.variable(route, &before, name.trim_start_matches('*'));
            before.push('x');
            path = (path, value)
                .prop_map(move |(path, value)| [&path, plain.as_bytes(), &value].concat())
                .boxed();
            rest = after;
        }
        path.prop_map(move |path| [&path, rest.as_bytes()].concat())
            .boxed()
    }

    fn head(
        &self,
        method: &str,
        target: &[u8],
        query: &[(&str, Vec<u8>)],
        headers: &[(&str, Vec<u8>)],
        own: bool,
    ) -> Vec<u8> {
        let mut head = format!("{method} ").into_bytes();
        head.extend_from_slice(target);
        head.push(b'?');
        head.extend(form(query));
        head.extend_from_slice(b" HTTP/1.1\r\n");
        if own {
            let own = &self.rack.headers[0].1;
            head.extend_from_slice(format!("Authorization: {own}\r\n").as_bytes());
        }
        for (name, value) in headers {
            head.extend_from_slice(format!("{name}: ").as_bytes());
            let allowed = value
                .iter()
                .filter(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            head.extend(allowed);
            head.extend_from_slice(b"\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.extend_from_slice(b"Host: localhost\r\n");
        }
        head
    }

    /// Writes bytes and reads what comes back, if anything does.
    async fn exchange(&self, bytes: &[u8], whole: bool) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.world.address)
            .await
            .expect("a connection");
        // Whoever is refused early is not read to the end.
        let _ = stream.write_all(bytes).await;
        if !whole {
            let _ = stream.shutdown().await;
        }
        let mut received = Vec::new();
        let _ = within("an end of the answer", stream.read_to_end(&mut received)).await;
        received
    }

    /// Opens a socket, if the server opens it; writes bytes into it and no more.
    async fn converse(&self, head: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.world.address)
            .await
            .expect("a connection");
        let _ = stream.write_all(head).await;
        let mut received = Vec::new();
        let reading = async {
            while !received.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => received.push(byte),
                    Err(_) => break,
                }
            }
        };
        within("an answer", reading).await;
        if received.starts_with(b"HTTP/1.1 101") {
            let _ = stream.write_all(bytes).await;
        }
        let _ = stream.shutdown().await;
        let _ = within("an end of the stream", stream.read_to_end(&mut received)).await;
        received
    }

    /// What came back is no fault, and the server still answers others.
    fn judge(&self, request: &[u8], received: &[u8]) -> Result<(), TestCaseError> {
        let shown = || String::from_utf8_lossy(request).into_owned();
        let answer = String::from_utf8_lossy(received).into_owned();
        // Whoever breaks off may be left without an answer.
        if let Some(status) = answer.split(' ').nth(1) {
            let status: u16 = status.parse().expect("a status");
            prop_assert!(status < 500, "{answer}\nto {}", shown());
            prop_assert!(
                !answer.contains("internal error"),
                "{answer}\nto {}",
                shown()
            );
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let text = !body.contains('%') || status < 400;
            prop_assert!(text, "{answer}\nto {}", shown());
        }
        let check = self.runtime.block_on(self.world.stranger().get("/check"));
        prop_assert_eq!(check.text(), "ok", "after {}", shown());
        Ok(())
    }

    fn ask(&self, request: &[u8], whole: bool) -> Result<(), TestCaseError> {
        let received = self.runtime.block_on(self.exchange(request, whole));
        if whole {
            let shown = String::from_utf8_lossy(request);
            prop_assert!(received.starts_with(b"HTTP/1.1 "), "no answer to {shown}");
        }
        self.judge(request, &received)
    }

    /// The rack is what it was: it lists its apps, and the server ends in good order.
    fn end(self) {
        let Self {
            runtime,
            world,
            rack,
            ..
        } = self;
        runtime.block_on(async {
            rack.get("/apps").await.json();
            rack.get("/apps/myapp").await.json();
            world.stop().await;
        });
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    })
}

fn run<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    if let Err(error) = runner(cases).run(strategy, test) {
        panic!("{error}");
    }
}

/// Every fourth plain route of the table, beginning with one of the first four.
fn strange_requests(first: usize) {
    let scene = Scene::new();
    let routes = api::table();
    let plain = routes
        .iter()
        .filter(|route| !matches!(route.answer, Answer::Socket));
    for route in plain.skip(first).step_by(4) {
        let strategy = (
            scene.path(route),
            pairs(names(route, NAMES)),
            pairs(names(route, HEADERS)),
            sent(route),
            prop::bool::weighted(0.9),
        );
        run(30, &strategy, |(path, query, headers, sent, own)| {
            let mut request = scene.head(route.method.as_str(), &path, &query, &headers, own);
            request.extend_from_slice(sent.head.as_bytes());
            request.extend_from_slice(b"Connection: close\r\n\r\n");
            request.extend_from_slice(&sent.body);
            scene.ask(&request, sent.whole)
        });
    }
    scene.end();
}

#[test]
fn no_request_is_too_strange_1() {
    strange_requests(0);
}

#[test]
fn no_request_is_too_strange_2() {
    strange_requests(1);
}

#[test]
fn no_request_is_too_strange_3() {
    strange_requests(2);
}

#[test]
fn no_request_is_too_strange_4() {
    strange_requests(3);
}

/// Bodies of parts, for the routes that take files in them.
#[test]
fn no_multipart_body_is_too_strange() {
    let scene = Scene::new();
    for target in [
        "/apps/myapp/builds",
        "/apps/myapp/builds/import",
        "/index/update",
    ] {
        let strategy = (
            pairs(NAMES.to_vec()),
            multipart(),
            prop::collection::vec(any::<u8>(), 0..40),
            prop::sample::select(vec!["x", "", "\"x\"", "x; boundary=y", "\u{1}"]),
            any::<bool>(),
        );
        run(60, &strategy, |(query, parts, rest, boundary, chunked)| {
            let body = [parts, rest].concat();
            let kind = format!("multipart/form-data; boundary={boundary}");
            let mut request = scene.head("POST", target.as_bytes(), &query, &[], true);
            let (head, body) = if chunked {
                let size = format!("{:x}\r\n", body.len());
                let end: &[u8] = if body.is_empty() { b"" } else { b"0\r\n\r\n" };
                (
                    format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"),
                    [size.as_bytes(), &body, b"\r\n", end].concat(),
                )
            } else {
                let Sent { head, body, .. } = Sent::plain(&kind, body);
                (head, body)
            };
            request.extend_from_slice(head.as_bytes());
            request.extend_from_slice(b"Connection: close\r\n\r\n");
            request.extend_from_slice(&body);
            scene.ask(&request, true)
        });
    }
    scene.end();
}

/// Every route says how much it takes, and takes no more: neither when it is told before
/// nor when it comes unannounced.
#[test]
fn no_route_takes_more_than_its_limit() {
    let scene = Scene::new();
    for route in api::table() {
        if matches!(route.answer, Answer::Socket) {
            continue;
        }
        let path = fill(route.path, |_, name| {
            // Who is not asked for a body may well do what is asked.
            let there = name == "app" && route.method != "DELETE";
            let name = if there { "myapp" } else { "nothing" };
            name.to_owned()
        });
        let most = match route.largest {
            Largest::Form => 64 << 10,
            Largest::LargeForm => 4 << 20,
            Largest::Upload => Limits::default().largest_upload,
        };
        let server = scene.world.server();
        let asks = match route.whose {
            Whose::Server => &server,
            _ => &scene.rack,
        };
        let (name, value) = &asks.headers[0];
        assert_eq!(name, "Authorization");
        let headers = [("Authorization", value.clone().into_bytes())];
        let head = scene.head(route.method.as_str(), path.as_bytes(), &[], &headers, false);
        let announced = format!("Connection: close\r\nContent-Length: {}\r\n\r\n", most + 1);
        let request = [&head, announced.as_bytes()].concat();
        let received = scene.runtime.block_on(scene.exchange(&request, false));
        let shown = String::from_utf8_lossy(&received);
        assert!(
            shown.starts_with("HTTP/1.1 413 "),
            "{} {path}: {shown}",
            route.method
        );
        // Some ask for nothing of what they are sent.
        if let Ok(most) = usize::try_from(most)
            && !matches!(route.largest, Largest::Upload)
        {
            let chunk = format!(
                "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                most + 1
            );
            let filler = vec![b'a'; most + 1];
            let request = [&head, chunk.as_bytes(), &filler, b"\r\n0\r\n\r\n"].concat();
            let received = scene.runtime.block_on(scene.exchange(&request, true));
            let shown = String::from_utf8_lossy(&received);
            let status = shown
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse::<u16>().ok());
            assert!(
                status.is_some_and(|status| status < 500),
                "{} {path}: {shown}",
                route.method
            );
        }
    }
    scene.end();
}

#[test]
fn no_path_or_method_is_too_strange() {
    let scene = Scene::new();
    let methods = vec![
        "GET", "PATCH", "OPTIONS", "CONNECT", "TRACE", "PUT", "BREW", "", "G\u{0}T",
    ];
    let strategy = (
        prop::sample::select(methods),
        prop::collection::vec(segment(), 0..4),
        pairs(HEADERS.to_vec()),
        any::<bool>(),
    );
    run(300, &strategy, |(method, segments, headers, own)| {
        let path = [b"/".to_vec(), segments.join(&b'/')].concat();
        let mut request = scene.head(method, &path, &[], &headers, own);
        request.extend_from_slice(b"Connection: close\r\n\r\n");
        scene.ask(&request, true)
    });
    scene.end();
}

/// Frames, and what is none.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        // First byte and length of their own, masked or not.
        (
            any::<u8>(),
            any::<u8>(),
            prop::collection::vec(any::<u8>(), 0..140)
        )
            .prop_map(|(first, second, rest)| [vec![first, second], rest].concat()),
        // A text as it should be.
        prop::collection::vec(any::<u8>(), 0..100)
            .prop_map(|text| { [vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text].concat() }),
        // A length beyond all bounds.
        Just([vec![0x81, 0xff], vec![0xff; 8], vec![0; 4]].concat()),
        Just([vec![0x82, 0xfe, 0xff, 0xff], vec![0; 4]].concat()),
        // Ends, pings, a close with half a status.
        Just(vec![0x82, 0x80, 0, 0, 0, 0]),
        Just(vec![0x89, 0x80, 0, 0, 0, 0]),
        Just(vec![0x88, 0x81, 0, 0, 0, 0, 3]),
        // A piece of a message that never goes on.
        Just(vec![0x01, 0x81, 0, 0, 0, 0, b'x']),
    ];
    prop::collection::vec(frame, 0..6).prop_map(|frames| frames.concat())
}

#[test]
fn no_socket_is_too_strange() {
    let scene = Scene::new();
    let routes = api::table();
    let sockets = routes
        .iter()
        .filter(|route| matches!(route.answer, Answer::Socket));
    for route in sockets {
        let others = ["Accept", "Rack", "Origin", "Sec-WebSocket-Version"];
        let strategy = (
            scene.path(route),
            pairs(names(route, &others)),
            prop::sample::select(vec!["dGhlIHNhbXBsZSBub25jZQ==", "", "x", "\u{e4}"]),
            frames(),
            prop::bool::weighted(0.9),
        );
        run(30, &strategy, |(path, headers, key, frames, own)| {
            let mut request = scene.head("GET", &path, &[], &headers, own);
            let upgrade = format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            );
            request.extend_from_slice(upgrade.as_bytes());
            let received = scene.runtime.block_on(scene.converse(&request, &frames));
            prop_assert!(!received.is_empty(), "no answer");
            scene.judge(&request, &received)
        });
    }
    scene.end();
}
