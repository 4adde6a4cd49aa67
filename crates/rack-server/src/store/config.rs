//! Configs: named bytes of an app.

use rusqlite::{OptionalExtension as _, params};

use super::{Result, Store};

impl Store {
    /// Configs of an app by name.
    pub async fn configs(&self, app: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query =
                db.prepare_cached("SELECT name, value FROM configs WHERE app = ? ORDER BY name")?;
            let rows = query.query_map([app], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Looks a config of an app up.
    pub async fn config(&self, app: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let (app, name) = (app.to_owned(), name.to_owned());
        self.call(move |db| {
            Ok(db
                .prepare_cached("SELECT value FROM configs WHERE app = ? AND name = ?")?
                .query_row([app, name], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// Sets a config of an app; false when the app is gone or on its way out.
    pub async fn set_config(&self, app: &str, name: &str, value: Vec<u8>) -> Result<bool> {
        let (app, name) = (app.to_owned(), name.to_owned());
        self.call(move |db| {
            // Nothing may be recorded behind the back of a delete.
            Ok(db.execute(
                "INSERT INTO configs (app, name, value)
                 SELECT name, ?, ? FROM apps WHERE name = ? AND status <> ?
                 ON CONFLICT DO UPDATE SET value = excluded.value",
                params![name, value, app, rack_api::app::status::DELETING],
            )? == 1)
        })
        .await
    }
}
