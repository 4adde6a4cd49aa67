//! Apps.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Result, Store, from_json, to_json, to_nanos};

/// An app as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRow {
    /// Name.
    pub name: String,
    /// Manifest generation.
    pub generation: String,
    /// Protected from deletion.
    pub locked: bool,
    /// Active release id or empty.
    pub release: String,
    /// Status word.
    pub status: String,
    /// Parameters.
    pub parameters: BTreeMap<String, String>,
}

const COLUMNS: &str = "name, generation, locked, release, status, parameters";

fn read(row: &Row<'_>) -> rusqlite::Result<(AppRow, String)> {
    Ok((
        AppRow {
            name: row.get(0)?,
            generation: row.get(1)?,
            locked: row.get(2)?,
            release: row.get(3)?,
            status: row.get(4)?,
            parameters: BTreeMap::new(),
        },
        row.get(5)?,
    ))
}

fn finish((mut app, parameters): (AppRow, String)) -> Result<AppRow> {
    app.parameters = from_json("app parameters", &parameters)?;
    Ok(app)
}

pub(super) fn get(connection: &Connection, name: &str) -> Result<Option<AppRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM apps WHERE name = ?"))?
        .query_row([name], read)
        .optional()?
        .map(finish)
        .transpose()
}

impl Store {
    /// Looks an app up.
    pub async fn app(&self, name: &str) -> Result<Option<AppRow>> {
        let name = name.to_owned();
        self.call(move |db| get(db, &name)).await
    }

    /// Lists apps by name.
    pub async fn apps(&self) -> Result<Vec<AppRow>> {
        self.call(|db| {
            let mut query =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM apps ORDER BY name"))?;
            let rows = query
                .query_map([], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(finish).collect()
        })
        .await
    }

    /// Lists the apps whose active release has a word in its manifest.
    pub async fn apps_with(&self, word: &'static str) -> Result<Vec<AppRow>> {
        self.call(move |db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM apps WHERE release IN
                 (SELECT id FROM releases WHERE id = apps.release AND instr(manifest, ?) > 0)
                 ORDER BY name"
            ))?;
            let rows = query
                .query_map([word], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(finish).collect()
        })
        .await
    }

    /// Creates an app; false when the name is taken.
    pub async fn create_app(
        &self,
        name: &str,
        generation: &str,
        status: &'static str,
        now: Timestamp,
    ) -> Result<bool> {
        let (name, generation) = (name.to_owned(), generation.to_owned());
        self.call(move |db| {
            Ok(db.execute(
                "INSERT OR IGNORE INTO apps (name, generation, status, created) VALUES (?, ?, ?, ?)",
                params![name, generation, status, to_nanos(now)],
            )? == 1)
        })
        .await
    }

    /// Sets or clears deletion protection.
    pub async fn lock_app(&self, name: &str, locked: bool) -> Result<()> {
        let name = name.to_owned();
        self.call(move |db| {
            db.execute(
                "UPDATE apps SET locked = ? WHERE name = ?",
                params![locked, name],
            )?;
            Ok(())
        })
        .await
    }

    /// Adds to an app's parameters; those of the same names are replaced.
    pub async fn merge_app_parameters(
        &self,
        name: &str,
        changes: BTreeMap<String, String>,
    ) -> Result<()> {
        let name = name.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            if let Some(app) = get(&transaction, &name)? {
                let mut parameters = app.parameters;
                parameters.extend(changes);
                transaction.execute(
                    "UPDATE apps SET parameters = ? WHERE name = ?",
                    params![to_json(&parameters), name],
                )?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Moves an app into a status, unless it is linked to a resource of the rack, whose
    /// name is returned then.
    pub async fn begin_app_delete(
        &self,
        name: &str,
        status: &'static str,
    ) -> Result<Option<String>> {
        let name = name.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            let linked: Option<String> = transaction
                .query_row(
                    "SELECT resource FROM rack_resource_links WHERE app = ? ORDER BY resource LIMIT 1",
                    [&name],
                    |row| row.get(0),
                )
                .optional()?;
            if linked.is_none() {
                transaction.execute(
                    "UPDATE apps SET status = ? WHERE name = ?",
                    params![status, name],
                )?;
            }
            transaction.commit()?;
            Ok(linked)
        })
        .await
    }

    /// Moves an app from one status to another; false when it was in a third.
    pub async fn change_app_status(
        &self,
        name: &str,
        from: &'static str,
        to: &'static str,
    ) -> Result<bool> {
        let name = name.to_owned();
        self.call(move |db| {
            Ok(db.execute(
                "UPDATE apps SET status = ? WHERE name = ? AND status = ?",
                params![to, name, from],
            )? == 1)
        })
        .await
    }

    /// Sets an app's status whatever it was.
    pub async fn set_app_status(&self, name: &str, status: &'static str) -> Result<()> {
        let name = name.to_owned();
        self.call(move |db| {
            db.execute(
                "UPDATE apps SET status = ? WHERE name = ?",
                params![status, name],
            )?;
            Ok(())
        })
        .await
    }

    /// Makes a release the active one and its rollout the current one of the
    /// given services, in one step. Rollouts of services not named are dropped
    /// when `all` says the list is complete.
    pub async fn activate(
        &self,
        app: &str,
        release: &str,
        rollout: &str,
        services: &[String],
        others: Option<&[String]>,
    ) -> Result<()> {
        let others = others.map(|others| serde_json::json!(others).to_string());
        let (app, release, rollout, services) = (
            app.to_owned(),
            release.to_owned(),
            rollout.to_owned(),
            services.to_vec(),
        );
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute(
                "UPDATE apps SET release = ? WHERE name = ?",
                params![release, app],
            )?;
            transaction.execute("UPDATE releases SET reason = '' WHERE id = ?", [&release])?;
            if let Some(others) = others {
                transaction.execute(
                    "DELETE FROM rollouts WHERE app = ?
                     AND service NOT IN (SELECT value FROM json_each(?))",
                    params![app, others],
                )?;
            }
            for service in services {
                transaction.execute(
                    "INSERT INTO rollouts (app, service, rollout) VALUES (?, ?, ?)
                     ON CONFLICT DO UPDATE SET rollout = excluded.rollout",
                    params![app, service, rollout],
                )?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Current rollout by service.
    pub async fn rollouts(&self, app: &str) -> Result<BTreeMap<String, String>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query =
                db.prepare_cached("SELECT service, rollout FROM rollouts WHERE app = ?")?;
            let rows = query.query_map([app], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Removes an app and everything recorded of it, in one step.
    pub async fn delete_app(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute(
                "DELETE FROM images WHERE build IN (SELECT id FROM builds WHERE app = ?)",
                [&name],
            )?;
            for table in [
                "builds",
                "releases",
                "scales",
                "rollouts",
                "resources",
                "runs",
                "configs",
                "doors",
            ] {
                transaction.execute(&format!("DELETE FROM {table} WHERE app = ?"), [&name])?;
            }
            transaction.execute("DELETE FROM apps WHERE name = ?", [&name])?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }
}
