//! How much the server takes: of bytes, of wrong passwords, and from whom.

use std::sync::Arc;
use std::time::Duration;

use rack_server::rack::access::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::engines::Engine;
use super::flow::{PLAIN, multipart, source, text};
use super::world::{Client, FORM, World, files_below, parse, until, within};

async fn limited(limits: Limits) -> World {
    let data = Arc::new(tempfile::tempdir().expect("a directory"));
    World::with_limits(&Engine::simulated(), data, "", limits).await
}

const TOO_LARGE: &str = "the upload is larger than 1 MiB: the server takes more with --max-upload";

/// A rack that takes uploads of 1 MiB, with an app.
async fn small() -> (World, Client) {
    let world = limited(Limits {
        largest_upload: 1 << 20,
        ..Limits::default()
    })
    .await;
    let rack = world.rack("staging").await;
    rack.create("myapp").await;
    (world, rack)
}

/// Files of objects, whole or begun.
fn stored(world: &World) -> Vec<String> {
    let mut files = files_below(&world.rack_directory("staging").join("objects"));
    files.extend(files_below(&world.rack_directory("staging").join("tmp")));
    files
}

#[tokio::test]
async fn a_path_must_be_text() {
    let (world, rack) = World::with_rack().await;
    for path in ["/apps/%ff", "/apps/%00", "/apps/a%0ab/builds"] {
        rack.get(path)
            .await
            .fails(400, "the path of the request is not text");
    }
    let json = rack
        .with("Accept", "application/json")
        .get("/apps/%ff")
        .await;
    let error: serde_json::Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(error["error"], "the path of the request is not text");
    // Strangers learn nothing by it.
    let refused = world.stranger().get("/apps/%ff").await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn a_request_names_its_host() {
    let (_world, rack) = World::with_rack().await;
    let authorization = &rack.headers[0].1;
    for (version, status) in [("1.1", 400), ("1.0", 200)] {
        let head = format!(
            "GET /system HTTP/{version}\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(rack.raw(head.as_bytes()).await.status, status, "{version}");
    }
}

#[tokio::test]
async fn forms_are_small_unless_they_hold_documents() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let padded = |length: usize| format!("generation={}", "2".repeat(length - 11));
    let refused = "the form is larger than 64 KiB";
    rack.post("/apps", &padded(64 << 10))
        .await
        .fails(400, "app name must not be empty");
    rack.post("/apps", &padded((64 << 10) + 1))
        .await
        .fails(413, refused);
    let half = vec![b'x'; 40 << 10];
    rack.send_chunked("POST", "/apps", &[b"name=other&x=", &half, &half])
        .await
        .fails(413, refused);
    assert_eq!(
        rack.get("/apps").await.json().as_array().map(Vec::len),
        Some(1)
    );
    let env = |length: usize| format!("env=A%3D{}", "x".repeat(length - 8));
    let refused = "the form is larger than 4 MiB";
    rack.post("/apps/myapp/releases", &env((4 << 20) + 1))
        .await
        .fails(413, refused);
    let most = env((4 << 20) + 1);
    let chunks: Vec<&[u8]> = most.as_bytes().chunks(1 << 20).collect();
    rack.send_chunked("POST", "/apps/myapp/releases", &chunks)
        .await
        .fails(413, refused);
    let none = rack.get("/apps/myapp/releases").await.json();
    assert_eq!(none, serde_json::json!([]));
    rack.post("/apps/myapp/releases", &env(4 << 20))
        .await
        .json();
    // Asked first who they are, strangers do not learn what is taken.
    let stranger = rack.with("Authorization", "");
    let stranger = Client {
        headers: stranger.headers[1..].to_vec(),
        ..stranger
    };
    stranger
        .post("/apps", &padded(65 << 10))
        .await
        .fails(401, "invalid authentication");
}

#[tokio::test]
async fn uploads_end_at_the_limit_and_leave_nothing() {
    let (world, rack) = small().await;
    let target = "/apps/myapp/objects/some/object";
    let mebibyte = vec![b'x'; 1 << 20];
    rack.upload(target, &mebibyte).await.json();
    rack.delete(target).await.ok();
    let more = vec![b'x'; (1 << 20) + 1];
    rack.upload(target, &more).await.fails(413, TOO_LARGE);
    rack.upload("/apps/myapp/builds/import", &more)
        .await
        .fails(413, TOO_LARGE);
    // Without a length the end is seen only when it is passed.
    for target in [target, "/apps/myapp/objects/"] {
        rack.send_chunked("POST", target, &[&mebibyte, b"more"])
            .await
            .fails(413, TOO_LARGE);
    }
    let (kind, body) = multipart("source", &more, &[]);
    rack.send(
        "POST",
        "/apps/myapp/builds",
        &[("Content-Type", &kind)],
        &body,
    )
    .await
    .fails(413, TOO_LARGE);
    assert_eq!(stored(&world), Vec::<String>::new());
    let builds = rack.get("/apps/myapp/builds").await.json();
    assert_eq!(builds, serde_json::json!([]));
    let (kind, body) = multipart("source", &source(PLAIN), &[]);
    rack.send(
        "POST",
        "/apps/myapp/builds",
        &[("Content-Type", &kind)],
        &body,
    )
    .await
    .json();
}

#[tokio::test]
async fn texts_beside_an_upload_are_bounded() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let archive = source(PLAIN);
    let most = "x".repeat(4 << 20);
    let half = "x".repeat(3 << 20);
    for target in [
        "/apps/myapp/builds",
        "/apps/myapp/builds/import",
        "/index/update",
    ] {
        for fields in [
            &[("description", most.as_str())][..],
            &[("one", half.as_str()), ("two", half.as_str())][..],
        ] {
            let (kind, body) = multipart("other", b"", fields);
            rack.send("POST", target, &[("Content-Type", &kind)], &body)
                .await
                .fails(413, "the text fields of the upload are larger than 4 MiB");
        }
        // What never becomes a part is no less bounded.
        let endless = "x-no-end: x\r\n".repeat(100_000);
        let body = format!("--frontier\r\n{endless}");
        let kind = [("Content-Type", "multipart/form-data; boundary=frontier")];
        rack.send("POST", target, &kind, body.as_bytes())
            .await
            .fails(
                400,
                "the upload is not readable: the head of a part is larger than 64 KiB",
            );
    }
    // What was stored before goes.
    let (kind, body) = multipart("source", &archive, &[("description", &most)]);
    let kind = [("Content-Type", kind.as_str())];
    rack.send("POST", "/apps/myapp/builds", &kind, &body)
        .await
        .fails(413, "the text fields of the upload are larger than 4 MiB");
    assert_eq!(stored(&world), Vec::<String>::new());
    let builds = rack.get("/apps/myapp/builds").await.json();
    assert_eq!(builds, serde_json::json!([]));
    // Of two files the last one counts, and the other goes.
    let (kind, body) = multipart("source", b"first", &[]);
    let end = body.len() - b"--\r\n".len();
    let (_, second) = multipart("image", b"no archive", &[]);
    let both = [&body[..end], &second[b"--frontier".len()..]].concat();
    let answer = rack
        .send(
            "POST",
            "/apps/myapp/builds",
            &[("Content-Type", &kind)],
            &both,
        )
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer.text().starts_with("cannot import: "),
        "{}",
        answer.text()
    );
    assert_eq!(stored(&world), Vec::<String>::new());
    // Files are no texts, whatever their size.
    let large = [archive, vec![0; 9 << 20]].concat();
    let (kind, body) = multipart("source", &large, &[("description", "mine")]);
    let kind = [("Content-Type", kind.as_str())];
    let build = rack.send("POST", "/apps/myapp/builds", &kind, &body).await;
    assert_eq!(text(&build.json(), "description"), "mine");
}

