//! The rack itself.

use std::collections::BTreeMap;

use rack_api::process::{Process, status};
use rack_api::release::Release;
use rack_api::system::{System, UpdateOptions};

use super::Rack;
use super::app::check_parameters;
use crate::operations::{Failure, Result};

pub use crate::operations::context::VERSION;

/// Most versions a rack shows.
const MOST_VERSIONS: i64 = 20;
/// What is shown in place of a value that only the rack needs to know.
const MASKED: &str = "****";

impl Rack {
    /// Describes the rack.
    pub async fn system(&self) -> Result<System> {
        let context = &self.context;
        let mut parameters = context.store.parameters().await?;
        for (name, value) in &mut parameters {
            if is_secret(name) && !value.is_empty() {
                MASKED.clone_into(value);
            }
        }
        Ok(System {
            count: 1,
            domain: format!("{}.localhost", context.rack),
            name: context.rack.clone(),
            outputs: BTreeMap::new(),
            parameters,
            provider: "local".into(),
            rack_domain: format!("127.0.0.1:{}", context.settings.port),
            router_internal: String::new(),
            region: String::new(),
            status: "running".into(),
            kind: context.engine.kind().into(),
            version: VERSION.into(),
        })
    }

    /// The certificate that all certificates made here are signed with, PEM.
    pub async fn authority(&self) -> Result<String> {
        Ok(self.context.authority.pem().await?)
    }

    /// Changes the rack: all that is asked for, or nothing. What is a fact of this
    /// machine can only be asked to be what it is.
    pub async fn update_system(&self, options: UpdateOptions) -> Result<()> {
        let kind = self.context.engine.kind();
        // The client of 2017 sends -1 for a count that is not to change.
        if options.count.is_some_and(|count| !matches!(count, -1 | 1)) {
            return Err(Failure::Invalid(
                "count cannot be changed on a local rack: this machine is its one instance".into(),
            ));
        }
        if options.kind.is_some_and(|asked| asked != kind) {
            return Err(Failure::Invalid(format!(
                "type cannot be changed on a local rack: it is {kind}, the engine the rack was made with"
            )));
        }
        check_parameters(&options.parameters)?;
        if let Some(asked) = &options.version {
            self.update_version(asked).await?;
        }
        let mut changed = options.parameters;
        // What a client read masked and sends back is what it was.
        changed.retain(|name, value| !(is_secret(name) && value == MASKED));
        if changed.is_empty() {
            return Ok(());
        }
        let names = changed.keys().cloned().collect::<Vec<_>>().join(", ");
        self.context.store.set_parameters(changed).await?;
        self.context.rack_log(&format!("parameters set: {names}"));
        Ok(())
    }

    /// Updates the rack to the version it has. A rack has the version of the server that
    /// runs it, so any other one is refused: a client that was told `ok` waits for the
    /// rack to be running, which it is, and would call that an update.
    async fn update_version(&self, asked: &str) -> Result<()> {
        let plain = |version: &str| {
            let version = version.strip_prefix('v').unwrap_or(version);
            version.strip_suffix("-local").unwrap_or(version).to_owned()
        };
        if plain(asked) == plain(VERSION) {
            self.context
                .rack_log(&format!("the rack already runs version {VERSION}"));
            return Ok(());
        }
        let known = self.system_releases().await?;
        let known = known
            .iter()
            .any(|release| plain(&release.id) == plain(asked));
        Err(Failure::Invalid(if known {
            format!(
                "version {asked} ran this rack before and {VERSION} runs it now: to go back, \
                 stop rack-server and start the one of version {asked} on the same data"
            )
        } else {
            format!(
                "version {asked} is not known here: a local rack has the version of its \
                 rack-server, {VERSION}; to update it install another rack-server"
            )
        }))
    }

    /// Lists the rack's own process, or with `all` those of its apps too.
    pub async fn system_processes(&self, all: bool) -> Result<Vec<Process>> {
        let mut processes = vec![Process {
            id: self.context.server[..12].to_owned(),
            app: "system".into(),
            command: "rack-server".into(),
            instance: self.context.engine.kind().into(),
            name: "rack".into(),
            release: VERSION.into(),
            started: Some(self.context.started),
            status: status::RUNNING.into(),
            ..Process::default()
        }];
        if all {
            processes.extend(self.all_processes().await?);
        }
        Ok(processes)
    }

    /// Lists the versions that ran the rack, the newest first.
    pub async fn system_releases(&self) -> Result<Vec<Release>> {
        // The one that runs it may not be written down yet.
        let store = &self.context.store;
        store.record_version(VERSION, self.context.started).await?;
        let versions = store.versions(MOST_VERSIONS).await?;
        Ok(versions
            .into_iter()
            .map(|(version, created)| Release {
                id: version,
                created: Some(created),
                ..Release::default()
            })
            .collect())
    }
}

/// Whether a parameter's value is shown to nobody.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token"]
        .iter()
        .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "Password",
            "docker_hub_password",
            "webhookSecret",
            "api-token",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PasswordLength", "tokens", "build_memory"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
