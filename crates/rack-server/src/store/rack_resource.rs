//! Resources of the rack, and the apps they are linked to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Result, Store, from_json, to_json, to_nanos};

/// A resource of the rack as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct RackResourceRow {
    /// Name.
    pub name: String,
    /// Type word.
    pub kind: String,
    /// Options that were given.
    pub parameters: BTreeMap<String, String>,
    /// Password, given or generated.
    pub password: String,
    /// Status word.
    pub status: String,
    /// Last event a webhook is done with.
    pub delivered: i64,
    /// Names of linked apps, sorted.
    pub apps: Vec<String>,
}

impl std::fmt::Debug for RackResourceRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RackResourceRow")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// What has become of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// It was made or removed.
    Done,
    /// There was nothing to do.
    Already,
    /// The resource is not there, or not running.
    Unavailable,
}

const COLUMNS: &str = "name, kind, parameters, password, status, delivered";

fn read(row: &Row<'_>) -> rusqlite::Result<(RackResourceRow, String)> {
    Ok((
        RackResourceRow {
            name: row.get(0)?,
            kind: row.get(1)?,
            parameters: BTreeMap::new(),
            password: row.get(3)?,
            status: row.get(4)?,
            delivered: row.get(5)?,
            apps: Vec::new(),
        },
        row.get(2)?,
    ))
}

fn finish(
    db: &Connection,
    (mut resource, parameters): (RackResourceRow, String),
) -> Result<RackResourceRow> {
    resource.parameters = from_json("resource parameters", &parameters)?;
    let mut query =
        db.prepare_cached("SELECT app FROM rack_resource_links WHERE resource = ? ORDER BY app")?;
    let apps = query.query_map([&resource.name], |row| row.get(0))?;
    resource.apps = apps.collect::<rusqlite::Result<_>>()?;
    Ok(resource)
}

/// Moves a resource from one of these statuses to another; false when it was in none
/// of them.
fn move_status(db: &Connection, name: &str, from: &[&str], to: &str) -> Result<bool> {
    let now: Option<String> = db
        .query_row(
            "SELECT status FROM rack_resources WHERE name = ?",
            [name],
            |row| row.get(0),
        )
        .optional()?;
    let may = now.is_some_and(|now| from.contains(&now.as_str()));
    if may {
        db.execute(
            "UPDATE rack_resources SET status = ? WHERE name = ?",
            params![to, name],
        )?;
    }
    Ok(may)
}

