//! Replacing processes while they are asked: a hundred promotes in a row, with `wrk`
//! asking through the router all the time. What counts is that no request fails; how long
//! the longest one waited is said.
//!
//! `wrk` is Debian's package; each of its connections pauses between two requests, so that
//! it asks at a steady rate and leaves the processors to the promotes.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

use end_to_end::World;
use serde_json::Value;

use super::Row;

/// Promotes in a row.
const PROMOTES: usize = 100;
/// Fewest requests in a second, all that time.
const RATE: f64 = 500.0;
/// Connections, and the milliseconds each pauses between two requests: half as many again
/// as are wanted.
const CONNECTIONS: usize = 15;
const PAUSE: usize = 20;

/// Every process serves one page, and does not cost more than any other server does.
const DOCKERFILE: &str = "FROM debian:bookworm-slim\n\
    RUN apt-get update && apt-get install -y --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/* /var/www/html/*\n\
    COPY nginx.conf /etc/nginx/nginx.conf\n\
    CMD [\"nginx\", \"-g\", \"daemon off;\"]\n";
const CONFIGURATION: &str = "worker_processes 1;\nerror_log /dev/stderr;\n\
    events { worker_connections 256; }\n\
    http {\n  access_log off;\n  keepalive_requests 1000000;\n\
    \x20 server { listen 3000; location / { return 200 \"served\\n\"; } }\n}\n";
const MANIFEST: &str = "services:\n  web:\n    build: .\n    port: 3000\n    health:\n      \
    interval: 1\n      timeout: 1\n    drain: 5\n    termination:\n      grace: 5\n";

/// What it does is decided by its script; what it has seen is printed as JSON.
fn script() -> String {
    format!(
        "function delay() return {PAUSE} end\n\
         function done(summary, latency)\n\
         \x20 local errors = summary.errors\n\
         \x20 io.write(string.format('{{\"requests\": %d, \"microseconds\": %d, \"failed\": %d, \"longest\": %d, \
         \"p99\": %d}}\\n', summary.requests, summary.duration, errors.connect + errors.read + errors.write + \
         errors.status + errors.timeout, latency.max, latency:percentile(99)))\n\
         end\n"
    )
}

/// All rows.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    world.install(&["staging"]);
    let app = world.path().join("work/steady");
    fs::create_dir_all(&app).expect("a directory");
    for (name, text) in [
        ("Dockerfile", DOCKERFILE),
        ("nginx.conf", CONFIGURATION),
        ("convox.yml", MANIFEST),
    ] {
        fs::write(app.join(name), text).expect("a file");
    }
    world
        .convox_in(&app, &["apps", "create", "steady", "-r", "staging"])
        .ok();
    world
        .convox_in(&app, &["deploy", "-a", "steady", "-r", "staging"])
        .ok();
    let host = "web.steady.staging.localhost";
    world.wait_for_page(host);

    let lua = world.path().join("steady.lua");
    fs::write(&lua, script()).expect("a script");
    let mut asking = Command::new("wrk")
        .args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", "1h"])
        .args(["--timeout", "30s", "-H"])
        .arg(format!("Host: {host}"))
        .arg("-s")
        .arg(&lua)
        .arg(format!("http://127.0.0.1:{}/", world.port()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("wrk, of Debian's package of that name");
    for _ in 0..PROMOTES {
        world
            .convox(&["releases", "promote", "-a", "steady", "-r", "staging"])
            .ok();
    }
    // It says what it has seen when it is interrupted.
    super::quiet("kill", &["-INT", &asking.id().to_string()]);
    let mut said = String::new();
    let mut output = asking.stdout.take().expect("piped");
    output.read_to_string(&mut said).expect("what it has seen");
    asking.wait().expect("its end");
    let seen = said
        .lines()
        .find_map(|line| serde_json::from_str::<Value>(line).ok())
        .unwrap_or_else(|| panic!("wrk says: {said}"));
    let number = |name: &str| seen[name].as_f64().expect("a number");
    let rate = number("requests") / number("microseconds") * 1e6;
    let row = |what: &str, measured: String, target: String, within: bool| Row {
        what: what.to_owned(),
        measured,
        floor: "-".into(),
        ratio: "-".into(),
        target,
        within,
    };
    vec![
        row(
            &format!("requests that failed in {PROMOTES} promotes"),
            format!("{} of {}", number("failed"), number("requests")),
            "none".into(),
            number("failed") < 1.0,
        ),
        row(
            "requests a second, meanwhile",
            format!("{rate:.0}"),
            format!("≥ {RATE}"),
            rate >= RATE,
        ),
        row(
            "99 of 100 requests, meanwhile",
            format!("{:.1} ms", number("p99") / 1000.0),
            "-".into(),
            true,
        ),
        row(
            "the longest stall of a request, meanwhile",
            format!("{:.1} ms", number("longest") / 1000.0),
            "-".into(),
            true,
        ),
    ]
}
