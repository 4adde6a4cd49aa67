//! List and get routes of a rack with many apps and releases, beside `GET /check`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use end_to_end::World;
use serde_json::Value;

use super::{Row, milliseconds};

/// Apps of the rack.
const APPS: usize = 200;
/// Releases of each app.
const RELEASES: usize = 50;
/// Requests per route.
const REQUESTS: usize = 500;
/// What every route may take.
const TARGET: Duration = Duration::from_millis(5);
/// The rack.
const RACK: &str = "bench";

/// A connection that is used again and again, as a client's is.
struct Connection {
    stream: BufReader<TcpStream>,
    headers: String,
}

impl Connection {
    fn open(world: &World) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", world.port())).expect("the server listens");
        stream.set_nodelay(true).expect("an option");
        let authorization = world.authorization();
        Self {
            stream: BufReader::new(stream),
            headers: format!(
                "Host: localhost\r\nAuthorization: {authorization}\r\nRack: {RACK}\r\n"
            ),
        }
    }

    /// Sends a request and reads the whole answer, which must be a good one.
    fn ask(&mut self, method: &str, target: &str, body: &str) -> Vec<u8> {
        let mut request = format!("{method} {target} HTTP/1.1\r\n{}", self.headers);
        write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("memory");
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).expect("sent");
        let mut line = String::new();
        let mut length = 0;
        let mut status = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("a head");
            let text = line.trim_end();
            if status.is_empty() {
                text.clone_into(&mut status);
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            } else if text.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).expect("a body");
        assert!(
            status.starts_with("HTTP/1.1 200"),
            "{method} {target}: {status}: {}",
            String::from_utf8_lossy(&answer)
        );
        answer
    }

    fn json(&mut self, method: &str, target: &str, body: &str) -> Value {
        serde_json::from_slice(&self.ask(method, target, body)).expect("JSON")
    }
}

/// Apps that run, with releases.
fn seed(world: &World) {
    let threads = 4;
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let mut connection = Connection::open(world);
                for app in (first..APPS).step_by(threads) {
                    seed_app(&mut connection, &format!("app{app:03}"));
                }
            });
        }
    });
}

fn seed_app(connection: &mut Connection, app: &str) {
    connection.ask("POST", "/apps", &format!("name={app}"));
    for number in 1..RELEASES {
        let form = format!("env=GREETING%3Dhello%0ANUMBER%3D{number}");
        connection.ask("POST", &format!("/apps/{app}/releases"), &form);
    }
}

/// The highest of most durations.
fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * part) as usize]
}

/// A row for each route.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    world.install(&[RACK]);
    seed(world);
    // One app has everything there is, made the usual way.
    let source = world.example("tiny", "bench");
    let words = ["deploy", "-a", "app100", "-r", RACK];
    world.convox_in(&source, &words).ok();
    let mut connection = Connection::open(world);
    let app = connection.json("GET", "/apps/app100", "");
    let release = app["release"].as_str().expect("a release").to_owned();
    let build = connection.json("GET", "/apps/app100/builds?limit=1", "");
    let build = build[0]["id"].as_str().expect("a build").to_owned();
    let process = connection.json("GET", "/apps/app100/processes", "");
    let process = process[0]["id"].as_str().expect("a process").to_owned();

    let (_, floor) = measure(&mut connection, "/check");
    let targets = [
        "/apps".to_owned(),
        "/apps/app100".into(),
        "/apps/app100/releases".into(),
        "/apps/app100/releases?limit=50".into(),
        format!("/apps/app100/releases/{release}"),
        "/apps/app100/builds".into(),
        format!("/apps/app100/builds/{build}"),
        "/apps/app100/processes".into(),
        format!("/apps/app100/processes/{process}"),
        "/apps/app100/services".into(),
        "/apps/app100/resources".into(),
        "/apps/app100/objects".into(),
        "/system".into(),
        "/system/processes?all=true".into(),
        "/system/releases".into(),
        "/racks".into(),
    ];
    targets
        .iter()
        .map(|target| {
            let (middle, most) = measure(&mut connection, target);
            let shown = target.replace(&release, "ID").replace(&build, "ID");
            Row {
                what: format!(
                    "GET {}, p99 (p50 {})",
                    shown.replace(&process, "ID"),
                    milliseconds(middle)
                ),
                measured: milliseconds(most),
                floor: milliseconds(floor),
                ratio: format!("{:.1}", most.as_secs_f64() / floor.as_secs_f64()),
                target: format!("≤ {}", milliseconds(TARGET)),
                within: most <= TARGET,
            }
        })
        .collect()
}

/// The middle and the 99th percentile.
fn measure(connection: &mut Connection, target: &str) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let start = Instant::now();
            connection.ask("GET", target, "");
            start.elapsed()
        })
        .collect();
    (percentile(&mut times, 0.5), percentile(&mut times, 0.99))
}
