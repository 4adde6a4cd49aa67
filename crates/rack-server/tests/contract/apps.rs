//! Apps and objects.

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::PLAIN;
use super::world::{World, files_below, until};

on_both_engines!(
    apps_are_created_listed_and_looked_up,
    every_route_says_when_there_is_no_app,
    parameters_merge_and_locks_protect,
    nothing_to_cancel_is_said,
    a_cancelled_promote_leaves_the_old_release,
    a_deleted_app_leaves_nothing_and_its_neighbour_everything,
    objects_come_back_byte_for_byte,
    objects_are_listed_one_level_at_a_time,
);

async fn apps_are_created_listed_and_looked_up(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    assert_eq!(rack.get("/apps").await.json(), json!([]));
    let created = rack.post("/apps", "generation=2&name=myapp").await.json();
    let expected = json!({
        "generation": "2", "locked": false, "name": "myapp", "release": "", "status": "running", "parameters": null,
    });
    assert_eq!(created, expected);
    assert_eq!(rack.get("/apps/myapp").await.json(), expected);
    rack.create("another").await;
    rack.create("zebra").await;
    let names: Vec<_> = rack
        .get("/apps")
        .await
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|app| app["name"].clone())
        .collect();
    assert_eq!(names, ["another", "myapp", "zebra"]);
    assert_eq!(
        rack.get("/apps/myapp/budget").await.json(),
        json!({ "config": null, "state": null })
    );
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let refusals = [
        ("name=myapp", 409, "app already exists: myapp"),
        ("", 400, "app name must not be empty"),
        ("name=staging", 400, "App name cannot be same as Rack name"),
        ("name=rack", 400, "app name is reserved"),
        ("name=system", 400, "app name is reserved"),
        (
            "name=MyApp",
            400,
            "App name cannot contain Uppercase characters",
        ),
        (
            "name=my.app",
            400,
            "App name can only contain lowercase letters, numbers, hyphens and underscores",
        ),
        (
            "name=..%2F..%2Fetc",
            400,
            "App name can only contain lowercase letters, numbers, hyphens and underscores",
        ),
        (
            "name=-app",
            400,
            "App name must start with a letter and end with a letter or number",
        ),
        ("name=other&generation=9", 400, "unknown generation"),
        (
            "name=other&timeout=abc",
            400,
            "strconv.Atoi: parsing \"abc\": invalid syntax",
        ),
        (
            "name=other&generation=1",
            400,
            "generation 1 apps are not supported: write a convox.yml and create a generation 2 app",
        ),
    ];
    for (form, status, text) in refusals {
        rack.post("/apps", form).await.fails(status, text);
    }
    assert_eq!(
        rack.get("/apps").await.json().as_array().map(Vec::len),
        Some(1)
    );
}

async fn every_route_says_when_there_is_no_app(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    for (method, target) in [
        ("GET", "/apps/nope"),
        ("GET", "/apps/nope?settled=1s"),
        ("PUT", "/apps/nope"),
        ("DELETE", "/apps/nope"),
        ("POST", "/apps/nope/cancel"),
        ("GET", "/apps/nope/budget"),
        ("GET", "/apps/nope/objects"),
        ("POST", "/apps/nope/objects/"),
        ("POST", "/apps/nope/objects/x"),
        ("GET", "/apps/nope/objects/x"),
        ("DELETE", "/apps/nope/objects/x"),
        ("GET", "/apps/nope/builds"),
        ("POST", "/apps/nope/builds?url=object://nope/x"),
        ("GET", "/apps/nope/builds/BAAAAAAAAAA"),
        ("GET", "/apps/nope/builds/BAAAAAAAAAA.tgz"),
        ("POST", "/apps/nope/builds/import"),
        ("GET", "/apps/nope/releases"),
        ("POST", "/apps/nope/releases"),
        ("GET", "/apps/nope/releases/RAAAAAAAAAA"),
        ("POST", "/apps/nope/releases/RAAAAAAAAAA/promote"),
        ("GET", "/apps/nope/processes"),
        ("GET", "/apps/nope/processes/abc"),
        ("DELETE", "/apps/nope/processes/abc"),
        ("GET", "/apps/nope/services"),
        ("PUT", "/apps/nope/services/web"),
        ("POST", "/apps/nope/services/web/processes"),
        ("POST", "/apps/nope/services/web/restart"),
        ("GET", "/apps/nope/resources"),
        ("GET", "/apps/nope/resources/database"),
    ] {
        let answer = rack.send(method, target, &[], b"").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "app not found: nope\n"),
            "{method} {target}"
        );
    }
    for target in [
        "/apps/nope/logs",
        "/apps/nope/builds/BAAAAAAAAAA/logs",
        "/apps/nope/processes/abc/logs",
        "/apps/nope/services/web/logs",
    ] {
        let stream = rack.stream(target, &[]).await;
        assert_eq!(
            (stream.text().as_str(), stream.ended),
            ("ERROR: app not found: nope\n", true),
            "{target}"
        );
    }
    let (status, output) = rack.exec("nope", "abc", "true", b"").await;
    assert_eq!(
        (status, output.as_slice()),
        (1, b"ERROR: app not found: nope\n".as_slice())
    );
}

