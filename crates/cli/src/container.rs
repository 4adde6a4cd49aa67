//! The local server in a container of its own: `convox install --in-docker`.
//!
//! The engine starts it again with itself, so racks are there after a reboot before anybody
//! has typed anything. It uses the host's network, the engine's socket and the same data
//! directory at the same place: racks, data and addresses are those of a server outside. Which
//! of the two it is says a file in the data directory; once the container is removed, the
//! next command starts the server outside again.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::context::variable;
use crate::server::{Server, ServerError};

/// Names the container, in the data directory.
const MARKER: &str = "container";
/// Holds the server's password until the server has read it: what is in a container's
/// variables can be read by everybody who may use the engine.
const PASSWORD: &str = "password";
/// Where Docker's socket is unless `DOCKER_HOST` says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// The image that `scripts/server-image` makes of this version.
fn image() -> String {
    variable("TWINRACK_SERVER_IMAGE")
        .unwrap_or_else(|| format!("twinrack-server:{}", env!("CARGO_PKG_VERSION")))
}

fn docker(words: &[&str]) -> Result<String, ServerError> {
    let answer = Command::new("docker")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ServerError::Start {
            program: "docker".into(),
            source,
        })?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(ServerError::Container(
        last.unwrap_or("docker failed without a word").to_owned(),
    ))
}

/// The container of a server, if it runs in one; removed behind our back, it is forgotten.
pub(crate) fn of(server: &Server) -> Result<Option<String>, ServerError> {
    let marker = server.data.join(MARKER);
    let name = match fs::read_to_string(&marker) {
        Ok(name) => name.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ServerError::Data {
                path: marker,
                source,
            });
        }
    };
    match docker(&["container", "inspect", "--format", "{{.Id}}", &name]) {
        Ok(_) => Ok(Some(name)),
        Err(ServerError::Container(reason)) if reason.contains("No such container") => {
            fs::remove_file(&marker).map_err(|source| ServerError::Data {
                path: marker,
                source,
            })?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Starts a container that is there.
pub(crate) fn start(name: &str) -> Result<(), ServerError> {
    docker(&["start", name]).map(drop)
}

/// Last line of what the server in a container has said, if it has ended.
pub(crate) fn ended(name: &str) -> Option<String> {
    let running = docker(&[
        "container",
        "inspect",
        "--format",
        "{{.State.Running}}",
        name,
    ]);
    if running.is_ok_and(|running| running == "true") {
        return None;
    }
    let log = Command::new("docker")
        .args(["logs", "--tail", "1", name])
        .output()
        .ok()?;
    let said = [log.stdout, log.stderr].concat();
    Some(String::from_utf8_lossy(&said).trim().to_owned())
}

/// Makes a container for a server and starts it. Whether it answers is for the caller to see.
pub(crate) fn create(server: &Server, listen: &str, password: &str) -> Result<String, ServerError> {
    let image = image();
    if docker(&["image", "inspect", "--format", "{{.Id}}", &image]).is_err() {
        // The engine's own reason first, if it is not there at all.
        docker(&["version", "--format", "{{.Server.Version}}"])?;
        return Err(ServerError::NoImage(image));
    }
    let socket = match variable("DOCKER_HOST") {
        None => PathBuf::from(SOCKET),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) => PathBuf::from(path),
            None => {
                return Err(ServerError::Container(format!(
                    "DOCKER_HOST is {host}: a server in a container needs the engine's socket on this machine"
                )));
            }
        },
    };
    let about = |path: &Path| {
        fs::metadata(path).map_err(|source| ServerError::Data {
            path: path.to_owned(),
            source,
        })
    };
    let (group, owner) = (about(&socket)?.gid(), about(&server.data)?);
    let secret = server.data.join(PASSWORD);
    write_secret(&secret, password).map_err(|source| ServerError::Data {
        path: secret.clone(),
        source,
    })?;
    let port = server.host.rsplit_once(':').map_or("", |(_, port)| port);
    let name = format!("twinrack-server-{port}");
    let path = |path: &Path| path.display().to_string();
    let mount = |place: &Path| format!("type=bind,source={0},target={0}", place.display());
    let user = format!("{}:{}", owner.uid(), owner.gid());
    let group = group.to_string();
    let (socket_mount, data_mount) = (mount(&socket), mount(&server.data));
    let engine = format!("DOCKER_HOST=unix://{}", path(&socket));
    let (data, password_file) = (path(&server.data), path(&secret));
    let run = [
        "run",
        "--detach",
        "--name",
        &name,
        "--restart",
        "unless-stopped",
        "--network",
        "host",
        "--user",
        &user,
        "--group-add",
        &group,
        "--mount",
        &socket_mount,
        "--mount",
        &data_mount,
        "--env",
        &engine,
        "--env",
        "MALLOC_ARENA_MAX=2",
        &image,
        "--listen",
        listen,
        "--data",
        &data,
        "--password-file",
        &password_file,
    ];
    let further: Vec<_> = server
        .further_ports()?
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let further = further
        .iter()
        .flat_map(|address| ["--listen", address.as_str()]);
    let made = docker(&run.into_iter().chain(further).collect::<Vec<_>>());
    let marked = made.and_then(|_| {
        let marker = server.data.join(MARKER);
        fs::write(&marker, &name).map_err(|source| ServerError::Data {
            path: marker,
            source,
        })
    });
    if let Err(error) = marked {
        // Nothing half made: neither the container nor the password.
        let _ = docker(&["rm", "--force", &name]);
        let _ = fs::remove_file(&secret);
        return Err(error);
    }
    Ok(name)
}

/// Removes a container that did not come up.
pub(crate) fn remove(server: &Server, name: &str) {
    let _ = docker(&["rm", "--force", name]);
    for file in [MARKER, PASSWORD] {
        let _ = fs::remove_file(server.data.join(file));
    }
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
