//! A world of its own for each end-to-end test: the real programs, a data
//! directory, settings, a port; removed afterwards with everything it made.

mod cleanup;
mod cutter;
mod engine_proxy;
mod load;
mod scenario;
pub mod streams;
mod terminal;
mod workflow;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rack_api::client::{Client, Endpoint};
use serde_json::Value;
use tempfile::TempDir;

pub use cleanup::{image_tags, labelled, server_id, tags_left};
pub use cutter::Cutter;
pub use engine_proxy::EngineProxy;
pub use load::Load;
pub use scenario::{ScriptTurn, script_turn, write};
pub use terminal::Terminal;
pub use workflow::{seed_script, workflow_script};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the shell of a [`Terminal`] says when it waits for a command.
pub const PROMPT: &str = "local> ";

/// What a program has answered.
#[derive(Debug)]
#[must_use = "look at the status"]
pub struct Answer {
    /// Exit status; 128 + signal when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Standard output of a program that must have succeeded.
    pub fn ok(self) -> String {
        assert_eq!(
            self.status, 0,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self.stdout
    }

    /// The `ERROR:` line of a program that must have failed.
    pub fn error(self) -> String {
        assert_ne!(
            self.status, 0,
            "should have failed; stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        let errors: Vec<_> = self
            .stderr
            .lines()
            .filter_map(|line| line.split_once("ERROR: "))
            .collect();
        assert_eq!(
            errors.len(),
            1,
            "one line says why; stderr:\n{}",
            self.stderr
        );
        errors[0].1.to_owned()
    }
}

/// The directory with the programs under test: this program's own, or for a test
/// the one above.
pub fn programs() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut directories = this.ancestors().skip(1).take(2);
    let found = directories.find(|directory| {
        ["convox", "rack-server"]
            .iter()
            .all(|name| directory.join(name).exists())
    });
    found
        .expect("built programs: run `make test`, or `cargo build --workspace --bins`")
        .to_owned()
}

/// The checkout's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

/// Copies a directory tree.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory to copy") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copied file");
        }
    }
}

/// See the crate.
pub struct World {
    dir: TempDir,
    engine: &'static str,
    port: u16,
    variables: Vec<(String, String)>,
}

impl World {
    /// A world on real Docker.
    pub fn docker() -> Self {
        Self::new("docker")
    }

    /// A world on the simulated engine.
    pub fn simulated() -> Self {
        Self::new("simulated")
    }

    fn new(engine: &'static str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("twinrack-test-")
            .tempdir()
            .expect("a temporary directory");
        fs::create_dir(dir.path().join("home")).expect("a home");
        Self {
            dir,
            engine,
            port: free_port(),
            variables: vec![
                ("RACK_SERVER_PROMOTE_TIMEOUT".into(), "15".into()),
                ("RACK_SERVER_STEADY".into(), "0.5".into()),
            ],
        }
    }

    /// The directory of this world.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets a variable for every program started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable away again.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// Copies an example into this world, as directory `name`.
    pub fn example(&self, example: &str, name: &str) -> PathBuf {
        let to = self.path().join("work").join(name);
        copy_tree(&root().join("examples").join(example), &to);
        to
    }

