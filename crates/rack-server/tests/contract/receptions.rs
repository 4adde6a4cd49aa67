//! What the reception of an archive leaves behind, whatever becomes of it, and that
//! it notices what it has received before.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::archives::archive;
use super::engines::{Engine, on_both_engines};
use super::flow::text;
use super::world::{Client, World, files_below, until};

on_both_engines!(
    nothing_of_an_archive_that_does_not_hold_reaches_the_engine,
    the_same_archive_again_is_another_build_of_the_same_images,
    an_archive_that_only_begins_like_a_known_one_is_verified,
    images_that_were_pruned_are_loaded_again,
);

const IMPORT: &str = "/apps/myapp/builds/import";

/// An archive whose images are not on the engine, and the id of its only image.
async fn foreign_archive(world: &World, rack: &Client) -> (String, Vec<u8>) {
    let (build, bytes) = archive(rack, "myapp").await;
    let digest = text(&build["images"], "web");
    rack.delete("/apps/myapp").await.ok();
    until("the app to be gone", async || {
        rack.get("/apps/myapp").await.status == 404
    })
    .await;
    assert!(!world.has_image(&digest).await, "the image went with it");
    rack.create("myapp").await;
    (digest, bytes)
}

/// Nothing is received any more, and nothing of it is left.
async fn settled(world: &World, rack: &str) {
    let directory = world.rack_directory(rack).join("tmp");
    until("the temporary files to be gone", async || {
        files_below(&directory).is_empty()
    })
    .await;
}

/// Sends a part of an archive and goes away.
async fn break_off(rack: &Client, bytes: &[u8]) {
    let mut stream = send_part(rack, bytes).await;
    stream.shutdown().await.expect("closed");
}

/// Sends a part of an archive and no more.
async fn send_part(rack: &Client, bytes: &[u8]) -> tokio::net::TcpStream {
    let stream = tokio::net::TcpStream::connect(rack.address).await;
    let mut stream = stream.expect("a connection");
    let head = format!(
        "POST {IMPORT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
        rack.headers[0].1,
        bytes.len() + 1
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(bytes).await.expect("sent");
    stream
}

/// An archive without the index at its end, which is compressed otherwise too.
fn without_index(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .expect("a gzip stream");
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::best(),
    ));
    for entry in tar::Archive::new(&plain[..]).entries().expect("a tar") {
        let entry = entry.expect("an entry");
        if entry.path_bytes().as_ref() != b"twinrack.json" {
            let header = entry.header().clone();
            builder.append(&header, entry).expect("memory");
        }
    }
    let gzip = builder.into_inner().expect("memory");
    gzip.finish().expect("memory")
}

async fn nothing_of_an_archive_that_does_not_hold_reaches_the_engine(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let (digest, bytes) = foreign_archive(&world, &rack).await;
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    for byte in &mut flipped[middle..middle + 16] {
        *byte ^= 0xff;
    }
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"rubbish");
    for (what, body) in [
        ("all but the last byte", &bytes[..bytes.len() - 1]),
        ("half", &bytes[..bytes.len() / 2]),
        ("flipped in the middle", &flipped),
        ("something appended", &longer),
    ] {
        let answer = rack.upload(IMPORT, body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(!world.has_image(&digest).await, "{what}");
    }
    rack.create("other").await;
    let refused = rack.upload("/apps/other/builds/import", &bytes).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    break_off(&rack, &bytes[..bytes.len() / 2]).await;
    break_off(&rack, &bytes).await;
    settled(&world, "staging").await;
    assert!(!world.has_image(&digest).await);
    assert_eq!(world.tags("staging", "myapp").await, Vec::<String>::new());
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));

    let imported = rack.upload(IMPORT, &bytes).await.json();
    assert_eq!(imported["images"]["web"], json!(digest));
    assert!(world.has_image(&digest).await);
    let release = text(&imported, "release");
    let app = rack.promote("myapp", &release).await;
    assert_eq!(app["release"], json!(release), "it runs");
    settled(&world, "staging").await;
}

