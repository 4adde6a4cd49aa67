//! Logins to image registries.

use rusqlite::params;

use super::{Result, Store};

/// A login as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryRow {
    /// Registry, as the user wrote it.
    pub server: String,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for RegistryRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryRow")
            .field("server", &self.server)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// All logins, by server.
    pub async fn registries(&self) -> Result<Vec<RegistryRow>> {
        self.call(|db| {
            let mut query = db.prepare_cached(
                "SELECT server, username, password FROM registries ORDER BY server",
            )?;
            let rows = query.query_map([], |row| {
                Ok(RegistryRow {
                    server: row.get(0)?,
                    username: row.get(1)?,
                    password: row.get(2)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Records a login; a former one to the same server goes.
    pub async fn set_registry(&self, row: RegistryRow) -> Result<()> {
        self.call(move |db| {
            db.execute(
                "INSERT OR REPLACE INTO registries (server, username, password) VALUES (?, ?, ?)",
                params![row.server, row.username, row.password],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets a login; says whether there was one.
    pub async fn remove_registry(&self, server: &str) -> Result<bool> {
        let server = server.to_owned();
        self.call(move |db| {
            let gone = db.execute("DELETE FROM registries WHERE server = ?", [server])?;
            Ok(gone > 0)
        })
        .await
    }
}