#[tokio::test]
async fn a_file_in_a_multipart_body_is_stored_while_it_comes() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let (kind, body) = multipart("source", &source(PLAIN), &[]);
    let head = format!(
        "POST /apps/myapp/builds HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        world.address,
        rack.headers[0].1,
        body.len() + (4 << 20)
    );
    // Zeros behind a gzip stream belong to it.
    let end = body.len() - b"\r\n--frontier--\r\n".len();
    let mut stream = TcpStream::connect(world.address).await.expect("connected");
    for bytes in [head.as_bytes(), &body[..end], &vec![0; 4 << 20]] {
        stream.write_all(bytes).await.expect("taken");
    }
    let directory = world.rack_directory("staging");
    until("all but the end to be on disk", async || {
        let size = |file: &String| {
            let metadata = std::fs::metadata(directory.join(file));
            metadata.is_ok_and(|metadata| metadata.len() >= 4 << 20)
        };
        files_below(&directory).iter().any(size)
    })
    .await;
    stream.write_all(&body[end..]).await.expect("taken");
    let mut received = Vec::new();
    within("an answer", stream.read_to_end(&mut received))
        .await
        .expect("an answer");
    let build = parse(&received).json();
    assert_eq!(text(&build, "status"), "running");
}

#[tokio::test]
async fn heads_are_bounded() {
    let (world, rack) = World::with_rack().await;
    let long = "x".repeat(70_000);
    let answer = rack.get(&format!("/apps?name={long}")).await;
    assert_eq!(answer.status, 414);
    let mut many = rack.clone();
    for number in 0..200 {
        many = many.with(&format!("X-{number}"), "x");
    }
    assert_eq!(many.get("/apps").await.status, 431);
    let answer = rack.with("X-Long", &"x".repeat(200_000)).get("/apps").await;
    assert_eq!(answer.status, 431);
    // What the longest environment of a run needs is taken.
    let answer = rack.with("X-Long", &"x".repeat(60_000)).get("/apps").await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.stranger().get("/check").await.text(), "ok");
}

/// A delay nobody lives to see the end of.
fn endless() -> Limits {
    Limits {
        slowest_refusal: Duration::from_secs(100_000),
        ..Limits::default()
    }
}

/// Fails this often, then the answers take hours.
const MANY: usize = 40;

