//! Ways to what the rack runs, for clients that cannot reach it themselves.
//!
//! Only processes of this rack can be reached, by the names they have among each
//! other, by their ids and by their own addresses: whoever may use a rack gets no way
//! into the network of the host.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Rack;
use crate::engine::{Connection, Phase, ProcessState, label};
use crate::operations::plan::SERVICE;
use crate::operations::{Failure, Result};

/// How long a process may take to accept (`rack-api.md` §2.7).
const DIAL: Duration = Duration::from_secs(5);
/// Digits that make a process id.
const ID_LENGTH: usize = 12;

impl Rack {
    /// Connects to a port of something the rack runs.
    pub async fn proxy(&self, host: &str, port: &str) -> Result<Connection> {
        let number = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Failure::Invalid("invalid proxy port".into()))?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let mut found = self
            .context
            .engine
            .processes(&self.context.labels())
            .await?;
        found.retain(|state| state.phase == Phase::Running && self.answers_to(state, &host));
        // Of several the healthy ones that stay; among those, any.
        let serves = |state: &ProcessState| {
            self.context.fleet.get(&state.id).is_some_and(|member| {
                member.healthy.load(Ordering::SeqCst) && !member.retiring.load(Ordering::SeqCst)
            })
        };
        if found.iter().any(serves) {
            found.retain(serves);
        }
        if found.is_empty() {
            return Err(Failure::Invalid("invalid proxy host".into()));
        }
        let chosen = rand::random_range(0..found.len());
        let dialled = self.context.engine.dial(&found[chosen].id, number);
        match tokio::time::timeout(DIAL, dialled).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(Failure::Failed(format!(
                "{host}:{number} does not answer within {} seconds",
                DIAL.as_secs()
            ))),
        }
    }

    /// Whether a process has this name, id or address.
    fn answers_to(&self, state: &ProcessState, host: &str) -> bool {
        let text = |name: &str| state.labels.get(name).map_or("", String::as_str);
        let (name, app) = (text(label::NAME), text(label::APP));
        let id = host.len() >= ID_LENGTH && state.id.starts_with(host);
        let alias = state
            .aliases
            .iter()
            .any(|alias| alias.eq_ignore_ascii_case(host));
        let service = text(label::KIND) == SERVICE
            && (host == format!("{name}.{app}") || host == self.context.host(app, name));
        let address = host
            .parse::<IpAddr>()
            .is_ok_and(|address| state.addresses.contains(&address));
        id || alias || service || address
    }
}
