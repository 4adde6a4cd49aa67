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
    /// Command a client has attached to it; what it runs itself only keeps it alive.
    pub attached: String,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
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
                    "SELECT id, app, service, release, command, attached, started, ended, status FROM runs WHERE app = ? AND id = ?",
                    [app, id],
                    |row| {
                        Ok(RunRow {
                            id: row.get(0)?,
                            app: row.get(1)?,
                            service: row.get(2)?,
                            release: row.get(3)?,
                            command: row.get(4)?,
                            attached: row.get(5)?,
                            started: from_nanos(row.get(6)?),
                            ended: row.get::<_, Option<i64>>(7)?.map(from_nanos),
                            status: row.get(8)?,
                        })
                    },
                )
                .optional()?)
        })
        .await
    }

    /// Attaches a command to a one-off process that runs and has none yet. From then on
    /// its status is that of the command. False when it has one, or has ended.
    pub async fn attach_run(&self, id: &str, command: &str) -> Result<bool> {
        let (id, command) = (id.to_owned(), command.to_owned());
        self.call(move |db| {
            let changed = db.execute(
                "UPDATE runs SET attached = ? WHERE id = ? AND attached = '' AND status IS NULL",
                [command, id],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Records the end of a one-off process, or of the command attached to it; the first
    /// status recorded stays.
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

    /// Records the end of a one-off process itself. If a command was attached whose end
    /// nobody saw, success of what only kept the process alive is no success: -1.
    pub async fn end_own_run(&self, id: &str, status: i64, now: Timestamp) -> Result<()> {
        let id = id.to_owned();
        self.call(move |db| {
            db.execute(
                "UPDATE runs SET status = CASE WHEN attached <> '' AND ?1 = 0 THEN -1 ELSE ?1 END, ended = ?2
                 WHERE id = ?3 AND status IS NULL",
                params![status, to_nanos(now), id],
            )?;
            Ok(())
        })
        .await
    }

    /// Records the end of all one-off processes that are not among those alive: their
    /// status is unknown, -1.
    pub async fn end_lost_runs(&self, alive: Vec<String>, now: Timestamp) -> Result<()> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let open: Vec<String> = transaction
                .prepare("SELECT id FROM runs WHERE status IS NULL")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for id in open.iter().filter(|id| !alive.contains(id)) {
                transaction.execute(
                    "UPDATE runs SET status = -1, ended = ? WHERE id = ?",
                    params![to_nanos(now), id],
                )?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}
