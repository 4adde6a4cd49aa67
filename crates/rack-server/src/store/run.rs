//! One-off processes; a row outlives the container, so that the exit status
//! survives a broken stream.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{Result, Store, from_nanos, to_nanos};

/// A one-off process as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Process id.
    pub id: String,
    /// App.
    pub app: String,
    /// Service whose image it runs.
    pub service: String,
    /// Release it runs.
    pub release: String,
    /// Command as given.
    pub command: String,
    /// When it started.
    pub started: Timestamp,
    /// Exit status once it ended.
    pub status: Option<i64>,
}

impl Store {
    /// Records a one-off process that has started.
    pub async fn create_run(&self, run: RunRow) -> Result<()> {
        self.call(move |db| {
            db.execute(
                "INSERT OR REPLACE INTO runs (id, app, service, release, command, started) VALUES (?, ?, ?, ?, ?, ?)",
                params![run.id, run.app, run.service, run.release, run.command, to_nanos(run.started)],
            )?;
            Ok(())
        })
        .await
    }

    /// Looks a one-off process up.
    pub async fn run(&self, app: &str, id: &str) -> Result<Option<RunRow>> {
        let (app, id) = (app.to_owned(), id.to_owned());
        self.call(move |db| {
            Ok(db
                .query_row(
                    "SELECT id, app, service, release, command, started, status FROM runs WHERE app = ? AND id = ?",
                    [app, id],
                    |row| {
                        Ok(RunRow {
                            id: row.get(0)?,
                            app: row.get(1)?,
                            service: row.get(2)?,
                            release: row.get(3)?,
                            command: row.get(4)?,
                            started: from_nanos(row.get(5)?),
                            status: row.get(6)?,
                        })
                    },
                )
                .optional()?)
        })
        .await
    }

    /// Records the end of a one-off process; the first status recorded stays.
    pub async fn end_run(&self, id: &str, status: i64, now: Timestamp) -> Result<()> {
        let id = id.to_owned();
        self.call(move |db| {
            db.execute(
                "UPDATE runs SET status = ?, ended = ? WHERE id = ? AND status IS NULL",
                params![status, to_nanos(now), id],
            )?;
            Ok(())
        })
        .await
    }
}
