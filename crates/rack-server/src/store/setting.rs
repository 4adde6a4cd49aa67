//! What the rack itself remembers, by name.

use rusqlite::{OptionalExtension as _, params};

use super::{Result, Store};

impl Store {
    /// A setting, if it was ever made.
    pub async fn setting(&self, name: &'static str) -> Result<Option<String>> {
        self.call(move |db| {
            let mut query = db.prepare_cached("SELECT value FROM settings WHERE name = ?")?;
            Ok(query.query_row([name], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// A setting; `fresh` is recorded and returned when there is none yet.
    pub async fn setting_or(&self, name: &'static str, fresh: String) -> Result<String> {
        self.call(move |db| {
            db.execute(
                "INSERT OR IGNORE INTO settings (name, value) VALUES (?, ?)",
                params![name, fresh],
            )?;
            let value = "SELECT value FROM settings WHERE name = ?";
            Ok(db.query_row(value, [name], |row| row.get(0))?)
        })
        .await
    }

    /// Replaces a setting.
    pub async fn set_setting(&self, name: &'static str, value: String) -> Result<()> {
        self.call(move |db| {
            db.execute(
                "INSERT INTO settings (name, value) VALUES (?, ?)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
                params![name, value],
            )?;
            Ok(())
        })
        .await
    }
}