    fn command(&self, program: impl AsRef<OsStr>, directory: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", programs().display()))
            .env("HOME", self.path().join("home"))
            .env("CONVOX_CONFIG", self.path().join("config"))
            .env("RACK_SERVER_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("RACK_SERVER_DATA", self.path().join("data"))
            .env("RACK_SERVER_ENGINE", self.engine)
            .current_dir(directory)
            .stdin(Stdio::null());
        for name in ["DOCKER_HOST", "XDG_RUNTIME_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `convox` with words, in a directory.
    pub fn convox_in(&self, directory: &Path, words: &[&str]) -> Answer {
        answer(
            self.command(programs().join("convox"), directory)
                .args(words),
        )
    }

    /// Runs `convox` with words.
    pub fn convox(&self, words: &[&str]) -> Answer {
        self.convox_in(self.path(), words)
    }

    /// Starts `convox` with words and does not wait for it.
    pub fn spawn_convox(&self, directory: &Path, words: &[&str]) -> Child {
        self.command(programs().join("convox"), directory)
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    }

    /// Starts `convox` with words and reads what it says as it comes.
    pub fn follow(&self, words: &[&str]) -> Follower {
        self.follow_in(self.path(), words)
    }

    /// The same in a directory.
    pub fn follow_in(&self, directory: &Path, words: &[&str]) -> Follower {
        let mut command = self.command(programs().join("convox"), directory);
        let child = command
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        Follower {
            child: child.expect("the program starts"),
        }
    }

    /// Starts a shell in a terminal of its own; it finds `convox`.
    pub fn terminal(&self, rows: u16, columns: u16) -> Terminal {
        let mut command = self.command("sh", self.path());
        command.env("PS1", PROMPT).env("TERM", "dumb");
        Terminal::start(&command, rows, columns)
    }

    /// Ports of our containers that other machines could reach.
    pub fn published_beyond_loopback(&self) -> Vec<String> {
        cleanup::published_beyond_loopback(&self.path().join("data"))
    }

    /// Runs a script with bash, in a directory.
    pub fn script(&self, directory: &Path, text: &str) -> Answer {
        answer(self.command("bash", directory).args(["-c", text]))
    }

    /// Reads a path of a rack's API.
    pub fn api(&self, rack: &str, path: &str) -> Value {
        let text = self.convox(&["api", "get", path, "-r", rack]).ok();
        serde_json::from_str(&text).expect("the API answers JSON")
    }

    /// Installs racks of the simulated or real engine of this world.
    pub fn install(&self, racks: &[&str]) {
        for rack in racks {
            self.convox(&["install", "--stack-name", rack]).ok();
        }
    }

    /// Gets a page of a service through the router. Returns status and body; status
    /// zero when nothing answers.
    pub fn page(&self, host: &str, path: &str) -> (u16, String) {
        self.request(host, path, &[])
    }

    /// The same with further words for `curl`.
    pub fn request(&self, host: &str, path: &str, words: &[&str]) -> (u16, String) {
        let url = format!("http://{host}:{}{path}", self.port);
        let resolve = format!("{host}:{}:127.0.0.1", self.port);
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "--max-time", "10"])
            .args(["--noproxy", "*", "--resolve", &resolve, &url])
            .args(words);
        let got = answer(&mut curl);
        let (body, status) = got.stdout.rsplit_once('\n').unwrap_or(("", &got.stdout));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    /// Ends the server the way a crash would. Returns whether one was running.
    pub fn kill_server(&self) -> bool {
        let pids = self.servers();
        for pid in &pids {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        // A client that was waiting may have started another already.
        wait_until("the server is gone", || {
            let now = self.servers();
            pids.iter().all(|pid| !now.contains(pid))
        });
        !pids.is_empty()
    }

    /// Waits until no server of this world runs, as after a failpoint that ends it.
    pub fn wait_for_end_of_server(&self) {
        wait_until("the server has ended", || self.servers().is_empty());
    }

    /// Starts the server by hand, in the foreground of this program.
    pub fn start_server(&self) -> Child {
        self.run_server(&mut self.command(programs().join("rack-server"), self.path()))
    }

    /// The same, with one processor for it; needs `taskset`.
    pub fn start_server_on_one_processor(&self) -> Child {
        let mut command = self.command("taskset", self.path());
        let program = programs().join("rack-server");
        self.run_server(command.args(["-c", "0"]).arg(program))
    }

    fn run_server(&self, command: &mut Command) -> Child {
        command
            .args(["--data", &self.path().join("data").to_string_lossy()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts")
    }

    /// Whether a server answers.
    pub fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = String::new();
        stream
            .write_all(b"GET /check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// The server itself, with its password from the settings.
    fn endpoint(&self) -> Endpoint {
        let text = fs::read_to_string(self.path().join("config/auth")).expect("settings");
        let passwords: Value = serde_json::from_str(&text).expect("JSON");
        let host = format!("127.0.0.1:{}", self.port);
        let password = passwords[&host].as_str().expect("a password");
        Endpoint::parse(&format!("http://{host}"))
            .expect("a URL")
            .with_password(Some(password.to_owned()))
    }

    /// A URL of the only rack that leads through another port of this machine.
    pub fn url_through(&self, port: u16) -> String {
        let endpoint = self.endpoint();
        let password = endpoint.password().expect("a password");
        format!("http://convox:{password}@127.0.0.1:{port}")
    }

    /// The server password, as a request carries it.
    pub fn authorization(&self) -> String {
        let endpoint = self.endpoint();
        let password = endpoint.password().expect("a password");
        format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("convox:{password}"))
        )
    }

    fn console(&self) -> Client {
        Client::new(self.endpoint())
    }

    /// Cancels what changes an app.
    pub fn cancel(&self, rack: &str, app: &str) {
        let client = Client::new(self.endpoint().with_rack(Some(rack.to_owned())));
        block_on(client.app_cancel(app)).expect("cancelled");
    }

    /// Creates a rack with one call.
    pub fn create_rack(&self, name: &str) {
        block_on(self.console().rack_create(name, None, None)).expect("a rack");
    }

    /// Deletes a rack with one call.
    pub fn delete_rack(&self, name: &str) {
        block_on(self.console().rack_delete(name)).expect("no rack");
    }

    /// Waits until a service answers through the router.
    pub fn wait_for_page(&self, host: &str) {
        wait_until(host, || self.page(host, "/").0 == 200);
    }

    /// Resident memory of the server in KiB.
    pub fn resident_kib(&self) -> u64 {
        let servers = self.servers();
        let pid = servers.first().expect("a server");
        let listed = answer(Command::new("ps").args(["-o", "rss=", "-p", pid])).ok();
        listed.trim().parse().expect("a number")
    }

    /// Forgets how much memory the server has had at most.
    pub fn forget_peak(&self) {
        // The number is the kernel's name for "the peak of resident memory".
        fs::write(self.of_server("clear_refs"), "5").expect("a server of ours");
    }

    /// Resident memory of the server at most since then, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(self.of_server("status")).expect("a server");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("a peak");
        let number = peak.trim().trim_end_matches(" kB");
        number.parse().expect("a number")
    }

    fn of_server(&self, name: &str) -> PathBuf {
        let servers = self.servers();
        let pid = servers.first().expect("a server");
        Path::new("/proc").join(pid).join(name)
    }

    /// Process id of the server that runs.
    pub fn server_id(&self) -> String {
        let mut servers = self.servers();
        servers.pop().expect("a server")
    }

    /// Waits until an app that is being deleted is gone.
    pub fn wait_for_no_app(&self, rack: &str, app: &str) {
        wait_until("the app is gone", || {
            let apps = self.api(rack, "/apps");
            let apps = apps.as_array().expect("a list");
            !apps.iter().any(|known| known["name"] == app)
        });
    }

    fn servers(&self) -> Vec<String> {
        let data = self.path().join("data");
        let listed =
            answer(Command::new("ps").args(["-axww", "-o", "pid=", "-o", "stat=", "-o", "args="]));
        listed
            .stdout
            .lines()
            .filter(|line| line.contains("rack-server") && line.contains(&*data.to_string_lossy()))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let pid = words.next()?;
                // A process that has ended and was not waited for is gone.
                (!words.next()?.starts_with('Z')).then(|| pid.to_owned())
            })
            .collect()
    }

    /// What a rack must still be after something failed: its active release, its
    /// builds and releases, and what it serves.
    pub fn snapshot(&self, rack: &str, app: &str) -> Snapshot {
        let ids = |path: &str| {
            let list = self.api(rack, path);
            let ids = list
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| item["id"].to_string());
            ids.collect::<Vec<_>>()
        };
        Snapshot {
            release: self.api(rack, &format!("/apps/{app}"))["release"].to_string(),
            status: self.api(rack, &format!("/apps/{app}"))["status"].to_string(),
            builds: ids(&format!("/apps/{app}/builds")),
            releases: ids(&format!("/apps/{app}/releases")),
            processes: ids(&format!("/apps/{app}/processes")),
            images: if self.engine == "docker" {
                cleanup::image_tags(&self.path().join("data"), rack)
            } else {
                Vec::new()
            },
        }
    }

