//! A hermetic environment for the built binary, and a rack that says what a
//! test tells it to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rack_api::socket::accept_key;

/// Directories of their own for settings, data and work; no inherited variables.
pub(crate) struct Env {
    directory: tempfile::TempDir,
    variables: BTreeMap<String, String>,
    program: PathBuf,
}

/// What a run printed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: i32,
}

impl Env {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["home", "work/myapp"] {
            std::fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        let mut env = Self {
            directory,
            variables: BTreeMap::new(),
            program: env!("CARGO_BIN_EXE_convox").into(),
        };
        let home = env.path("home").display().to_string();
        let unused = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address");
        env.set("HOME", &home);
        env.set("TMPDIR", &home);
        env.set("RACK_SERVER_LISTEN", &unused.to_string());
        env
    }

    /// An environment whose rack is the one given.
    pub(crate) fn with(rack: &FakeRack) -> Self {
        let mut env = Self::new();
        env.set("RACK_URL", &format!("http://convox:secret@{}", rack.host));
        env
    }

    /// Settings that know a rack by a name.
    pub(crate) fn know(&self, name: &str, rack: &FakeRack) {
        let url = format!("http://convox:secret@{}", rack.host);
        self.put(&format!("config/racks/{name}"), url);
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// The address that no server listens on yet.
    pub(crate) fn server_host(&self) -> String {
        self.variables["RACK_SERVER_LISTEN"].clone()
    }

    /// Runs a copy of the program, beside which other programs may be put.
    pub(crate) fn use_copy(&mut self) -> PathBuf {
        let directory = self.path("bin");
        std::fs::create_dir_all(&directory).expect("a directory");
        let copy = directory.join("convox");
        std::fs::copy(&self.program, &copy).expect("a copy");
        self.program = copy;
        directory
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path(path)).ok()
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(line.split(' ').filter(|word| !word.is_empty()))
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.path("work/myapp"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `convox` with words separated by blanks.
    pub(crate) fn convox(&self, line: &str) -> Run {
        finish(&mut self.command(line))
    }

    /// The same with words that a line cannot hold.
    pub(crate) fn convox_words(&self, words: &[&str]) -> Run {
        finish(self.command("").args(words))
    }

    /// The same, with text on standard input.
    pub(crate) fn convox_reading(&self, line: &str, input: &[u8]) -> Run {
        let mut command = self.command(line);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input)
            .expect("written");
        read(child.wait_with_output().expect("ended"))
    }
}

pub(crate) fn finish(command: &mut Command) -> Run {
    read(command.output().expect("started"))
}

fn read(output: std::process::Output) -> Run {
    Run {
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
        status: output.status.code().expect("a status"),
    }
}

impl Run {
    /// Succeeded with this output, and nothing to say beside.
    #[track_caller]
    pub(crate) fn prints(&self, stdout: &str) {
        assert_eq!(
            (self.stdout.as_str(), self.stderr.as_str(), self.status),
            (stdout, "", 0)
        );
    }

    /// Failed with this on standard error after something on standard output.
    #[track_caller]
    pub(crate) fn fails_after(&self, stdout: &str, stderr: &str) {
        assert_eq!(
            (self.stdout.as_str(), self.stderr.as_str(), self.status),
            (stdout, stderr, 1)
        );
    }

    /// Failed with this on standard error and nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(&self, stderr: &str) {
        assert_eq!(
            (self.stdout.as_str(), self.stderr.as_str(), self.status),
            ("", stderr, 1)
        );
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and path with query.
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What the rack answers.
pub(crate) enum Reply {
    Json(&'static str),
    Status(u16, &'static str),
    Bytes(Vec<u8>),
    /// `ok`, with lines of the head.
    Headed(&'static str),
    /// Announces more bytes than it sends.
    Truncated(Vec<u8>),
    /// A websocket's text frames, then its orderly end.
    Frames(Vec<String>),
    /// A websocket's text frames, then the connection breaks.
    Broken(Vec<String>),
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A rack on a port of its own.
pub(crate) struct FakeRack {
    pub(crate) host: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeRack {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", handler)
    }

    /// A rack that is not one of ours.
    pub(crate) fn foreign(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listening("127.0.0.1:0", "", handler)
    }

    pub(crate) fn start_on(
        address: &str,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listening(address, "Twinrack: test\r\n", handler)
    }

    fn listening(
        address: &str,
        mark: &'static str,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Handler = Arc::new(handler);
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, mark, &handler, &seen));
            }
        });
        Self { host, requests }
    }

