//! What the machine has: room on its disk, names below `localhost`.

use std::net::ToSocketAddrs as _;
use std::path::Path;

use rustix::fs::statvfs;

use super::{Finding, State};
use crate::ui::size;

/// Less than this, and the next build may not fit.
const LITTLE: u64 = 5 * 1024 * 1024 * 1024;
/// Less than this, and nothing does.
const NONE: u64 = 512 * 1024 * 1024;

/// Whether there is room for racks.
pub(super) fn disk(data: &Path) -> Finding {
    const CHECK: &str = "disk";
    // The directory may not be there yet.
    let Some(found) = data.ancestors().find_map(|place| statvfs(place).ok()) else {
        return Finding::new(
            CHECK,
            State::Broken,
            format!("can not tell the room at {}", data.display()),
            "set RACK_SERVER_DATA to a directory of yours",
        );
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    room(free, &data.display().to_string())
}

fn room(free: u64, place: &str) -> Finding {
    const CHECK: &str = "disk";
    let finding = format!("{} free at {place}", size(free));
    let fix = "`docker system df` shows what the engine uses, `docker builder prune` frees its build cache";
    match free {
        ..NONE => Finding::new(CHECK, State::Broken, finding, fix),
        NONE..LITTLE => Finding::new(CHECK, State::Warning, finding, fix),
        _ => Finding::ok(CHECK, finding),
    }
}

/// Whether programs find local apps by name.
pub(super) fn names(host: &str) -> Finding {
    const CHECK: &str = "names";
    let port = host
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .unwrap_or(0);
    let name = "web.app.rack.localhost";
    let found = (name, port)
        .to_socket_addrs()
        .is_ok_and(|mut addresses| addresses.all(|address| address.ip().is_loopback()));
    if found {
        Finding::ok(CHECK, "names below localhost are this machine")
    } else {
        Finding::new(
            CHECK,
            State::Note,
            "the system does not know names below localhost",
            "browsers, curl and this client do; others need a line per app in /etc/hosts, or systemd-resolved",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_told() {
        for (free, state) in [
            (0, State::Broken),
            (NONE, State::Warning),
            (LITTLE, State::Ok),
        ] {
            assert_eq!(room(free, "/data").state, state, "{free}");
        }
        assert_eq!(room(LITTLE, "/data").found, "5.00 GiB free at /data");
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_on_the_disk_of_its_parent() {
        let directory = tempfile::tempdir().expect("a directory");
        let finding = disk(&directory.path().join("not/yet"));
        assert!(finding.found.contains(" free at "), "{finding:?}");
    }
}