    /// Image digests of a build, by service.
    pub fn digests(&self, rack: &str, app: &str, build: &str) -> Value {
        let digests = self.api(rack, &format!("/apps/{app}/builds/{build}"))["images"].clone();
        assert!(
            digests.as_object().is_some_and(|images| !images.is_empty()),
            "build {build} has images"
        );
        digests
    }
}

/// A program that goes on; it ends with its value.
pub struct Follower {
    child: Child,
}

impl Follower {
    /// Process id of the program.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the program; its exit status.
    pub fn status(&mut self) -> Option<i32> {
        self.child.wait().expect("a program").code()
    }

    /// Reads standard output until it contains something; all that was read.
    pub fn until(&mut self, wanted: &str) -> String {
        let output = self.child.stdout.as_mut().expect("a pipe");
        let (mut seen, mut byte) = (Vec::new(), [0]);
        loop {
            // A program that never says it is stopped by the test runner.
            assert_ne!(
                output.read(&mut byte).expect("output"),
                0,
                "{wanted:?} never came: {}",
                String::from_utf8_lossy(&seen)
            );
            seen.push(byte[0]);
            if seen.ends_with(wanted.as_bytes()) {
                return String::from_utf8_lossy(&seen).into_owned();
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// See [`World::snapshot`].
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    release: String,
    status: String,
    builds: Vec<String>,
    releases: Vec<String>,
    processes: Vec<String>,
    images: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        let path = self.dir.path().to_owned();
        if std::thread::panicking() {
            // The last lines of the server's log explain more than the assertion.
            let log = fs::read_to_string(path.join("data/server.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("server log:\n{}\n", tail.join("\n")).as_bytes(),
            );
        }
        self.kill_server();
        if self.engine == "docker" {
            cleanup::remove_everything(&path.join("data"));
        }
    }
}

fn answer(command: &mut Command) -> Answer {
    let output = command.output().expect("the program starts");
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    Answer {
        status: output
            .status
            .code()
            .unwrap_or_else(|| 128 + signal.unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits for a condition, with [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "not within {} seconds: {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