impl Store {
    /// Lists resources by name.
    pub async fn rack_resources(&self) -> Result<Vec<RackResourceRow>> {
        self.call(|db| {
            let sql = format!("SELECT {COLUMNS} FROM rack_resources ORDER BY name");
            let mut query = db.prepare_cached(&sql)?;
            let rows = query
                .query_map([], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(|row| finish(db, row)).collect()
        })
        .await
    }

    /// Looks a resource up.
    pub async fn rack_resource(&self, name: &str) -> Result<Option<RackResourceRow>> {
        let name = name.to_owned();
        self.call(move |db| {
            let sql = format!("SELECT {COLUMNS} FROM rack_resources WHERE name = ?");
            let row = db
                .prepare_cached(&sql)?
                .query_row([name], read)
                .optional()?;
            row.map(|row| finish(db, row)).transpose()
        })
        .await
    }

    /// Records a resource; false when the name is taken. It is told of no event that
    /// happened before.
    pub async fn create_rack_resource(&self, row: RackResourceRow, now: Timestamp) -> Result<bool> {
        self.call(move |db| {
            Ok(db.execute(
                "INSERT OR IGNORE INTO rack_resources (name, kind, parameters, password, status, created, delivered)
                 VALUES (?, ?, ?, ?, ?, ?, (SELECT coalesce(max(sequence), 0) FROM events))",
                params![
                    row.name,
                    row.kind,
                    to_json(&row.parameters),
                    row.password,
                    row.status,
                    to_nanos(now)
                ],
            )? == 1)
        })
        .await
    }

    /// Replaces options and status of a resource.
    pub async fn set_rack_resource(
        &self,
        name: &str,
        parameters: &BTreeMap<String, String>,
        status: &'static str,
    ) -> Result<()> {
        let (name, parameters) = (name.to_owned(), to_json(parameters));
        self.call(move |db| {
            db.execute(
                "UPDATE rack_resources SET parameters = ?, status = ? WHERE name = ?",
                params![parameters, status, name],
            )?;
            Ok(())
        })
        .await
    }

    /// Moves a resource from one of these statuses to another; false when it was in
    /// none of them.
    pub async fn change_rack_resource_status(
        &self,
        name: &str,
        from: &'static [&'static str],
        to: &'static str,
    ) -> Result<bool> {
        let name = name.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            let may = move_status(&transaction, &name, from, to)?;
            transaction.commit()?;
            Ok(may)
        })
        .await
    }

    /// Moves a resource that no app is linked to into a status, from one of these;
    /// returns a linked app instead, when there is one.
    pub async fn begin_rack_resource_delete(
        &self,
        name: &str,
        from: &'static [&'static str],
        to: &'static str,
    ) -> Result<std::result::Result<bool, String>> {
        let name = name.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            let linked: Option<String> = transaction
                .query_row(
                    "SELECT app FROM rack_resource_links WHERE resource = ? ORDER BY app LIMIT 1",
                    [&name],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(app) = linked {
                return Ok(Err(app));
            }
            let may = move_status(&transaction, &name, from, to)?;
            transaction.commit()?;
            Ok(Ok(may))
        })
        .await
    }

    /// Removes what is recorded of a resource.
    pub async fn delete_rack_resource(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute(
                "DELETE FROM rack_resource_links WHERE resource = ?",
                [&name],
            )?;
            transaction.execute("DELETE FROM rack_resources WHERE name = ?", [&name])?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Links an app to a resource that is in this status.
    pub async fn link_rack_resource(
        &self,
        name: &str,
        app: &str,
        status: &'static str,
    ) -> Result<Linked> {
        let (name, app) = (name.to_owned(), app.to_owned());
        self.call(move |db| {
            let transaction = db.transaction()?;
            let there = transaction
                .query_row(
                    "SELECT 1 FROM rack_resources WHERE name = ? AND status = ?
                     AND EXISTS (SELECT 1 FROM apps WHERE name = ? AND status <> 'deleting')",
                    params![name, status, app],
                    |_| Ok(()),
                )
                .optional()?;
            if there.is_none() {
                return Ok(Linked::Unavailable);
            }
            let made = transaction.execute(
                "INSERT OR IGNORE INTO rack_resource_links (resource, app) VALUES (?, ?)",
                params![name, app],
            )?;
            transaction.commit()?;
            Ok(if made == 1 {
                Linked::Done
            } else {
                Linked::Already
            })
        })
        .await
    }

    /// Removes a link.
    pub async fn unlink_rack_resource(&self, name: &str, app: &str) -> Result<Linked> {
        let (name, app) = (name.to_owned(), app.to_owned());
        self.call(move |db| {
            let removed = db.execute(
                "DELETE FROM rack_resource_links WHERE resource = ? AND app = ?",
                params![name, app],
            )?;
            Ok(if removed == 1 {
                Linked::Done
            } else {
                Linked::Already
            })
        })
        .await
    }

    /// The resources an app is linked to, by name.
    pub async fn linked_rack_resources(&self, app: &str) -> Result<Vec<RackResourceRow>> {
        let all = self.rack_resources().await?;
        let linked = |row: &RackResourceRow| row.apps.iter().any(|linked| linked == app);
        Ok(all.into_iter().filter(linked).collect())
    }

    /// A webhook is done with an event and all before it.
    pub async fn set_delivered(&self, name: &str, sequence: i64) -> Result<()> {
        let name = name.to_owned();
        self.call(move |db| {
            db.execute(
                "UPDATE rack_resources SET delivered = ? WHERE name = ?",
                params![sequence, name],
            )?;
            Ok(())
        })
        .await
    }
}
