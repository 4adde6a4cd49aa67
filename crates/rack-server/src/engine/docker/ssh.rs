//! Engines on other machines, over `ssh`: the program itself, so that keys, agents, jump hosts
//! and whatever stands in `~/.ssh/config` work as people know it.
//!
//! Requests go to the other machine's `docker system dial-stdio`, as Docker's own client sends
//! them; ports of processes, which are published on that machine's loopback, are reached with
//! `ssh -W`. Connections to one machine share a session that ends a minute after the last.

use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::str::FromStr;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::engine::Connection;

/// Options of every call: nobody is there to answer questions, and what does not answer is
/// given up.
const OPTIONS: [&str; 5] = [
    "BatchMode=yes",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
    "ControlMaster=auto",
    "ControlPersist=60",
];
/// Most that is read of what `ssh` says of a failure.
const LONGEST_COMPLAINT: usize = 4096;

/// A machine as `ssh` is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (host, port) = match place.rsplit_once(':') {
            // Colons within brackets are the address's own.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) => Some(port),
            Some(Err(_)) => return Err("its port is no number"),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        // What begins with a dash would be an option of ssh.
        let fit = |word: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
            !word.is_empty() && !word.starts_with('-') && word.chars().all(plain)
        };
        if !fit(host) || !user.is_none_or(fit) {
            return Err("it is not USER@HOST:PORT");
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Destination {
    /// A connection to the engine there.
    pub(super) fn engine(&self) -> io::Result<Connection> {
        let words = self.arguments(&[], &["docker", "system", "dial-stdio"]);
        begin(Command::new("ssh").args(words), Asked::No(None))
    }

    /// A connection to an address as that machine sees it.
    pub(super) fn dial(&self, address: SocketAddr) -> io::Result<Connection> {
        let words = self.arguments(&["-W", &address.to_string()], &[]);
        begin(Command::new("ssh").args(words), Asked::Yes)
    }

    fn arguments(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = vec!["-T".into()];
        for option in OPTIONS {
            words.extend(["-o".into(), option.into()]);
        }
        if let Some(path) = control_path() {
            words.extend(["-o".into(), format!("ControlPath={}", path.display())]);
        }
        if let Some(user) = &self.user {
            words.extend(["-l".into(), user.clone()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".into(), port.to_string()]);
        }
        words.extend(flags.iter().map(|&word| word.to_owned()));
        words.extend(["--".into(), self.host.clone()]);
        words.extend(command.iter().map(|&word| word.to_owned()));
        words
    }
}

fn begin(command: &mut Command, asked: Asked) -> io::Result<Connection> {
    Ok(Box::pin(Pipe::new(command, asked)?))
}

/// Where the calls to one machine meet; `ssh` puts the machine's digest for `%C`. None without
/// a home: then each call makes a session of its own.
fn control_path() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("HOME")?).join(".ssh");
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&directory).ok()?;
    Some(directory.join("twinrack-%C"))
}

/// The streams of an `ssh`. One that ends before it has said anything has failed, and says why.
struct Pipe {
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: ChildStderr,
    complaint: Vec<u8>,
    asked: Asked,
    spoken: bool,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "held: it is killed when dropped")
    )]
    ssh: Child,
}

/// Whether anything has been written. Before that nothing is read: an HTTP client that meets the
/// end of its connection before its first request has nobody to give the reason to.
enum Asked {
    /// With the reader that waits for it.
    No(Option<Waker>),
    Yes,
}

impl Pipe {
    fn new(command: &mut Command, asked: Asked) -> io::Result<Self> {
        let mut ssh = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    io::Error::other("there is no `ssh` here: install OpenSSH's client")
                }
                _ => error,
            })?;
        let piped = "every stream is piped";
        Ok(Self {
            input: ssh.stdin.take(),
            output: ssh.stdout.take().expect(piped),
            errors: ssh.stderr.take().expect(piped),
            complaint: Vec::new(),
            asked,
            spoken: false,
            ssh,
        })
    }

    fn poll_complaint(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut room = [0; 512];
        while self.complaint.len() < LONGEST_COMPLAINT {
            let mut buf = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut self.errors).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.complaint.extend(buf.filled()),
                _ => break,
            }
        }
        let text = String::from_utf8_lossy(&self.complaint);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        Poll::Ready(io::Error::other(match last {
            Some(line) if line.starts_with("ssh: ") => line.to_owned(),
            Some(line) => format!("ssh: {line}"),
            None => "ssh ended without a word".to_owned(),
        }))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Asked::No(reader) = &mut self.asked {
            *reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.spoken = true;
        } else if !self.spoken && buf.remaining() > 0 {
            return Poll::Ready(Err(ready!(self.poll_complaint(cx))));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Asked::No(Some(reader)) = mem::replace(&mut self.asked, Asked::Yes) {
            reader.wake();
        }
        let Some(input) = &mut self.input else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match ready!(Pin::new(input).poll_write(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.spoken => {
                Poll::Ready(Err(ready!(self.poll_complaint(cx))))
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(input) = &mut self.input {
            ready!(Pin::new(input).poll_shutdown(cx))?;
        }
        // Only its closing tells the other end.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn destinations_are_read_and_shown_as_docker_writes_them() {
        for text in [
            "box",
            "ann@box",
            "ann@box:2222",
            "box.example:22",
            "[::1]:22",
            "ann@[fe80::1]",
        ] {
            let read: Destination = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_ssh_would_take_for_something_else_is_refused() {
        for text in [
            "",
            "@box",
            "-oProxyCommand=x",
            "-l@box",
            "ann@-x",
            "box:ssh",
            "a b",
            "$(x)",
            "box:",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_machine_comes_after_all_options() {
        let box_: Destination = "ann@box:22".parse().expect("one");
        let words = box_.arguments(&["-W", "127.0.0.1:80"], &[]);
        let end = words.iter().position(|word| word == "--").expect("an end");
        assert_eq!(words[end + 1..], ["box"]);
        let words = words.join(" ");
        assert!(words.contains("-l ann -p 22 -W 127.0.0.1:80"), "{words}");
    }

    #[tokio::test]
    async fn the_reason_is_given_to_whoever_asks_however_late() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'ssh: no route to box' >&2; exit 255"]);
        let mut pipe = Pipe::new(&mut command, Asked::No(None)).expect("a process");
        pipe.ssh.wait().await.expect("its end");
        let mut room = [0; 8];
        assert!(
            pipe.read(&mut room).now_or_never().is_none(),
            "an end that comes before the request is nobody's answer"
        );
        let error = pipe.write(b"GET /_ping").await.expect_err("it has ended");
        assert_eq!(error.to_string(), "ssh: no route to box");
        let error = pipe.read(&mut room).await.expect_err("it has ended");
        assert_eq!(error.to_string(), "ssh: no route to box");
    }
}
