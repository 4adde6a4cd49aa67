//! Versions: of this client, the local server, the engine's API and the racks; whether they go
//! together, and what helps where they do not.

use futures::future::join_all;
use rack_api::client::Client;

use super::{Finding, State};
use crate::context::Context;
use crate::legacy;

const CHECK: &str = "versions";
const OWN: &str = env!("CARGO_PKG_VERSION");

/// A rack and what it says of its version.
struct Of {
    rack: String,
    version: String,
    /// Version of the server it lives in, if it is one of ours; `version` is then what
    /// clients of all generations take for a new one.
    server: Option<String>,
}

/// Asks the racks that answer.
pub(super) async fn look(context: &Context, engine: Option<&str>) -> Vec<Finding> {
    let Ok(listing) = context.known_racks().await else {
        // Why not is told of the racks themselves.
        return vec![summary(engine, &[])];
    };
    let running = listing.racks.into_iter();
    let running = running.filter(|known| known.status != "unknown");
    let asked = running.map(async |known| {
        let client = Client::new(known.reach.endpoint().clone());
        let system = client.system_get().await.ok()?;
        Some(Of {
            rack: known.reach.name,
            version: system.version,
            server: client.server_version(),
        })
    });
    let racks: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    let mut found = vec![summary(engine, &racks)];
    found.extend(racks.iter().filter_map(trouble));
    found
}

/// All that are known, in one line.
fn summary(engine: Option<&str>, racks: &[Of]) -> Finding {
    let mut parts = vec![format!("client {OWN}")];
    parts.extend(engine.map(|version| format!("engine API {version}")));
    parts.extend(racks.iter().map(|of| {
        let version = of.server.as_ref().unwrap_or(&of.version);
        format!("{} {version}", of.rack)
    }));
    Finding::ok(CHECK, parts.join(", "))
}

/// What does not go together with this client.
fn trouble(of: &Of) -> Option<Finding> {
    let Of {
        rack,
        version,
        server,
    } = of;
    if let Some(server) = server {
        return (server != OWN).then(|| Finding::new(
            CHECK,
            State::Warning,
            format!("the server of {rack} has version {server}, this client {OWN}"),
            "install both from one build, end the server and run any command: it starts the new one",
        ));
    }
    legacy::is_old(version).then(|| {
        Finding::new(
            CHECK,
            State::Note,
            format!("{rack} has version {version}, which takes the calls of 2018 only"),
            format!("`convox rack update -r {rack}` brings it up to date; until then not every command works"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_told_with_what_to_do() {
        let of = |version: &str, ours: bool| Of {
            rack: "r".to_owned(),
            version: if ours { "3.24.6-local" } else { version }.to_owned(),
            server: ours.then(|| version.to_owned()),
        };
        let state = |of: &Of| trouble(of).map(|finding| finding.state);
        assert_eq!(state(&of(OWN, true)), None);
        assert_eq!(state(&of("0.0.1", true)), Some(State::Warning));
        assert_eq!(state(&of("20180228170419", false)), Some(State::Note));
        for version in ["20260418101514", "3.24.6", "dev", ""] {
            assert_eq!(state(&of(version, false)), None, "{version}");
        }
        let all = summary(Some("1.41"), &[of(OWN, true)]).found;
        assert_eq!(all, format!("client {OWN}, engine API 1.41, r {OWN}"));
    }
}
