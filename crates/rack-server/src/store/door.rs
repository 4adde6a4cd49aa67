//! Ports of this machine that lead to services, kept so that they stay the same.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Result, Store};

impl Store {
    /// The ports of an app's doors, by name.
    pub async fn doors(&self, app: &str) -> Result<BTreeMap<String, u16>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query = db.prepare_cached("SELECT name, port FROM doors WHERE app = ?")?;
            let rows = query.query_map([app], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Replaces the ports of an app's doors.
    pub async fn set_doors(&self, app: &str, doors: BTreeMap<String, u16>) -> Result<()> {
        let app = app.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute("DELETE FROM doors WHERE app = ?", [&app])?;
            for (name, port) in &doors {
                transaction.execute(
                    "INSERT INTO doors (app, name, port) VALUES (?, ?, ?)",
                    params![app, name, port],
                )?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}
