//! Logins to image registries, checked before they are kept.

use rack_api::registry::Registry;

use super::Rack;
use crate::engine::{Credentials, EngineError, registry};
use crate::operations::{Failure, Result};
use crate::store::RegistryRow;

fn show(row: RegistryRow) -> Registry {
    Registry {
        server: row.server,
        username: row.username,
        password: row.password,
    }
}

impl Rack {
    /// Lists the logins by server, passwords included: clients copy them (`rack-api.md` §3.8).
    pub async fn registries(&self) -> Result<Vec<Registry>> {
        let rows = self.context.store.registries().await?;
        Ok(rows.into_iter().map(show).collect())
    }

    /// Adds a login once its registry has taken it.
    pub async fn add_registry(
        &self,
        server: &str,
        username: &str,
        password: &str,
    ) -> Result<Registry> {
        let server = server.trim();
        for (name, value) in [
            ("server", server),
            ("username", username.trim()),
            ("password", password),
        ] {
            if value.is_empty() {
                return Err(Failure::Invalid(format!("{name} must not be blank")));
            }
        }
        let host = registry::host(server).ok_or_else(|| {
            // Not repeated: who writes a URL may have written the password into it.
            Failure::Invalid(
                "server names no registry: give a host such as registry.example.com or 127.0.0.1:5000"
                    .into(),
            )
        })?;
        let login = Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        let taken = self.context.engine.login(&host, &login).await;
        if !taken.map_err(unchecked)? {
            return Err(Failure::Invalid(format!(
                "unable to authenticate: {server} does not take this username and password"
            )));
        }
        let row = RegistryRow {
            server: server.to_owned(),
            username: login.username,
            password: login.password,
        };
        let store = &self.context.store;
        store.set_registry(row.clone()).await?;
        // One login for one registry, whatever it is called.
        for other in store.registries().await? {
            if other.server != server && registry::host(&other.server).as_ref() == Some(&host) {
                store.remove_registry(&other.server).await?;
            }
        }
        self.context.rack_log(&format!("registry {host} added"));
        Ok(show(row))
    }

    /// Forgets a login. The server is named as it was given, or in any other way that
    /// means the same registry.
    pub async fn remove_registry(&self, server: &str) -> Result<()> {
        let server = server.trim();
        let store = &self.context.store;
        let mut gone = store.remove_registry(server).await?;
        if !gone && let Some(host) = registry::host(server) {
            for row in store.registries().await? {
                if registry::host(&row.server).as_ref() == Some(&host) {
                    gone |= store.remove_registry(&row.server).await?;
                }
            }
        }
        if !gone {
            return Err(Failure::NotFound(format!("no such registry: {server}")));
        }
        self.context.rack_log(&format!("registry {server} removed"));
        Ok(())
    }
}

/// A login that could not be checked; an engine that is not there is no matter of logins.
fn unchecked(error: EngineError) -> Failure {
    match error {
        EngineError::Failed(reason) => {
            Failure::Invalid(format!("unable to authenticate: {reason}"))
        }
        EngineError::NotFound { name, .. } => Failure::Invalid(format!(
            "unable to authenticate: {name} does not answer as a registry"
        )),
        other => other.into(),
    }
}
