//! Ports of this machine: whether the server can have its own, and those that browsers take
//! when none is named.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use super::{Finding, State};
use crate::server::{Answer, Server};

const CHECK: &str = "ports";
/// Ports of addresses that name none.
const USUAL: [u16; 2] = [80, 443];

/// Looks at the server's port and at the usual ones.
pub(super) async fn look(server: &Server) -> Vec<Finding> {
    let mut found = Vec::new();
    let address = server.host.to_socket_addrs().ok();
    if let Some(address) = address.and_then(|mut all| all.next()) {
        // What is wrong with the address itself was told before.
        if let Ok(answer) = server.check().await {
            found.push(own(address, answer));
        }
        for port in USUAL.into_iter().filter(|port| *port != address.port()) {
            let probe = match server.at(port).check().await {
                Ok(Answer::Server) => Probe::Own,
                _ => probe(SocketAddr::new(address.ip(), port)),
            };
            found.push(usual_finding(port, &probe));
        }
    }
    found
}

/// What became of the wish to listen.
#[derive(Debug, PartialEq, Eq)]
enum Probe {
    /// The server listens there.
    Own,
    Free,
    Taken(Option<String>),
    Forbidden,
    Impossible(String),
}

/// Tries to listen, and lets go at once.
fn probe(address: SocketAddr) -> Probe {
    match TcpListener::bind(address) {
        Ok(_) => Probe::Free,
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => Probe::Taken(holder::of(address.port())),
            io::ErrorKind::PermissionDenied => Probe::Forbidden,
            _ => Probe::Impossible(error.to_string()),
        },
    }
}

fn own(address: SocketAddr, answer: Answer) -> Finding {
    let other = "set RACK_SERVER_LISTEN to a free address of this machine";
    let probe = match answer {
        Answer::Server => Probe::Own,
        _ => probe(address),
    };
    match probe {
        Probe::Own => Finding::ok(CHECK, format!("{address} is the server's")),
        Probe::Free => Finding::ok(CHECK, format!("{address} is free for the server")),
        Probe::Taken(by) => Finding::new(
            CHECK,
            State::Broken,
            format!("{address} is held by {}", named(by.as_deref())),
            format!("{}, or {other}", end(by.as_deref(), address.port())),
        ),
        Probe::Forbidden => Finding::new(
            CHECK,
            State::Broken,
            format!("your user may not listen on {address}"),
            other,
        ),
        Probe::Impossible(why) => Finding::new(
            CHECK,
            State::Broken,
            format!("nobody can listen on {address}: {why}"),
            other,
        ),
    }
}

/// Nothing depends on these: apps have addresses with the server's port.
fn usual_finding(port: u16, probe: &Probe) -> Finding {
    match probe {
        Probe::Own => Finding::ok(CHECK, format!("{port} is the server's")),
        Probe::Free => Finding::ok(
            CHECK,
            format!("{port} is free: `convox install {}` takes it", option(port)),
        ),
        Probe::Taken(by) => Finding::new(
            CHECK,
            State::Note,
            format!("{port} is held by {}", named(by.as_deref())),
            format!(
                "{} and `convox install {}` if apps are to have addresses without a port; with one \
                 they are reached anyway",
                end(by.as_deref(), port),
                option(port)
            ),
        ),
        Probe::Forbidden => Finding::new(
            CHECK,
            State::Note,
            format!("{port} is for privileged programs only"),
            format!(
                "`sudo sysctl net.ipv4.ip_unprivileged_port_start={port}` allows it to all, if apps \
                 are to have addresses without a port (`convox install {}`)",
                option(port)
            ),
        ),
        Probe::Impossible(why) => Finding::new(
            CHECK,
            State::Note,
            format!("nobody can listen on {port}: {why}"),
            "apps are reached by addresses with the server's port",
        ),
    }
}

/// What has the server listen there too.
fn option(port: u16) -> String {
    let scheme = if port == 443 { "https" } else { "http" };
    format!("--{scheme} {port}")
}

fn named(by: Option<&str>) -> &str {
    by.unwrap_or("another program")
}

fn end(by: Option<&str>, port: u16) -> String {
    match by {
        Some(by) => format!("end {by}"),
        None => format!("end it (`sudo lsof -i :{port}` tells which it is)"),
    }
}

/// Who listens, as far as a user may know.
#[cfg(target_os = "linux")]
mod holder {
    use std::fs;

    /// State of a socket that listens.
    const LISTENING: &str = "0A";

    /// `nginx (pid 12)`, if it is a program of this user.
    pub(super) fn of(port: u16) -> Option<String> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter();
        let sockets: Vec<_> = tables
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listening(&table, port))
            .collect();
        for process in fs::read_dir("/proc").ok()?.flatten() {
            let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            // Those of others can not be read.
            let open = fs::read_dir(process.path().join("fd"));
            let holds = open.into_iter().flatten().flatten().any(|file| {
                let target = fs::read_link(file.path());
                target.is_ok_and(|target| {
                    sockets
                        .iter()
                        .any(|socket| *socket == target.to_string_lossy())
                })
            });
            if holds {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("{} (pid {pid})", name.trim()));
            }
        }
        None
    }

    /// Sockets that listen on a port, as open files name them.
    pub(super) fn listening(table: &str, port: u16) -> Vec<String> {
        let port = format!(":{port:04X}");
        let rows = table.lines().skip(1).filter_map(|row| {
            let mut words = row.split_whitespace();
            let (local, state) = (words.nth(1)?, words.nth(1)?);
            let inode = words.nth(5)?;
            (local.ends_with(&port) && state == LISTENING).then(|| format!("socket:[{inode}]"))
        });
        rows.collect()
    }
}

/// Who listens is not told here.
#[cfg(not(target_os = "linux"))]
mod holder {
    pub(super) fn of(_: u16) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_told_with_who_holds_it() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = held.local_addr().expect("bound");
        let Probe::Taken(by) = probe(address) else {
            panic!("it is taken");
        };
        if cfg!(target_os = "linux") {
            let own = format!("(pid {})", std::process::id());
            assert!(by.as_deref().is_some_and(|by| by.ends_with(&own)), "{by:?}");
        }
        let finding = own(address, Answer::Other);
        assert_eq!(finding.state, State::Broken);
        assert!(finding.found.starts_with(&format!("{address} is held by ")));
        assert_eq!(own(address, Answer::Server).state, State::Ok);
        drop(held);
    }

    #[test]
    fn every_finding_on_the_usual_ports_has_a_fix() {
        assert_eq!(usual_finding(80, &Probe::Free).state, State::Ok);
        for probe in [
            Probe::Taken(None),
            Probe::Taken(Some("nginx (pid 1)".into())),
            Probe::Forbidden,
            Probe::Impossible("why".into()),
        ] {
            let finding = usual_finding(80, &probe);
            assert_eq!(finding.state, State::Note, "{probe:?}");
            assert!(finding.fix.is_some(), "{probe:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sockets_that_listen_are_found_in_the_systems_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 4242 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:1538 0100007F:9999 01 00000000:00000000 00:00000000 00000000   999        0 4243 1 0 20 4 30 10 -1\n\
            \x20  2: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 4244 1 0 100 0 0 10 0\n";
        assert_eq!(holder::listening(table, 0x1538), ["socket:[4242]"]);
        assert!(holder::listening(table, 80).is_empty());
    }
}