async fn the_same_archive_again_is_another_build_of_the_same_images(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let (digest, bytes) = foreign_archive(&world, &rack).await;
    let first = rack.upload(IMPORT, &bytes).await.json();
    assert_eq!(first["provenance"].get("images-present"), None);
    assert_eq!(first["provenance"].get("imported-before"), None);
    let again = rack.upload(IMPORT, &bytes).await.json();
    assert_eq!(again["images"]["web"], json!(digest));
    assert_eq!(again["provenance"]["imported-before"], first["id"]);
    assert_eq!(again["provenance"]["images-present"], json!(true));
    for (field, same) in [
        ("id", false),
        ("release", false),
        ("manifest", true),
        ("description", true),
        ("git-sha", true),
        ("entrypoint", true),
        ("images", true),
    ] {
        assert_eq!(first[field] == again[field], same, "{field}");
    }
    for field in ["rack", "app", "build", "archive"] {
        assert_eq!(
            first["provenance"][field], again["provenance"][field],
            "{field}"
        );
    }
    let log = format!("/apps/myapp/builds/{}/logs", text(&again, "id"));
    let log = rack.stream(&log, &[]).await.text();
    let line = format!(
        "The same archive was imported before as build {}\n",
        text(&first, "id")
    );
    assert!(log.contains(&line), "{log}");
    settled(&world, "staging").await;

    // What was known of the app is gone with it.
    rack.create("other").await;
    rack.upload("/apps/other/builds/import", &bytes)
        .await
        .fails(
            400,
            "cannot import: the archive is a build of app myapp, not of other; to import it nevertheless \
             use --force, or first `convox apps params set ImportFrom=myapp -a other`",
        );
    let release = text(&again, "release");
    assert_eq!(
        rack.promote("myapp", &release).await["release"],
        json!(release)
    );
}

async fn an_archive_that_only_begins_like_a_known_one_is_verified(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let (_, bytes) = archive(&rack, "myapp").await;
    let first = rack.upload(IMPORT, &bytes).await.json();
    let builds = rack.get("/apps/myapp/builds").await.json();
    let tags = world.tags("staging", "myapp").await;
    let mut damaged = bytes.clone();
    let place = damaged.len() - 64;
    for byte in &mut damaged[place..place + 16] {
        *byte ^= 0xff;
    }
    for body in [&damaged[..], &bytes[..bytes.len() - 1]] {
        let answer = rack.upload(IMPORT, body).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(
            answer.text().starts_with("cannot import: "),
            "{}",
            answer.text()
        );
    }
    break_off(&rack, &bytes[..bytes.len() / 2]).await;
    settled(&world, "staging").await;
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), builds);
    assert_eq!(world.tags("staging", "myapp").await, tags);

    let other = rack.upload(IMPORT, &without_index(&bytes)).await.json();
    assert_eq!(other["images"], first["images"]);
    assert_eq!(other["provenance"].get("imported-before"), None);
    assert_eq!(other["provenance"]["rack"], json!(""), "it does not say");
    settled(&world, "staging").await;
}

async fn images_that_were_pruned_are_loaded_again(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let (digest, bytes) = foreign_archive(&world, &rack).await;
    let first = rack.upload(IMPORT, &bytes).await.json();
    let tags = world.tags("staging", "myapp").await;
    let data = world.stop().await;
    engine.prune(data.path(), &tags[0]).await;
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    assert!(!world.has_image(&digest).await);
    let again = rack.upload(IMPORT, &bytes).await.json();
    assert!(world.has_image(&digest).await);
    assert_eq!(again["provenance"]["imported-before"], first["id"]);
    assert_eq!(again["provenance"].get("images-present"), None);
    let release = text(&again, "release");
    assert_eq!(
        rack.promote("myapp", &release).await["release"],
        json!(release)
    );
}

#[tokio::test]
async fn further_imports_wait_for_a_place_and_none_fails() {
    const PLACES: usize = 4;
    let (world, rack) = World::with_rack().await;
    let (build, bytes) = archive(&rack, "myapp").await;
    let scratch = world.rack_directory("staging").join("tmp");
    let mut held = Vec::new();
    for count in 1..=PLACES {
        held.push(send_part(&rack, &bytes[..100]).await);
        until("an upload to be received", async || {
            files_below(&scratch).len() == count
        })
        .await;
    }
    // More than there are places; another rack of the server has no others.
    let production = world.rack("production").await;
    production.create("myapp").await;
    let mut waiting = Vec::new();
    for rack in [&rack, &production].repeat(4) {
        let (rack, bytes) = (rack.clone(), bytes.clone());
        waiting.push(tokio::spawn(async move {
            rack.upload(IMPORT, &bytes).await.json()
        }));
    }
    for _ in 0..50 {
        tokio::task::yield_now().await;
        assert_eq!(files_below(&scratch).len(), PLACES);
        assert!(waiting.iter().all(|task| !task.is_finished()));
    }
    // One that never begins is in nobody's way.
    let idle = send_part(&rack, b"").await;
    held.pop();
    for task in waiting {
        let imported = task.await.expect("no panic");
        assert_eq!(imported["images"], build["images"]);
    }
    drop((held, idle));
    settled(&world, "staging").await;
    let builds = rack.get("/apps/myapp/builds").await.json();
    assert_eq!(builds.as_array().map(Vec::len), Some(5));
}
