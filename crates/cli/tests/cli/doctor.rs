//! `convox doctor`: what is well, what is not, and what helps.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::support::{Env, FakeRack, Reply, Run};

/// An engine that knows one image.
fn engine(env: &mut Env, api: &'static str) {
    let socket = env.path("docker.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let (status, body) = if request.starts_with("GET /version ") {
                let body = format!(r#"{{"Version":"20.10.24","ApiVersion":"{api}"}}"#);
                (200, body)
            } else if request.starts_with("GET /images/busybox:1.36/json ") {
                (200, "{}".to_owned())
            } else {
                (404, r#"{"message":"No such image"}"#.to_owned())
            };
            // The client may have left already; the test looks at what it printed.
            let _ = write!(stream, "HTTP/1.0 {status} X\r\n\r\n{body}");
        }
    });
    env.set("DOCKER_HOST", &format!("unix://{}", socket.display()));
}

/// The lines of a check.
fn lines<'a>(run: &'a Run, check: &str) -> Vec<&'a str> {
    let mut lines = run.stdout.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.split_whitespace().nth(1) == Some(check) {
            found.push(line.trim());
            found.extend(lines.next_if(|next| next.trim_start().starts_with("fix: ")));
        }
    }
    found
}

#[test]
fn a_machine_that_is_well_is_told_so() {
    let mut env = Env::new();
    engine(&mut env, "1.41");
    env.put(
        "work/myapp/convox.yml",
        "services: {web: {image: busybox:1.36}, job: {image: other:1}}\n",
    );
    let run = env.convox("doctor");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0), "{}", run.stdout);
    let engine = lines(&run, "engine");
    assert!(
        engine[0].starts_with("ok       engine    Docker 20.10.24 (API 1.41) at unix://"),
        "{engine:?}"
    );
    assert_eq!(
        lines(&run, "images"),
        [
            "ok       images    busybox:1.36 is there",
            "note     images    other:1 is not there",
            "                   fix: it is pulled when it is needed; `docker pull other:1` does it now",
        ]
    );
    assert!(lines(&run, "server")[0].contains("none runs on"), "{run:?}");
    assert!(lines(&run, "racks")[0].contains("none is known"), "{run:?}");
    assert!(!lines(&run, "disk").is_empty() && !lines(&run, "names").is_empty());
}

#[test]
fn what_is_broken_is_told_with_a_fix() {
    let mut env = Env::new();
    env.set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    env.put("home/.config/convox/auth", "not json");
    env.set("CONVOX_RACK", "x");
    // Something that is no server has its port.
    let other = FakeRack::start_on(&env.server_host(), |_| Reply::Status(200, "hello"));
    let run = env.convox("doctor");
    assert_eq!((run.stderr.as_str(), run.status), ("", 1), "{}", run.stdout);
    assert!(
        lines(&run, "engine")[0]
            .starts_with("broken   engine    nothing answers at unix:///nowhere")
    );
    let settings = lines(&run, "settings");
    assert!(
        settings
            .iter()
            .any(|line| line.starts_with("broken   settings  settings file ")),
        "{settings:?}"
    );
    assert!(
        settings.contains(&"note     settings  CONVOX_RACK is set and wins over the settings"),
        "{settings:?}"
    );
    let taken = format!(
        "broken   server    {} is taken by another program",
        other.host
    );
    assert_eq!(lines(&run, "server")[0], taken);
    for line in run
        .stdout
        .lines()
        .filter(|line| line.starts_with("broken") || line.starts_with("warning"))
    {
        let check = line.split_whitespace().nth(1).expect("a check");
        assert!(
            lines(&run, check).iter().any(|line| line.contains("fix: ")),
            "{line}"
        );
    }
}

#[test]
fn findings_are_json_on_request() {
    let mut env = Env::new();
    engine(&mut env, "1.24");
    env.put("home/.config/convox/auth", "{}");
    let auth = env.path("home/.config/convox/auth");
    std::fs::set_permissions(&auth, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let run = env.convox("doctor --json");
    assert_eq!(run.status, 0, "{run:?}");
    let found: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
    let of = |check: &str| {
        found
            .iter()
            .find(|finding| finding["check"] == check)
            .unwrap_or_else(|| panic!("{check} in {found:?}"))
    };
    assert_eq!(of("engine")["state"], "warning");
    assert!(of("engine")["fix"].is_string());
    assert_eq!(of("settings")["state"], "warning");
    assert_eq!(
        of("settings")["fix"],
        format!("chmod 600 {}", auth.display())
    );
}

#[test]
fn a_server_is_asked_for_its_version() {
    let mut env = Env::new();
    engine(&mut env, "1.41");
    let host = env.server_host();
    let _server = FakeRack::start_on(&host, |request| match request.line.as_str() {
        "GET /check" => Reply::Status(200, "ok"),
        "GET /auth" if request.headers.contains_key("authorization") => Reply::Status(200, "OK"),
        "GET /auth" => Reply::Status(401, "unauthorized\n"),
        "GET /racks" => Reply::Json(
            r#"[{"name":"staging","organization":{"name":"personal"},"status":"running"},
                {"name":"a-tmp-01234","organization":{"name":"personal"},"status":"running"}]"#,
        ),
        _ => Reply::Status(404, "not part of this test\n"),
    });
    env.put(
        "home/.config/convox/servers",
        format!(r#"{{"{host}": "/nowhere"}}"#),
    );
    let run = env.convox("doctor");
    assert!(
        lines(&run, "server")[0].ends_with("does not take the stored password"),
        "{run:?}"
    );
    assert_eq!(run.status, 1);
    env.put(
        "home/.config/convox/auth",
        format!(r#"{{"{host}": "secret"}}"#),
    );
    let run = env.convox("doctor");
    assert_eq!(
        lines(&run, "server")[0],
        format!(
            "warning  server    {host} has version test, this client {}",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert!(
        lines(&run, "racks")
            .iter()
            .any(|line| line.ends_with("`convox rack uninstall a-tmp-01234 --force` removes it")),
        "{run:?}"
    );
    assert!(!run.stdout.contains("secret"));
}
