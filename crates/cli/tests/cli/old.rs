//! Racks of 2018 and before, which take other calls for some things.

use crate::support::{Env, FakeRack, Reply, Request};

fn rack(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /system" => Reply::Json(r#"{"name":"r","version":"20180228170419"}"#),
        "GET /apps/myapp/formation" => Reply::Json(
            r#"[{"balancer":"web.example","name":"web","count":2,"memory":512,"cpu":256,"ports":[80,443]}]"#,
        ),
        "POST /apps/myapp/formation/web" | "DELETE /registries?server=quay.io" => {
            Reply::Status(200, "ok\n")
        }
        "GET /apps/myapp/processes" => Reply::Json(r#"[{"id":"1","name":"web"}]"#),
        "GET /apps/myapp/releases?limit=1" => Reply::Json(r#"[{"id":"RAAAAAAAAAA"}]"#),
        "GET /apps/myapp/releases/RAAAAAAAAAA" => {
            Reply::Json(r#"{"id":"RAAAAAAAAAA","env":"A=1"}"#)
        }
        "GET /apps/myapp/releases/RBBBBBBBBBB" => Reply::Json(r#"{"id":"RBBBBBBBBBB"}"#),
        "POST /apps/myapp/environment" => Reply::Headed("Release-Id: RBBBBBBBBBB\r\n"),
        "POST /apps/myapp/builds" => Reply::Json(r#"{"id":"BAAAAAAAAAA","status":"running"}"#),
        "GET /apps/myapp/builds/BAAAAAAAAAA" => {
            Reply::Json(r#"{"id":"BAAAAAAAAAA","status":"complete","release":"RCCCCCCCCCC"}"#)
        }
        "GET /apps/myapp/builds/BAAAAAAAAAA/logs" => Reply::Frames(vec!["built\n".into()]),
        _ => Reply::Status(404, "404 page not found\n"),
    }
}

#[test]
fn services_are_the_formation() {
    let rack = FakeRack::foreign(rack);
    let env = Env::with(&rack);
    env.convox("services")
        .prints("SERVICE  DOMAIN       PORTS\nweb      web.example  80 443\n");
    env.convox("scale")
        .prints("SERVICE  DESIRED  RUNNING  CPU  MEMORY\nweb      2        1        256  512\n");
    env.convox("scale web --count 3 --memory 256")
        .prints("Scaling web... OK\n");
    assert_eq!(
        rack.request("POST /apps/myapp/formation/web").body,
        b"count=3&memory=256"
    );
}

#[test]
fn an_environment_is_a_body_and_its_release_a_header() {
    let rack = FakeRack::foreign(rack);
    Env::with(&rack)
        .convox("env set B=2")
        .prints("Setting B... OK\nRelease: RBBBBBBBBBB\n");
    assert_eq!(
        rack.request("POST /apps/myapp/environment").body,
        b"A=1\nB=2"
    );
}

#[test]
fn logins_are_removed_by_a_query() {
    let rack = FakeRack::foreign(rack);
    Env::with(&rack)
        .convox("registries remove quay.io")
        .prints("Removing registry... OK\n");
    rack.request("DELETE /registries?server=quay.io");
}

#[test]
fn a_source_is_a_file_in_a_form() {
    let rack = FakeRack::foreign(rack);
    let env = Env::with(&rack);
    env.put("work/myapp/convox.yml", "services: {}\n");
    env.convox("build --no-cache -m other.yml -d why").prints(
        "Packaging source... OK\nUploading source... OK\nbuilt\nBuild:   BAAAAAAAAAA\nRelease: RCCCCCCCCCC\n",
    );
    let sent = rack.request("POST /apps/myapp/builds");
    let kind = &sent.headers["content-type"];
    let boundary = kind
        .strip_prefix("multipart/form-data; boundary=")
        .unwrap_or_else(|| panic!("{kind}"));
    assert_eq!(sent.headers["content-length"], sent.body.len().to_string());
    let text = String::from_utf8_lossy(&sent.body).into_owned();
    let parts: Vec<_> = text.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 6, "{parts:?}");
    for (part, name, value) in [
        (1, "cache", "false"),
        (2, "config", "other.yml"),
        (3, "description", "why"),
    ] {
        assert_eq!(
            parts[part],
            format!("\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        );
    }
    assert!(parts[4].contains("name=\"source\"; filename=\"source.tgz\""));
    assert_eq!(parts[5], "--\r\n");
    // The archive itself is whole.
    let begin = sent
        .body
        .windows(2)
        .position(|bytes| bytes == [0x1f, 0x8b])
        .expect("gzip");
    let end = sent.body.len() - format!("\r\n--{boundary}--\r\n").len();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&sent.body[begin..end]));
    let names: Vec<_> = archive
        .entries()
        .expect("an archive")
        .map(|entry| {
            entry
                .expect("an entry")
                .path()
                .expect("a path")
                .into_owned()
        })
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("convox.yml")),
        "{names:?}"
    );
}

#[test]
fn a_rack_of_today_that_knows_no_route_is_believed() {
    let rack = FakeRack::foreign(|request| match request.line.as_str() {
        "GET /system" => Reply::Json(r#"{"name":"r","version":"20260418101514"}"#),
        _ => Reply::Status(404, "app not found\n"),
    });
    Env::with(&rack)
        .convox("services")
        .fails("ERROR: app not found\nhint: `convox apps` lists what there is\n");
    assert!(!rack.lines().iter().any(|line| line.contains("formation")));
}