    /// The request lines so far, but for those that only look around.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.requests().into_iter().map(|request| request.line);
        lines
            .filter(|line| line != "GET /racks" && !line.contains("/logs"))
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }

    /// The one request with this line.
    #[track_caller]
    pub(crate) fn request(&self, line: &str) -> Request {
        let mut found: Vec<_> = self
            .requests()
            .into_iter()
            .filter(|request| request.line == line)
            .collect();
        assert_eq!(found.len(), 1, "{line} among {:?}", self.lines());
        found.remove(0)
    }
}

fn serve(stream: TcpStream, mark: &str, handler: &Handler, seen: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    seen.lock().expect("not poisoned").push(request.clone());
    let reply = handler(&request);
    let mut to = stream;
    // The client may have left already; the test looks at what it printed.
    let _ = write_reply(&mut to, mark, &request, reply);
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let line = format!("{} {}", words.next()?, words.next()?.trim_end_matches('?'));
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        reader
            .take(length.parse().ok()?)
            .read_to_end(&mut body)
            .ok()?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim(), 16).ok()?;
            reader.take(size).read_to_end(&mut body).ok()?;
            reader.read_line(&mut String::new()).ok()?;
            if size == 0 {
                break;
            }
        }
    }
    Some(Request {
        line,
        headers,
        body,
    })
}

fn write_reply(
    to: &mut TcpStream,
    mark: &str,
    request: &Request,
    reply: Reply,
) -> std::io::Result<()> {
    let frames = match reply {
        Reply::Json(text) => return write_body(to, mark, 200, text.as_bytes(), text.len()),
        Reply::Status(status, text) => {
            return write_body(to, mark, status, text.as_bytes(), text.len());
        }
        Reply::Headed(head) => {
            return write_body(to, &format!("{mark}{head}"), 200, b"ok\n", 3);
        }
        Reply::Bytes(bytes) => return write_body(to, mark, 200, &bytes, bytes.len()),
        Reply::Truncated(bytes) => return write_body(to, mark, 200, &bytes, bytes.len() + 1),
        Reply::Frames(ref frames) | Reply::Broken(ref frames) => frames,
    };
    let Some(key) = request.headers.get("sec-websocket-key") else {
        return write_body(to, mark, 400, b"a websocket is expected", 23);
    };
    write!(
        to,
        "HTTP/1.1 101 Switching Protocols\r\n{mark}Upgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key)
    )?;
    for frame in frames {
        assert!(frame.len() < 126, "frames of tests are short");
        to.write_all(&[0x81, frame.len() as u8])?;
        to.write_all(frame.as_bytes())?;
    }
    if matches!(reply, Reply::Frames(_)) {
        // The end of the data, then that of the socket.
        to.write_all(&[0x82, 0, 0x88, 2, 0x03, 0xe8])?;
        to.flush()?;
        to.shutdown(std::net::Shutdown::Write)?;
        // What comes after this would break the connection off before the end is read.
        to.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
        std::io::copy(to, &mut std::io::sink())?;
        return Ok(());
    }
    to.flush()
}

fn write_body(
    to: &mut TcpStream,
    mark: &str,
    status: u16,
    body: &[u8],
    length: usize,
) -> std::io::Result<()> {
    write!(
        to,
        "HTTP/1.1 {status} X\r\n{mark}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    to.write_all(body)?;
    to.flush()
}
