//! Finding and starting the local server.
//!
//! A server is found by its address: it answers `GET /check` with `ok`. One that
//! does not run is started as a process of its own that outlives the client, its
//! output going to a log file in its data directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::container;
use crate::context::variable;
use crate::settings::create_private_directory;

/// Where a local server listens unless `RACK_SERVER_LISTEN` says otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:5443";
/// How long a server may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often a starting server is asked.
const START_POLL: Duration = Duration::from_millis(5);
/// How long a listener may take to answer the question whether it is a server.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// A server that can not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The address is no address of this machine.
    #[error(
        "can not use {0} as the address of a local server: give host:port in RACK_SERVER_LISTEN"
    )]
    Address(String),
    /// Something else has the port.
    #[error(
        "{host} is taken by another program: stop it or set RACK_SERVER_LISTEN to a free address"
    )]
    Taken {
        /// The address.
        host: String,
    },
    /// The program is nowhere to be found.
    #[error("can not find the rack-server program next to this one or on the PATH")]
    NoProgram,
    /// There is no place for data.
    #[error("no data directory: set HOME, XDG_DATA_HOME or RACK_SERVER_DATA")]
    NoData,
    /// The process can not be made.
    #[error("can not start {}: {source}", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Docker does not do what is asked of it.
    #[error("can not use a container for the server: {0}")]
    Container(String),
    /// There is no image for the container.
    #[error("there is no image {0} to run the server from: scripts/server-image makes it")]
    NoImage(String),
    /// The log file or data directory can not be made.
    #[error("can not write {}: {source}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process ended instead of serving.
    #[error("the server did not start: {reason} (log: {})", log.display())]
    Ended {
        /// Its last words.
        reason: String,
        /// Where the others are.
        log: PathBuf,
    },
    /// The process did not answer in time.
    #[error("the server did not answer on {host} within {} seconds (log: {})", START_LIMIT.as_secs(), log.display())]
    Silent {
        /// The address.
        host: String,
        /// Where its output is.
        log: PathBuf,
    },
}

/// A server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where it listens, as `host:port`.
    pub(crate) host: String,
    /// Where it keeps its racks.
    pub(crate) data: PathBuf,
}

/// What an address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing listens.
    Nothing,
    /// A rack server.
    Server,
    /// Another program.
    Other,
}

impl Server {
    /// The server that environment or defaults describe.
    pub(crate) fn from_environment() -> Result<Self, ServerError> {
        let listen = variable("RACK_SERVER_LISTEN").unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        Ok(Self {
            host: reachable(first_of(&listen)),
            data: data_directory()?,
        })
    }

    /// Where the server is to listen: wider than its host if that was asked for.
    fn listen(&self) -> String {
        let asked = variable("RACK_SERVER_LISTEN")
            .filter(|listen| reachable(first_of(listen)) == self.host);
        asked.unwrap_or_else(|| self.host.clone())
    }

    /// Where the server's output goes.
    fn log(&self) -> PathBuf {
        self.data.join("server.log")
    }