async fn parameters_merge_and_locks_protect(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    // Encoded twice: a form whose value is a form.
    rack.put(
        "/apps/myapp",
        "lock=true&parameters=Bar%3Da%2526b%26Foo%3D1",
    )
    .await
    .ok();
    rack.put("/apps/myapp", "parameters=Foo%3D2").await.ok();
    let app = rack.get("/apps/myapp").await.json();
    assert_eq!(app["parameters"], json!({ "Bar": "a&b", "Foo": "2" }));
    assert_eq!(app["locked"], true);
    rack.delete("/apps/myapp")
        .await
        .fails(409, "app is locked: myapp");
    assert_eq!(rack.get("/apps/myapp").await.json()["status"], "running");
    rack.put("/apps/myapp", "lock=false").await.ok();
    rack.delete("/apps/myapp").await.ok();
    rack.get("/apps/myapp")
        .await
        .fails(404, "app not found: myapp");
    rack.post("/apps/myapp/cancel", "")
        .await
        .fails(404, "app not found: myapp");
}

async fn a_cancelled_promote_leaves_the_old_release(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let active = rack.deploy("myapp").await;
    // Serves nobody, on either engine.
    let dockerfile = "FROM busybox:1.36\nCOPY . .\nCMD [\"sleep\", \"3600\"]\n";
    // Time enough to cancel it on the slowest machine.
    let manifest =
        super::flow::MANIFEST.replace("    health:\n", "    health:\n      grace: 600\n");
    let sick = [
        ("convox.yml", manifest.as_str()),
        ("Dockerfile", dockerfile),
        (".twinrack-faults", "never-healthy\n"),
    ];
    let next = rack.release("myapp", &sick).await;
    rack.post(&format!("/apps/myapp/releases/{next}/promote"), "")
        .await
        .ok();
    assert_eq!(rack.get("/apps/myapp").await.json()["status"], "updating");
    rack.post("/apps/myapp/cancel", "").await.ok();
    let app = rack.settled("myapp").await;
    assert_eq!(app["release"], json!(active));
    rack.post("/apps/myapp/cancel", "")
        .await
        .fails(403, "app is not updating");
    let release = rack
        .get(&format!("/apps/myapp/releases/{next}"))
        .await
        .json();
    assert_eq!(release["reason"], "the promote was cancelled");
    let log = rack.log("myapp").await;
    assert!(
        log.contains(&format!(
            "release {next} was rolled back: the promote was cancelled"
        )),
        "{log}"
    );
    until("only the old release to run", async || {
        super::releases::running(&rack, "myapp").await == [active.clone()]
    })
    .await;
}

async fn nothing_to_cancel_is_said(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.post("/apps/myapp/cancel", "")
        .await
        .fails(403, "app is not updating");
}

