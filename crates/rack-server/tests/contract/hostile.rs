//! Whatever bytes come, every route answers, and never with a fault of our own.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::world::World;

/// Routes, with `*` where a client may write what it likes.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/racks"),
    ("POST", "/racks"),
    ("DELETE", "/racks/*"),
    ("DELETE", "/racks/*/*"),
    ("GET", "/system"),
    ("GET", "/system/processes"),
    ("GET", "/system/releases"),
    ("GET", "/apps"),
    ("POST", "/apps"),
    ("GET", "/apps/*"),
    ("PUT", "/apps/myapp"),
    ("DELETE", "/apps/*"),
    ("POST", "/apps/myapp/cancel"),
    ("GET", "/apps/myapp/objects"),
    ("POST", "/apps/myapp/objects/"),
    ("GET", "/apps/myapp/objects/*/*"),
    ("HEAD", "/apps/myapp/objects/*"),
    ("POST", "/apps/myapp/objects/*/*"),
    ("DELETE", "/apps/myapp/objects/*/*"),
    ("GET", "/apps/myapp/builds"),
    ("POST", "/apps/myapp/builds"),
    ("POST", "/apps/myapp/builds/import"),
    ("GET", "/apps/myapp/builds/*"),
    ("GET", "/apps/myapp/builds/*.tgz"),
    ("GET", "/apps/myapp/releases"),
    ("POST", "/apps/myapp/releases"),
    ("GET", "/apps/myapp/releases/*"),
    ("POST", "/apps/myapp/releases/*/promote"),
    ("GET", "/apps/myapp/processes"),
    ("GET", "/apps/myapp/processes/*"),
    ("DELETE", "/apps/myapp/processes/*"),
    ("GET", "/apps/myapp/services"),
    ("PUT", "/apps/myapp/services/*"),
    ("POST", "/apps/myapp/services/*/processes"),
    ("POST", "/apps/myapp/services/web/processes"),
    ("POST", "/apps/myapp/services/*/restart"),
    ("GET", "/apps/myapp/resources"),
    ("GET", "/apps/myapp/resources/*"),
    ("GET", "/*"),
    ("*", "/*/*"),
];

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
    "Transfer-Encoding",
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
            "1e9",
            "5s",
            "-5s",
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
    ]
}

fn pairs(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
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

#[test]
fn no_request_is_too_strange() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (world, rack) = runtime.block_on(async {
        let (world, rack) = World::with_rack().await;
        rack.deploy("myapp").await;
        (world, rack)
    });
    let strategy = (
        prop::sample::select(ROUTES),
        prop::collection::vec(segment(), 3),
        prop_oneof![
            Just("GET"),
            Just("PATCH"),
            Just("OPTIONS"),
            Just("CONNECT"),
            Just("TRACE"),
            Just("PUT")
        ],
        pairs(NAMES),
        pairs(HEADERS),
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            pairs(NAMES).prop_map(|pairs| form(&pairs))
        ],
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config {
        cases: 3000,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(
        &strategy,
        |((method, route), segments, other, query, headers, body, own)| {
            let mut segments = segments.into_iter();
            let mut target = Vec::new();
            for part in route.split_inclusive('*') {
                target.extend_from_slice(part.trim_end_matches('*').as_bytes());
                if part.ends_with('*') {
                    target.extend(segments.next().unwrap_or_default());
                }
            }
            let mut request = if method == "*" { other } else { method }
                .as_bytes()
                .to_vec();
            request.push(b' ');
            request.extend_from_slice(&target);
            request.push(b'?');
            request.extend(form(&query));
            request.extend_from_slice(b" HTTP/1.1\r\nConnection: close\r\n");
            if own {
                request.extend_from_slice(
                    format!("Authorization: {}\r\n", rack.headers[0].1).as_bytes(),
                );
            }
            let mut length = true;
            for (name, value) in &headers {
                length &= *name != "Transfer-Encoding";
                request.extend_from_slice(format!("{name}: ").as_bytes());
                request.extend(
                    value
                        .iter()
                        .filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)),
                );
                request.extend_from_slice(b"\r\n");
            }
            if !headers.iter().any(|(name, _)| *name == "Host") {
                request.extend_from_slice(b"Host: localhost\r\n");
            }
            if length {
                request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            }
            request.extend_from_slice(b"\r\n");
            request.extend_from_slice(&body);
            let answer = runtime.block_on(rack.raw(&request));
            let shown = String::from_utf8_lossy(&request).into_owned();
            prop_assert!(
                answer.status < 500,
                "{} {}: {shown}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
            prop_assert!(
                !answer.body.contains(&b'%') || answer.status < 400,
                "{shown}"
            );
            Ok(())
        },
    );
    if let Err(error) = outcome {
        panic!("{error}");
    }
    runtime.block_on(async {
        rack.get("/apps").await.json();
        assert_eq!(world.stranger().get("/check").await.text(), "ok");
        world.stop().await;
    });
}

#[test]
fn no_socket_option_is_too_strange() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (world, rack) = runtime.block_on(async {
        let (world, rack) = World::with_rack().await;
        rack.deploy("myapp").await;
        (world, rack)
    });
    let targets = vec![
        "/apps/myapp/logs",
        "/apps/myapp/services/web/logs",
        "/apps/myapp/processes/web/logs",
        "/apps/myapp/builds/x/logs",
        "/apps/myapp/processes/web/exec",
        "/system/logs",
    ];
    let names: &'static [&'static str] = &[
        "Since",
        "Filter",
        "Tail",
        "Prefix",
        "Height",
        "Width",
        "Tty",
        "Entrypoint",
    ];
    let strategy = (
        prop::sample::select(targets),
        pairs(names),
        "[ -~]{0,20}",
        "\\PC{0,20}",
    );
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&strategy, |(target, options, command, filter)| {
        let plain = |value: &[u8]| String::from_utf8_lossy(value).replace(['\r', '\n', '\0'], " ");
        let options: Vec<_> = options
            .iter()
            .map(|(name, value)| {
                (
                    *name,
                    plain(value)
                        .chars()
                        .filter(|c| !c.is_control())
                        .collect::<String>(),
                )
            })
            .collect();
        // A command that waits for input gets none.
        let mut headers = vec![
            ("Follow", "false"),
            ("Command", command.as_str()),
            ("Filter", filter.as_str()),
        ];
        headers.extend(options.iter().map(|(name, value)| (*name, value.as_str())));
        runtime.block_on(async {
            let socket = rack.socket(target, &headers).await;
            socket.writer.end().await.expect("sent");
            socket.rest().await;
        });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    runtime.block_on(async {
        rack.get("/apps/myapp").await.json();
        world.stop().await;
    });
}
