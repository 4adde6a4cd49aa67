//! What the rack itself remembers: its parameters, and the versions it has been run by.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::params;

use super::{Result, Store, from_nanos, to_nanos};

impl Store {
    /// Parameters of the rack by name.
    pub async fn parameters(&self) -> Result<BTreeMap<String, String>> {
        self.call(|db| {
            let mut query = db.prepare_cached("SELECT name, value FROM parameters")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Sets some parameters, all or none; the others stay.
    pub async fn set_parameters(&self, parameters: BTreeMap<String, String>) -> Result<()> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            for (name, value) in parameters {
                transaction.execute(
                    "INSERT OR REPLACE INTO parameters (name, value) VALUES (?, ?)",
                    params![name, value],
                )?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Records that a version runs the rack. The one that ran it last is the newest.
    pub async fn record_version(&self, version: &str, now: Timestamp) -> Result<()> {
        let version = version.to_owned();
        self.call(move |db| {
            let newest: Option<String> = db
                .prepare_cached("SELECT version FROM versions ORDER BY created DESC LIMIT 1")?
                .query_map([], |row| row.get(0))?
                .next()
                .transpose()?;
            if newest.as_ref() != Some(&version) {
                db.execute(
                    "INSERT OR REPLACE INTO versions (version, created) VALUES (?, ?)",
                    params![version, to_nanos(now)],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Versions that ran the rack, the newest first.
    pub async fn versions(&self, limit: i64) -> Result<Vec<(String, Timestamp)>> {
        self.call(move |db| {
            let mut query = db.prepare_cached(
                "SELECT version, created FROM versions ORDER BY created DESC LIMIT ?",
            )?;
            let rows =
                query.query_map([limit], |row| Ok((row.get(0)?, from_nanos(row.get(1)?))))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