#[tokio::test]
async fn the_wrong_wait_and_the_right_do_not() {
    let world = limited(endless()).await;
    let wrong = world.with_password("wrong");
    let waiting: Vec<_> = (0..MANY)
        .map(|_| {
            let wrong = wrong.clone();
            tokio::spawn(async move { wrong.get("/auth").await })
        })
        .collect();
    let done = || waiting.iter().filter(|task| task.is_finished()).count();
    until("the first ones to be answered", async || done() >= 5).await;
    world.server().get("/auth").await.ok();
    world.stranger().get("/check").await;
    assert!(done() < MANY, "each waits twice as long as the one before");
    for task in waiting {
        if task.is_finished() {
            let answer = task.await.expect("an answer");
            answer.fails(401, "invalid authentication");
        } else {
            task.abort();
        }
    }
}

#[tokio::test]
async fn only_so_many_answers_are_held_back() {
    let world = limited(Limits {
        refusals_waiting: 0,
        ..endless()
    })
    .await;
    let wrong = world.with_password("wrong");
    for _ in 0..MANY {
        wrong
            .get("/auth")
            .await
            .fails(401, "invalid authentication");
    }
    world.server().get("/auth").await.ok();
}

#[tokio::test]
async fn who_does_not_guess_does_not_wait() {
    let world = limited(endless()).await;
    world.rack("staging").await;
    let production = world.rack("production").await;
    for _ in 0..MANY {
        let refused = "invalid authentication";
        world.stranger().get("/auth").await.fails(401, refused);
        // Right, but for another rack.
        let elsewhere = production.with("Rack", "staging");
        elsewhere.get("/apps").await.fails(401, refused);
    }
}

#[tokio::test]
async fn requests_must_name_this_server() {
    let (world, rack) = World::with_rack().await;
    let refused =
        "host is not a name of this server: use a loopback address, or start it with --host NAME";
    let port = world.address.port();
    for host in [
        "example.org".to_owned(),
        format!("127.0.0.1.nip.example:{port}"),
    ] {
        for target in ["/apps", "/check", "/nothing"] {
            let answer = rack.with("Host", &host).get(target).await;
            answer.fails(403, refused);
        }
        rack.with("Host", &host)
            .post("/apps", "name=theirs")
            .await
            .fails(403, refused);
        let answer = rack
            .with("Host", &host)
            .with("Accept", "application/json")
            .get("/apps")
            .await;
        assert_eq!(answer.status, 403);
        let error: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
        assert_eq!(error["error"], refused);
    }
    for host in ["localhost", "anything.localhost", "127.0.0.1:1", "[::1]"] {
        rack.with("Host", host).get("/auth").await.ok();
    }
    assert_eq!(rack.get("/apps").await.json(), serde_json::json!([]));
    let named = limited(Limits {
        hosts: vec!["racks.example".into()],
        ..Limits::default()
    })
    .await;
    let server = named.server().with("Host", "Racks.Example:5443");
    server.get("/auth").await.ok();
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out() {
    let (world, rack) = World::with_rack().await;
    let own = format!("http://{}", world.address);
    let refused = "origin is not this server: web pages may not use it";
    for origin in ["https://example.org", "null", "http://localhost:3000"] {
        let page = rack.with("Origin", origin);
        page.post("/apps", "name=theirs").await.fails(403, refused);
        page.get("/apps").await.fails(403, refused);
        page.send("OPTIONS", "/apps", &[], b"")
            .await
            .fails(403, refused);
        // Sockets are refused before they are any.
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        page.send("GET", "/system/logs", &headers, b"")
            .await
            .fails(403, refused);
    }
    for site in ["cross-site", "same-site"] {
        let page = rack.with("Sec-Fetch-Site", site);
        page.get("/apps").await.fails(
            403,
            "the request comes from another site: web pages may not use this server",
        );
    }
    assert_eq!(rack.get("/apps").await.json(), serde_json::json!([]));
    let same = rack.with("Origin", &own);
    for answer in [
        same.get("/apps").await,
        same.send(
            "OPTIONS",
            "/apps",
            &[("Access-Control-Request-Method", "POST")],
            b"",
        )
        .await,
        same.send("POST", "/apps", &[("Content-Type", FORM)], b"name=ours")
            .await,
        rack.with("Origin", "https://example.org")
            .get("/apps")
            .await,
    ] {
        let shared = |(name, _): &&(String, String)| {
            name.to_ascii_lowercase().starts_with("access-control-")
        };
        assert_eq!(answer.headers.iter().find(shared), None);
    }
    assert_eq!(rack.get("/apps").await.json()[0]["name"], "ours");
    // As the official clients send it, with the address as the user wrote it.
    let request = format!(
        "GET /system/logs HTTP/1.1\r\nHost: Localhost:5443\r\nOrigin: https://localhost:5443\r\n\
         Authorization: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nFollow: false\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        rack.headers[0].1
    );
    let answer = rack.raw(request.as_bytes()).await;
    assert_eq!(answer.status, 101, "{answer:?}");
}