async fn a_deleted_app_leaves_nothing_and_its_neighbour_everything(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let production = world.rack("production").await;
    let files = [
        (
            "convox.yml",
            "resources:\n  database:\n    type: redis\nservices:\n  web:\n    build: .\n    port: 3000\n    drain: 1\n    resources: [database]\n    volumes: [data:/data]\n",
        ),
        PLAIN[1],
    ];
    for (client, app) in [(&rack, "myapp"), (&rack, "other"), (&production, "myapp")] {
        client.create(app).await;
        let release = client.release(app, &files).await;
        client.promote(app, &release).await;
        client
            .upload(&format!("/apps/{app}/objects/kept"), b"kept")
            .await
            .json();
    }
    let volumes = async || {
        let mut volumes = world.volumes().await;
        volumes.retain(|name| name.contains("-myapp-"));
        volumes
    };
    let of_app = volumes().await;
    assert!(
        of_app.len() >= 4,
        "a volume of the service and one of the resource, on both racks: {of_app:?}"
    );

    rack.delete("/apps/myapp").await.ok();
    rack.get("/apps/myapp")
        .await
        .fails(404, "app not found: myapp");
    assert_eq!(world.tags("staging", "myapp").await, Vec::<String>::new());
    assert_eq!(volumes().await.len(), of_app.len() / 2);
    let left: Vec<_> = files_below(&world.rack_directory("staging"))
        .into_iter()
        .filter(|path| path.contains("myapp") || path.starts_with("tmp/"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    let processes = rack.get("/system/processes?all=true").await.json();
    assert!(
        processes
            .as_array()
            .expect("a list")
            .iter()
            .all(|process| process["app"] != "myapp"),
        "{processes}"
    );

    for (client, rack, app) in [
        (&rack, "staging", "other"),
        (&production, "production", "myapp"),
    ] {
        assert_eq!(world.tags(rack, app).await.len(), 1);
        assert_eq!(
            client.get(&format!("/apps/{app}/objects/kept")).await.body,
            b"kept"
        );
        let processes = client.get(&format!("/apps/{app}/processes")).await.json();
        assert_eq!(processes[0]["status"], "running");
        assert!(client.log(app).await.contains("is active"));
    }
    // The name is free, and nothing of the old app comes back with it.
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/releases").await.json(), json!([]));
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));
    assert_eq!(rack.log("myapp").await, "");
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_half_deleted_app() {
    use tokio::io::AsyncWriteExt as _;

    let (world, rack) = World::with_rack().await;
    for round in 0..6 {
        let name = format!("app{round}");
        rack.deploy(&name).await;
        let mut stream = tokio::net::TcpStream::connect(world.address)
            .await
            .expect("a connection");
        let head = format!(
            "DELETE /apps/{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: 0\r\n\r\n",
            rack.headers[0].1
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Gone again at some moment of the work.
        tokio::time::sleep(std::time::Duration::from_millis(round)).await;
        drop(stream);
        until("the app to be gone, or never touched", async || {
            let answer = rack.get(&format!("/apps/{name}")).await;
            answer.status == 404 || answer.json()["status"] == "running"
        })
        .await;
    }
}

async fn objects_come_back_byte_for_byte(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let bytes: Vec<u8> = (0..3 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let stored = rack
        .upload("/apps/myapp/objects/tmp/a.tgz?", &bytes)
        .await
        .json();
    assert_eq!(stored, json!({ "Url": "object://myapp/tmp/a.tgz" }));
    // The path of the URL, leading slash and all, is the same key.
    for target in [
        "/apps/myapp/objects/tmp/a.tgz",
        "/apps/myapp/objects//tmp/a.tgz",
        "/apps/myapp/objects//tmp//a.tgz",
    ] {
        let answer = rack.get(target).await;
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (200, None),
            "{target}"
        );
        assert!(answer.body == bytes, "{target}");
    }
    // A part of it, as a download asks for that broke off.
    let target = "/apps/myapp/objects/tmp/a.tgz";
    let whole = rack.get(target).await;
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let tag = whole.header("etag").expect("a tag").to_owned();
    let from = bytes.len() - 1000;
    let part = rack
        .with("Range", &format!("bytes={from}-"))
        .with("If-Range", &tag)
        .get(target)
        .await;
    assert_eq!(
        (part.status, part.header("etag")),
        (206, Some(tag.as_str()))
    );
    let span = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    assert_eq!(part.header("content-range"), Some(span.as_str()));
    assert!(part.body == bytes[from..]);
    let beyond = format!("bytes={}-", bytes.len());
    assert_eq!(rack.with("Range", &beyond).get(target).await.status, 416);
    // Of another object the whole is sent.
    rack.upload(target, b"other").await.json();
    let other = rack
        .with("Range", "bytes=2-")
        .with("If-Range", &tag)
        .get(target)
        .await;
    assert_eq!((other.status, &other.body[..]), (200, &b"other"[..]));
    let chunked = rack
        .send_chunked("POST", "/apps/myapp/objects/chunked", &[b"ab", b"c"])
        .await;
    assert_eq!(chunked.json()["Url"], "object://myapp/chunked");
    assert_eq!(rack.get("/apps/myapp/objects/chunked").await.body, b"abc");
    rack.upload("/apps/myapp/objects/chunked", b"again")
        .await
        .json();
    assert_eq!(
        rack.get("/apps/myapp/objects/chunked").await.body,
        b"again",
        "the last one counts"
    );
    rack.upload("/apps/myapp/objects/empty", b"").await.json();
    assert_eq!(rack.get("/apps/myapp/objects/empty").await.body, b"");

    let unnamed = rack.upload("/apps/myapp/objects/?", b"x").await.json();
    let url = unnamed["Url"].as_str().expect("a url");
    let digits = url
        .strip_prefix("object://myapp/tmp/")
        .expect("a generated key");
    assert!(
        digits.len() == 30 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{url}"
    );

    assert_eq!(
        rack.send("HEAD", "/apps/myapp/objects/chunked", &[], b"")
            .await
            .status,
        200
    );
    assert_eq!(
        rack.send("HEAD", "/apps/myapp/objects/nope", &[], b"")
            .await
            .status,
        404
    );
    assert_eq!(
        files_below(&world.rack_directory("staging").join("tmp")),
        Vec::<String>::new()
    );
}

async fn objects_are_listed_one_level_at_a_time(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    for key in ["b", "a", "tmp/two", "tmp/one", "tmp/deep/three"] {
        rack.upload(&format!("/apps/myapp/objects/{key}"), b"x")
            .await
            .json();
    }
    let list = async |prefix: &str| {
        rack.get(&format!("/apps/myapp/objects?prefix={prefix}"))
            .await
            .json()
    };
    assert_eq!(
        rack.get("/apps/myapp/objects").await.json(),
        json!(["a", "b", "tmp/"])
    );
    assert_eq!(
        list("tmp/").await,
        json!(["tmp/deep/", "tmp/one", "tmp/two"])
    );
    assert_eq!(list("tmp/o").await, json!(["tmp/one"]));
    assert_eq!(list("nope/").await, json!([]));
    assert_eq!(list("a/").await, json!([]));
    rack.get("/apps/myapp/objects?prefix=../")
        .await
        .fails(400, "invalid prefix");
}

#[tokio::test]
async fn object_keys_stay_inside() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    rack.create("other").await;
    rack.upload("/apps/other/objects/secret", b"secret")
        .await
        .json();
    for key in [
        "..",
        "../other/secret",
        "a/../../other/secret",
        "%2e%2e/other/secret",
        "..%2Fother%2Fsecret",
        "a/./b",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = rack
                .send(method, &format!("/apps/myapp/objects/{key}"), &[], b"x")
                .await;
            answer.fails(400, "invalid object key");
        }
    }
    rack.upload("/apps/myapp/objects/a%00b", b"x")
        .await
        .fails(400, "the path of the request is not text");
    assert_eq!(rack.get("/apps/other/objects/secret").await.body, b"secret");
    rack.get("/apps/myapp/objects/nope")
        .await
        .fails(404, "object not found: nope");
    rack.delete("/apps/myapp/objects/nope")
        .await
        .fails(404, "object not found: nope");
    rack.upload("/apps/myapp/objects/dir/file", b"x")
        .await
        .json();
    rack.get("/apps/myapp/objects/dir")
        .await
        .fails(404, "object not found: dir");
    rack.get("/apps/myapp/objects/dir/file/below")
        .await
        .fails(404, "object not found: dir/file/below");
    rack.delete("/apps/myapp/objects/dir/file/below")
        .await
        .fails(404, "object not found: dir/file/below");
    rack.delete("/apps/myapp/objects/dir")
        .await
        .fails(404, "object not found: dir");
    // A name cannot be a file and a directory.
    for key in ["dir", "dir/file/below"] {
        let answer = rack
            .upload(&format!("/apps/myapp/objects/{key}"), b"x")
            .await;
        assert_eq!(answer.status, 409, "{}", answer.text());
    }
    rack.delete("/apps/myapp/objects/dir/file").await.ok();
    rack.get("/apps/myapp/objects/dir/file")
        .await
        .fails(404, "object not found: dir/file");
    assert_eq!(
        files_below(&world.rack_directory("staging").join("tmp")),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt as _;

    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let scratch = world.rack_directory("staging").join("tmp");
    for target in ["/apps/myapp/objects/x", "/apps/myapp/builds/import"] {
        let mut stream = tokio::net::TcpStream::connect(world.address)
            .await
            .expect("a connection");
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: 1000\r\n\r\n",
            rack.headers[0].1
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // The beginning of a gzip file.
        stream.write_all(b"\x1f\x8b\x08\x00").await.expect("sent");
        until("the upload to begin", async || {
            !files_below(&scratch).is_empty()
        })
        .await;
        drop(stream);
        until("the half to be gone", async || {
            files_below(&scratch).is_empty()
        })
        .await;
    }
    rack.get("/apps/myapp/objects/x")
        .await
        .fails(404, "object not found: x");
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));
}
