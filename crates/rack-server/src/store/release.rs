//! Releases.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Result, Store, from_nanos, to_nanos};

/// A release as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    /// Id.
    pub id: String,
    /// App.
    pub app: String,
    /// Build id or empty.
    pub build: String,
    /// Environment text.
    pub env: String,
    /// Manifest text.
    pub manifest: String,
    /// Text for people.
    pub description: String,
    /// When it was made; unique and increasing.
    pub created: Timestamp,
    /// Why its last promote failed.
    pub reason: String,
}

/// A release to be made: the environment is that of the latest release unless given.
#[derive(Clone)]
pub struct NewRelease {
    /// Id to give it.
    pub id: String,
    /// App.
    pub app: String,
    /// Build id or empty.
    pub build: String,
    /// Environment text; `None` takes the latest release's.
    pub env: Option<String>,
    /// Manifest text.
    pub manifest: String,
    /// Text for people.
    pub description: String,
    /// The clock; pushed forward if a release of that or a later time exists.
    pub now: Timestamp,
}

const COLUMNS: &str = "id, app, build, env, manifest, description, created, reason";

fn read(row: &Row<'_>) -> rusqlite::Result<ReleaseRow> {
    Ok(ReleaseRow {
        id: row.get(0)?,
        app: row.get(1)?,
        build: row.get(2)?,
        env: row.get(3)?,
        manifest: row.get(4)?,
        description: row.get(5)?,
        created: from_nanos(row.get(6)?),
        reason: row.get(7)?,
    })
}

fn latest(db: &Connection, app: &str) -> Result<Option<ReleaseRow>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM releases WHERE app = ? ORDER BY created DESC LIMIT 1"
        ))?
        .query_row([app], read)
        .optional()?)
}

pub(super) fn insert(db: &Connection, new: NewRelease) -> Result<ReleaseRow> {
    let last: Option<i64> =
        db.query_row("SELECT max(created) FROM releases", [], |row| row.get(0))?;
    let created = last.map_or(to_nanos(new.now), |last| to_nanos(new.now).max(last + 1));
    let env = match new.env {
        Some(env) => env,
        None => latest(db, &new.app)?
            .map(|release| release.env)
            .unwrap_or_default(),
    };
    db.execute(
        "INSERT INTO releases (id, app, build, env, manifest, description, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![new.id, new.app, new.build, env, new.manifest, new.description, created],
    )?;
    Ok(ReleaseRow {
        id: new.id,
        app: new.app,
        build: new.build,
        env,
        manifest: new.manifest,
        description: new.description,
        created: from_nanos(created),
        reason: String::new(),
    })
}

impl Store {
    /// Looks a release of an app up.
    pub async fn release(&self, app: &str, id: &str) -> Result<Option<ReleaseRow>> {
        let (app, id) = (app.to_owned(), id.to_owned());
        self.call(move |db| {
            Ok(db
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM releases WHERE app = ? AND id = ?"
                ))?
                .query_row([app, id], read)
                .optional()?)
        })
        .await
    }

    /// The newest release of an app, promoted or not.
    pub async fn latest_release(&self, app: &str) -> Result<Option<ReleaseRow>> {
        let app = app.to_owned();
        self.call(move |db| latest(db, &app)).await
    }

    /// Lists an app's releases, newest first.
    pub async fn releases(&self, app: &str, limit: i64) -> Result<Vec<ReleaseRow>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM releases WHERE app = ? ORDER BY created DESC LIMIT ?"
            ))?;
            let rows = query.query_map(params![app, limit], read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Records a release, if the one named is the newest of its app still; empty
    /// stands for none. Otherwise nothing is recorded.
    pub async fn create_release_after(
        &self,
        new: NewRelease,
        newest: String,
    ) -> Result<Option<ReleaseRow>> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let now = latest(&transaction, &new.app)?.map(|release| release.id);
            if now.unwrap_or_default() != newest {
                return Ok(None);
            }
            let release = insert(&transaction, new)?;
            transaction.commit()?;
            Ok(Some(release))
        })
        .await
    }

    /// Records why a promote of a release failed.
    pub async fn set_release_reason(&self, id: &str, reason: &str) -> Result<()> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.call(move |db| {
            db.execute(
                "UPDATE releases SET reason = ? WHERE id = ?",
                params![reason, id],
            )?;
            Ok(())
        })
        .await
    }
}
