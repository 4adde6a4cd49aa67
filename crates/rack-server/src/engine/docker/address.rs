//! Where an engine may listen, and the order in which places are tried.
//!
//! A host that was named (by setting or `DOCKER_HOST`) is the only candidate: a
//! mistyped one must not quietly run apps on another engine. Without a name the
//! usual sockets are tried anew on every attempt, because desktop engines create
//! theirs only when they start.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::{TcpStream, UnixStream};

use super::ssh::Destination;
use crate::engine::Connection;

/// A place an engine listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// Plain HTTP, `host:port`.
    Tcp(String),
    /// The engine of another machine.
    Ssh(Destination),
}

impl Address {
    /// Opens a connection.
    pub(super) async fn open(&self) -> io::Result<Connection> {
        Ok(match self {
            Address::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Address::Tcp(host) => {
                let stream = TcpStream::connect(host.as_str()).await?;
                stream.set_nodelay(true)?;
                Box::pin(stream)
            }
            Address::Ssh(machine) => machine.engine()?,
        })
    }

    /// The other machine, where the engine publishes ports on a loopback that is not this one's.
    pub(super) fn machine(&self) -> Option<&Destination> {
        match self {
            Address::Ssh(machine) => Some(machine),
            Address::Unix(_) | Address::Tcp(_) => None,
        }
    }

    /// Says in a few words why opening failed and what helps.
    pub(super) fn explain(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "permission denied at {self}; add your user to the group that owns the socket (usually docker) and log in again"
            ),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                format!(
                    "nothing answers at {self}; start Docker, or set DOCKER_HOST to where it listens"
                )
            }
            _ => format!("{error} at {self}; check that Docker is running"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
            Address::Ssh(machine) => write!(f, "ssh://{machine}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "use unix:///path/to/docker.sock, ssh://user@host or tcp://127.0.0.1:2375";
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("docker host {text:?} has no scheme: {hint}"))?;
        let rest = rest.trim_end_matches('/');
        if rest.is_empty() {
            return Err(format!("docker host {text:?} names no place: {hint}"));
        }
        match scheme {
            "unix" => Ok(Address::Unix(PathBuf::from(rest))),
            "tcp" | "http" if rest.contains('/') => {
                Err(format!("docker host {text:?} has a path: {hint}"))
            }
            "tcp" | "http" => {
                let port = rest
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Address::Tcp(if port {
                    rest.to_owned()
                } else {
                    format!("{rest}:2375")
                }))
            }
            "ssh" => match rest.parse() {
                Ok(machine) => Ok(Address::Ssh(machine)),
                Err(reason) => Err(format!(
                    "docker host {text:?} is not understood, {reason}: {hint}"
                )),
            },
            other => Err(format!(
                "docker host scheme {other:?} is not supported: {hint}"
            )),
        }
    }
}

/// Lists the places to try, best first.
pub(super) fn candidates(
    named: Option<&Address>,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Address> {
    if let Some(address) = named {
        return vec![address.clone()];
    }
    let mut paths = vec![PathBuf::from("/var/run/docker.sock")];
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = variable("HOME").map(PathBuf::from);
    if let Some(runtime) = &runtime {
        paths.push(runtime.join("docker.sock"));
    }
    if let Some(home) = &home {
        for place in [
            ".docker/run/docker.sock",
            ".docker/desktop/docker.sock",
            ".orbstack/run/docker.sock",
            ".colima/default/docker.sock",
            ".rd/docker.sock",
        ] {
            paths.push(home.join(place));
        }
    }
    if let Some(runtime) = &runtime {
        paths.push(runtime.join("podman/podman.sock"));
    }
    paths.push(PathBuf::from("/run/podman/podman.sock"));
    paths.into_iter().map(Address::Unix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_docker_host_takes() {
        assert_eq!(
            "unix:///run/d.sock".parse(),
            Ok(Address::Unix("/run/d.sock".into()))
        );
        assert_eq!(
            "tcp://127.0.0.1:2375".parse(),
            Ok(Address::Tcp("127.0.0.1:2375".into()))
        );
        assert_eq!("tcp://box".parse(), Ok(Address::Tcp("box:2375".into())));
        assert_eq!("http://box:80/".parse(), Ok(Address::Tcp("box:80".into())));
        let machine = "ann@box:22".parse().expect("a machine");
        assert_eq!("ssh://ann@box:22".parse(), Ok(Address::Ssh(machine)));
        for bad in [
            "",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://box/run/docker.sock",
            "/var/run/docker.sock",
            "unix://",
            "npipe:////./pipe/x",
            "tcp://box:1/path",
        ] {
            let text = bad.parse::<Address>().expect_err("refused");
            assert!(text.contains("use unix://"), "{text}");
        }
    }

    #[test]
    fn a_named_host_is_the_only_candidate() {
        let named = Address::Tcp("box:1".into());
        assert_eq!(candidates(Some(&named), |_| Some("/x".into())), vec![named]);
    }

    #[test]
    fn the_usual_sockets_are_tried_in_order() {
        let found = candidates(None, |name| {
            (name == "XDG_RUNTIME_DIR").then(|| "/run/user/1".into())
        });
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "unix:///var/run/docker.sock",
                "unix:///run/user/1/docker.sock",
                "unix:///run/user/1/podman/podman.sock",
                "unix:///run/podman/podman.sock",
            ]
        );
    }
}