    /// The same server, looked for at another port of this machine.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self {
            host: format!("127.0.0.1:{port}"),
            data: self.data.clone(),
        }
    }

    /// Where its further ports are remembered, one in each line.
    fn ports(&self) -> PathBuf {
        self.data.join("ports")
    }

    /// Ports it listens on besides its own one when it is started here.
    pub(crate) fn further_ports(&self) -> Result<Vec<u16>, ServerError> {
        let path = self.ports();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text
                .lines()
                .filter_map(|line| line.trim().parse().ok())
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(ServerError::Data { path, source }),
        }
    }

    /// Sets the ports it listens on besides its own one.
    pub(crate) fn set_further_ports(&self, ports: &[u16]) -> Result<(), ServerError> {
        let path = self.ports();
        let lines: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let written = create_private_directory(&self.data).and_then(|()| {
            if !ports.is_empty() {
                return fs::write(&path, lines.join("\n"));
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        written.map_err(|source| ServerError::Data { path, source })
    }

    /// Asks whether the server runs.
    pub(crate) async fn check(&self) -> Result<Answer, ServerError> {
        let address = resolve(&self.host)?;
        let asked = tokio::time::timeout(CHECK_LIMIT, ask(address, &self.host)).await;
        Ok(match asked {
            Ok(Ok(true)) => Answer::Server,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Nothing,
            _ => Answer::Other,
        })
    }

    /// Holds a lock on the data directory, so that of two clients that find no
    /// server only one starts it.
    pub(crate) fn lock(&self) -> Result<File, ServerError> {
        let path = self.data.join("start.lock");
        let failed = |source| ServerError::Data {
            path: path.clone(),
            source,
        };
        create_private_directory(&self.data).map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// Starts the server if it has stopped.
    pub(crate) async fn wake(&self) -> Result<(), ServerError> {
        if !is_down(&self.host) {
            return Ok(());
        }
        let _lock = self.lock()?;
        if is_down(&self.host) {
            self.start(None).await?;
        }
        Ok(())
    }

    /// Makes a container for the server, and waits until it answers there.
    pub(crate) async fn start_in_container(&self, password: &str) -> Result<(), ServerError> {
        let name = container::create(self, &self.listen(), password)?;
        let answered = self.answered_in(&name).await;
        if answered.is_err() {
            container::remove(self, &name);
        }
        answered
    }

    async fn answered_in(&self, name: &str) -> Result<(), ServerError> {
        self.answered(|| container::ended(name)).await
    }

    /// Starts the server and waits until it answers, in its container if it has one. With
    /// a password, that becomes its password; without, it keeps the one it has.
    pub(crate) async fn start(&self, password: Option<&str>) -> Result<(), ServerError> {
        if let Some(name) = container::of(self)? {
            container::start(&name)?;
            return self.answered_in(&name).await;
        }
        let program = program()?;
        let log = self.log();
        let unwritable = |source| ServerError::Data {
            path: log.clone(),
            source,
        };
        create_private_directory(&self.data).map_err(unwritable)?;
        let mut output = OpenOptions::new();
        output.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut output, 0o600);
        let output = output.open(&log).map_err(unwritable)?;
        let logged = output.metadata().map_err(unwritable)?.len();
        let mut command = Command::new(&program);
        command
            .args(["--listen", &self.listen()])
            .args(
                self.further_ports()?
                    .iter()
                    .flat_map(|port| ["--listen".to_owned(), format!("127.0.0.1:{port}")]),
            )
            .arg("--data")
            .arg(&self.data)
            .arg("--detached")
            // The user's directory may be removed while the server runs.
            .current_dir(&self.data)
            .env_remove("RACK_SERVER_PASSWORD")
            // A server at rest should not keep a heap per thread (glibc's default).
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(unwritable)?)
            .stderr(output);
        // Ctrl-C in the client's terminal is not for the server.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(password) = password {
            command.env("RACK_SERVER_PASSWORD", password);
        }
        let mut child = command
            .spawn()
            .map_err(|source| ServerError::Start { program, source })?;
        self.answered(|| {
            // A server that went to the background leaves with 0 and goes on.
            let status = child.try_wait().ok().flatten()?;
            let failed = !status.success();
            failed.then(|| last_line(&log, logged).unwrap_or_else(|| status.to_string()))
        })
        .await
    }

    /// Waits until the server answers; `ended` says its last words when it has ended instead.
    async fn answered(&self, mut ended: impl FnMut() -> Option<String>) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match self.check().await? {
                Answer::Server => return Ok(()),
                Answer::Nothing | Answer::Other if Instant::now() > deadline => {
                    return Err(ServerError::Silent {
                        host: self.host.clone(),
                        log: self.log(),
                    });
                }
                _ => {}
            }
            if let Some(reason) = ended() {
                let log = self.log();
                return Err(ServerError::Ended { reason, log });
            }
            tokio::time::sleep(START_POLL).await;
        }
    }
}

