//! Long operations: what is under way, how far it got, how it ended.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{Result, Store, StoreError, to_nanos};

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Steps are being taken.
    Running,
    /// Steps are being undone.
    Unwinding,
    /// All steps were taken.
    Done,
    /// All steps taken were undone.
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        [Self::Running, Self::Unwinding, Self::Done, Self::Failed]
            .into_iter()
            .find(|outcome| outcome.word() == word)
            .ok_or_else(|| StoreError::Corrupt {
                what: "operation outcome",
                reason: word.to_owned(),
            })
    }
}

/// A long operation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRow {
    /// Random id.
    pub id: String,
    /// App it changes; empty for what concerns the rack.
    pub app: String,
    /// `build`, `import`, `copy`, `promote`, `delete`, `provide`, `remove`.
    pub kind: String,
    /// Where it stands.
    pub outcome: Outcome,
    /// Index of the step that was begun last.
    pub step: usize,
    /// The operation's own data as JSON.
    pub payload: String,
    /// Why it failed.
    pub reason: String,
}

fn read(row: &Row<'_>) -> rusqlite::Result<(OperationRow, String)> {
    Ok((
        OperationRow {
            id: row.get(0)?,
            app: row.get(1)?,
            kind: row.get(2)?,
            outcome: Outcome::Running,
            step: row.get::<_, i64>(4)? as usize,
            payload: row.get(5)?,
            reason: row.get(6)?,
        },
        row.get(3)?,
    ))
}

impl Store {
    /// Records an operation or what has become of it.
    pub async fn save_operation(&self, operation: OperationRow, now: Timestamp) -> Result<()> {
        self.call(move |db| {
            db.execute(
                "INSERT INTO operations (id, app, kind, outcome, step, payload, reason, created, updated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
                 ON CONFLICT DO UPDATE SET outcome = ?4, step = ?5, payload = ?6, reason = ?7, updated = ?8",
                params![
                    operation.id,
                    operation.app,
                    operation.kind,
                    operation.outcome.word(),
                    operation.step as i64,
                    operation.payload,
                    operation.reason,
                    to_nanos(now),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Operations that have not ended, oldest first.
    pub async fn open_operations(&self) -> Result<Vec<OperationRow>> {
        self.call(|db| {
            let mut query = db.prepare_cached(
                "SELECT id, app, kind, outcome, step, payload, reason FROM operations
                 WHERE outcome IN ('running', 'unwinding') ORDER BY created, id",
            )?;
            let rows = query
                .query_map([], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter()
                .map(|(mut operation, outcome)| {
                    operation.outcome = Outcome::parse(&outcome)?;
                    Ok(operation)
                })
                .collect()
        })
        .await
    }
}
