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
        "GET /apps/myapp" => Reply::Json(r#"{"name":"myapp","status":"running"}"#),
        "GET /apps/myapp/parameters" => Reply::Json(r#"{"B":"2","A":"1"}"#),
        "POST /apps/myapp/parameters" | "POST /apps/r/parameters" => Reply::Status(200, "ok\n"),
        "POST /certificates" => Reply::Json(r#"{"id":"cert-1"}"#),
        "POST /resources" | "PUT /resources/hook" => Reply::Json(r#"{"name":"hook"}"#),
        "POST /apps/myapp/processes/web/run" => Reply::Json(r#"{"success":true,"pid":"0123"}"#),
        "GET /apps/myapp/processes/web/run" => Reply::Frames(vec![
            "said\n".into(),
            "F1E49A85-0AD7-4AEF-A618-C249C6E6568D:3\n".into(),
        ]),
        "GET /instances/i-0/ssh" => {
            Reply::Frames(vec!["F1E49A85-0AD7-4AEF-A618-C249C6E6568D:4\n".into()])
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
fn parameters_are_fields_of_an_app_the_rack_included() {
    let rack = FakeRack::foreign(rack);
    let env = Env::with(&rack);
    env.convox("apps params").prints("A  1\nB  2\n");
    env.convox("apps params set C=3 D=x=y")
        .prints("Updating parameters... OK\n");
    assert_eq!(
        rack.request("POST /apps/myapp/parameters").body,
        b"C=3&D=x%3Dy"
    );
    env.convox("rack params set E=5")
        .prints("Updating parameters... OK\n");
    assert_eq!(rack.request("POST /apps/r/parameters").body, b"E=5");
    assert!(!rack.lines().iter().any(|line| line == "PUT /system"));
}

#[test]
fn certificates_and_resources_have_fields_of_other_names() {
    let rack = FakeRack::foreign(rack);
    let env = Env::with(&rack);
    env.put("work/myapp/pub.pem", "PUB");
    env.put("work/myapp/key.pem", "KEY");
    env.convox("certs import pub.pem key.pem")
        .prints("Importing certificate... OK, cert-1\n");
    assert_eq!(
        rack.request("POST /certificates").body,
        b"private=KEY&public=PUB"
    );
    env.convox("rack resources create webhook --name hook Url=https://x")
        .prints("Creating resource... OK, hook\n");
    assert_eq!(
        rack.request("POST /resources").body,
        b"Url=https%3A%2F%2Fx&name=hook&type=webhook"
    );
    env.convox("rack resources update hook Url=https://y")
        .prints("Updating resource... OK\n");
    assert_eq!(
        rack.request("PUT /resources/hook").body,
        b"Url=https%3A%2F%2Fy"
    );
}

#[test]
fn a_run_is_one_call() {
    let rack = FakeRack::foreign(rack);
    let env = Env::with(&rack);
    let run = env.convox("run web ls --release RAAAAAAAAAA --timeout 60");
    assert_eq!((run.stdout.as_str(), run.status), ("said\n", 3), "{run:?}");
    let asked = rack.request("GET /apps/myapp/processes/web/run");
    assert_eq!(asked.headers["command"], "ls");
    assert_eq!(asked.headers["release"], "RAAAAAAAAAA");
    assert_eq!(asked.headers["timeout"], "60");
    env.convox("run web ls -d")
        .prints("Running detached process... OK, 0123\n");
    assert_eq!(
        rack.request("POST /apps/myapp/processes/web/run").body,
        b"command=ls"
    );
}

#[test]
fn a_shell_is_reached_under_another_name() {
    let rack = FakeRack::foreign(rack);
    let run = Env::with(&rack).convox("instances ssh i-0 true");
    assert_eq!(run.status, 4, "{run:?}");
    let asked = rack.request("GET /instances/i-0/ssh");
    assert_eq!(asked.headers["terminal"], "xterm");
    assert_eq!(asked.headers["command"], "true");
}

#[test]
fn a_rack_without_resources_of_apps_is_to_be_upgraded() {
    let rack = FakeRack::foreign(|request| match request.line.as_str() {
        "GET /system" => Reply::Json(r#"{"name":"r","version":"20190111211123"}"#),
        _ => Reply::Status(404, ""),
    });
    let env = Env::with(&rack);
    for command in ["resources", "resources info db", "resources url db"] {
        env.convox(command)
            .fails("ERROR: command unavailable, please upgrade this rack\n");
    }
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