/// Whether nothing listens on a local address; asked before every command, so
/// it has to be quick.
pub(crate) fn is_down(host: &str) -> bool {
    let Ok(address) = resolve(host) else {
        return false;
    };
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether a `host[:port]` names this machine by a loopback address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The first of several addresses, which is that of the API.
fn first_of(listen: &str) -> &str {
    listen.split(',').next().unwrap_or(listen).trim()
}

/// The address by which this machine reaches a listener, for one on every
/// interface is at no particular address.
fn reachable(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip() == Ipv4Addr::UNSPECIFIED => {
            format!("127.0.0.1:{}", address.port())
        }
        Ok(address) if address.ip() == Ipv6Addr::UNSPECIFIED => format!("[::1]:{}", address.port()),
        _ => listen.to_owned(),
    }
}

fn resolve(host: &str) -> Result<SocketAddr, ServerError> {
    let address = host
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next());
    // Port 0 would be another one at every start.
    address
        .filter(|address| address.port() != 0)
        .ok_or_else(|| ServerError::Address(host.to_owned()))
}

/// Whether the listener answers `GET /check` as a rack does.
async fn ask(address: SocketAddr, host: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /check HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim());
    Ok(answer.starts_with("HTTP/1.1 200") && body == Some("ok"))
}

/// The server program: beside this one, else on the `PATH`.
fn program() -> Result<PathBuf, ServerError> {
    let name = format!("rack-server{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| own.canonicalize().ok())
        .map(|own| own.with_file_name(&name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(
            std::env::split_paths(&path)
                .filter(|directory| directory.is_absolute())
                .map(|directory| directory.join(&name)),
        )
        .find(|candidate| candidate.is_file())
        .ok_or(ServerError::NoProgram)
}

fn data_directory() -> Result<PathBuf, ServerError> {
    let path = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(data) = path("RACK_SERVER_DATA") {
        return std::path::absolute(&data)
            .map_err(|source| ServerError::Data { path: data, source });
    }
    path("XDG_DATA_HOME")
        .filter(|base| base.is_absolute())
        .or_else(|| path("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("twinrack"))
        .ok_or(ServerError::NoData)
}

/// The last line that was written to a log after `offset`.
fn last_line(log: &Path, offset: u64) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(usize::try_from(offset).ok()?..)?).into_owned();
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    fn server(host: &str) -> Server {
        Server {
            host: host.to_owned(),
            data: std::env::temp_dir(),
        }
    }

    /// Answers one connection with fixed bytes.
    fn listener(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 512];
                let _ = io::Read::read(&mut stream, &mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        host
    }

    #[tokio::test]
    async fn a_server_is_told_from_other_programs() {
        let rack = listener("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(server(&rack).check().await.expect("asked"), Answer::Server);
        let other = listener("HTTP/1.1 200 OK\r\n\r\nhello");
        assert_eq!(server(&other).check().await.expect("asked"), Answer::Other);
        let mute = listener("");
        assert_eq!(server(&mute).check().await.expect("asked"), Answer::Other);
    }

    #[tokio::test]
    async fn a_free_port_is_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        assert!(!is_down(&host));
        drop(listener);
        assert_eq!(server(&host).check().await.expect("asked"), Answer::Nothing);
        assert!(is_down(&host));
    }

    #[test]
    fn loopback_hosts() {
        for host in [
            "127.0.0.1:5443",
            "localhost",
            "rack.staging.localhost:5443",
            "[::1]:5443",
            "127.3.2.1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "console.convox.com",
            "10.0.0.1:5443",
            "localhost.example.com",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_listener_on_every_interface_is_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:5443"), "127.0.0.1:5443");
        assert_eq!(reachable("[::]:5443"), "[::1]:5443");
        assert_eq!(reachable("localhost:5443"), "localhost:5443");
        for host in ["127.0.0.1:0", "127.0.0.1", ""] {
            let error = resolve(host).expect_err(host).to_string();
            assert!(error.contains("give host:port"), "{error}");
        }
    }

    #[test]
    fn the_last_words_of_a_server() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"old\nfirst\nlast words\n\n")
            .expect("written");
        assert_eq!(last_line(file.path(), 4).as_deref(), Some("last words"));
        assert_eq!(last_line(file.path(), 23), None);
    }
}
