//! The router beside nginx, both in front of the same process: requests each second, and how
//! late the slowest of a hundred come at a pace that leaves the machine room.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use end_to_end::{World, wait_until};

use super::Row;

/// How long each round lasts.
const ROUND: &str = "6s";
/// Rounds of which the middle counts; the two take turns.
const ROUNDS: usize = 3;
/// Least part of nginx's requests.
const THROUGHPUT: f64 = 0.7;
/// Most that is added to the slowest of a hundred.
const ADDED: Duration = Duration::from_millis(1);

const MANIFEST: &str = "services:
  web:
    build: .
    port: 3000
    health: {interval: 5}
    termination: {grace: 1}
    drain: 1
";
/// What answers is this very program: its libraries are those of the image.
const DOCKERFILE: &str =
    "FROM debian:bookworm-slim\nCOPY answer /\nCMD [\"/answer\", \"answer\"]\n";

/// Answers every request on port 3000, one thread for each connection, without an end.
pub(crate) fn answer() {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\nhello world\n";
    let listener = TcpListener::bind(("0.0.0.0", 3000)).expect("the port");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        std::thread::spawn(move || {
            stream.set_nodelay(true).expect("a setting");
            let mut bytes = [0; 4096];
            let mut length = 0;
            while let Ok(more @ 1..) = stream.read(&mut bytes[length..]) {
                length += more;
                if bytes[..length].ends_with(b"\r\n\r\n") {
                    length = 0;
                    if stream.write_all(ANSWER).is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// nginx with a configuration and a directory of its own.
struct Nginx {
    child: Child,
    plain: u16,
    tls: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers go with the master when that is asked, not killed.
        let id = self.child.id().to_string();
        let asked = Command::new("kill").arg(&id).status();
        if asked.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn start(directory: &Path, upstream: &str) -> Self {
        fs::create_dir_all(directory).expect("a directory");
        let [plain, tls] = [free(), free()];
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "1", "-subj", "/CN=localhost"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(directory)
            .stderr(Stdio::null())
            .status()
            .expect("openssl is installed");
        assert!(made.success(), "a certificate for nginx");
        let configuration = format!(
            "daemon off; pid nginx.pid; error_log error.log warn; worker_processes auto;
events {{ worker_connections 1024; }}
http {{
  access_log access.log;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream process {{ server {upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl;
    ssl_certificate cert.pem; ssl_certificate_key key.pem;
    location / {{
      proxy_pass http://process;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"
        );
        fs::write(directory.join("nginx.conf"), configuration).expect("written");
        let child = Command::new(program("nginx"))
            .arg("-p")
            .arg(directory)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .spawn()
            .expect("nginx is installed");
        wait_until("nginx", || TcpStream::connect(("127.0.0.1", tls)).is_ok());
        Self { child, plain, tls }
    }
}

fn free() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Whether what it takes is installed.
pub(crate) fn possible() -> bool {
    ["/usr/sbin/nginx", "/usr/bin/wrk", "/usr/bin/openssl"]
        .iter()
        .all(|path| Path::new(path).is_file())
}

/// Where a program is that users have not always on their path.
fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: apt-get install nginx-light wrk"))
}

/// What wrk has measured.
#[derive(Clone, Copy)]
struct Load {
    requests: f64,
    late: Duration,
}

/// Asks as fast as it goes, over this many connections that are kept.
fn load(url: &str, connections: usize) -> Load {
    let output = Command::new(program("wrk"))
        .args([
            "-t1",
            "-c",
            &connections.to_string(),
            "-d",
            ROUND,
            "--latency",
        ])
        .args(["-H", "Host: web.bench.staging.localhost", url])
        .output()
        .expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{url}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let word = |line: &str| {
        let line = text
            .lines()
            .find_map(|found| found.trim().strip_prefix(line));
        line.unwrap_or_else(|| panic!("no {line:?} in {text}"))
            .trim()
            .to_owned()
    };
    Load {
        requests: word("Requests/sec:").parse().expect("a number"),
        late: duration(&word("99%")),
    }
}

/// `1.23ms`, `456.00us`, `1.20s`.
fn duration(text: &str) -> Duration {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(word, unit)| Some((text.strip_suffix(word)?, unit)))
        .expect("a unit");
    Duration::from_secs_f64(number.parse::<f64>().expect("a number") * unit)
}

fn middle<T>(mut all: Vec<T>, key: impl Fn(&T) -> f64) -> T {
    all.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = all.len() / 2;
    all.swap_remove(middle)
}

/// Rows for plain and encrypted requests.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    world.install(&["staging"]);
    let app = world.path().join("work/bench");
    fs::create_dir_all(&app).expect("a directory");
    fs::write(app.join("convox.yml"), MANIFEST).expect("written");
    fs::write(app.join("Dockerfile"), DOCKERFILE).expect("written");
    let own = std::env::current_exe().expect("a path");
    fs::copy(own, app.join("answer")).expect("copied");
    for words in [&["apps", "create", "bench"][..], &["deploy", "-a", "bench"]] {
        world.convox_in(&app, words).ok();
    }
    let upstream = published(world);
    let nginx = Nginx::start(&world.path().join("nginx"), &upstream);
    let ours = world.port();
    let mut rows = Vec::new();
    for (what, ours, theirs) in [
        (
            "plain",
            format!("http://127.0.0.1:{ours}/"),
            format!("http://127.0.0.1:{}/", nginx.plain),
        ),
        (
            "TLS",
            format!("https://127.0.0.1:{ours}/"),
            format!("https://127.0.0.1:{}/", nginx.tls),
        ),
    ] {
        let (mut fast, mut fast_theirs) = (Vec::new(), Vec::new());
        let (mut calm, mut calm_theirs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            fast.push(load(&ours, 32));
            fast_theirs.push(load(&theirs, 32));
            calm.push(load(&ours, 1));
            calm_theirs.push(load(&theirs, 1));
            bare.push(load(&format!("http://{upstream}/"), 1));
        }
        let requests = |loads| middle(loads, |load: &Load| load.requests).requests;
        let (fast, fast_theirs) = (requests(fast), requests(fast_theirs));
        rows.push(Row {
            what: format!("router, {what}, 32 connections: requests/s, against nginx"),
            measured: format!("{fast:.0}"),
            floor: format!("{fast_theirs:.0}"),
            ratio: format!("{:.2}", fast / fast_theirs),
            target: format!("≥ {THROUGHPUT:.2}x"),
            within: fast >= THROUGHPUT * fast_theirs,
        });
        let late = |loads| middle(loads, |load: &Load| load.late.as_secs_f64()).late;
        let (calm, calm_theirs, bare) = (late(calm), late(calm_theirs), late(bare));
        let added = calm.saturating_sub(bare);
        let micros = |time: Duration| format!("{} µs", time.as_micros());
        rows.push(Row {
            what: format!("router, {what}: added to p99, against nginx"),
            measured: micros(added),
            floor: micros(calm_theirs.saturating_sub(bare)),
            ratio: String::new(),
            target: "≤ 1000 µs".to_owned(),
            within: added <= ADDED,
        });
    }
    rows
}

/// Where the process's port is on this machine.
fn published(world: &World) -> String {
    let filter = format!("label=twinrack.server={}", world.server_id());
    let listed = Command::new("docker")
        .args(["ps", "--format", "{{.Ports}}", "--filter", &filter])
        .output()
        .expect("docker is installed");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    text.split("->3000/tcp")
        .next()
        .and_then(|found| found.rsplit(", ").next())
        .filter(|address| address.contains(':'))
        .unwrap_or_else(|| panic!("no published port in {text:?}"))
        .trim()
        .to_owned()
}
