//! Generated passwords of resources.

use rusqlite::params;

use super::{Result, Store};

impl Store {
    /// The password of a resource; `fresh` is recorded and returned when there is none yet.
    pub async fn resource_password(&self, app: &str, name: &str, fresh: String) -> Result<String> {
        let (app, name) = (app.to_owned(), name.to_owned());
        self.call(move |db| {
            db.execute(
                "INSERT OR IGNORE INTO resources (app, name, password) VALUES (?, ?, ?)",
                params![app, name, fresh],
            )?;
            Ok(db.query_row(
                "SELECT password FROM resources WHERE app = ? AND name = ?",
                params![app, name],
                |row| row.get(0),
            )?)
        })
        .await
    }

    /// Names of all resources an app ever had.
    pub async fn resource_names(&self, app: &str) -> Result<Vec<String>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query =
                db.prepare_cached("SELECT name FROM resources WHERE app = ? ORDER BY name")?;
            let rows = query.query_map([app], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
