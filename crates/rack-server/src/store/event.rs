//! What happened on the rack: a bounded history, from which webhooks are told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{Result, Store, from_json, from_nanos, to_json, to_nanos};

/// Events kept; older ones are forgotten.
const HISTORY: i64 = 1000;

/// An event as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Place in the order of events, from 1 on and without gaps.
    pub sequence: i64,
    /// When.
    pub time: Timestamp,
    /// What happened.
    pub action: String,
    /// Status word.
    pub status: String,
    /// To what.
    pub data: BTreeMap<String, String>,
}

impl Store {
    /// Records an event; its sequence is chosen here.
    pub async fn add_event(&self, event: EventRow) -> Result<()> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute(
                "INSERT INTO events (time, action, status, data) VALUES (?, ?, ?, ?)",
                params![
                    to_nanos(event.time),
                    event.action,
                    event.status,
                    to_json(&event.data)
                ],
            )?;
            let sequence = transaction.last_insert_rowid();
            transaction.execute(
                "DELETE FROM events WHERE sequence <= ?",
                [sequence - HISTORY],
            )?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// The oldest event that is still known after a place in the order.
    pub async fn event_after(&self, sequence: i64) -> Result<Option<EventRow>> {
        self.call(move |db| {
            let found = db
                .prepare_cached(
                    "SELECT sequence, time, action, status, data FROM events
                     WHERE sequence > ? ORDER BY sequence LIMIT 1",
                )?
                .query_row([sequence], |row| {
                    let data: String = row.get(4)?;
                    let event = EventRow {
                        sequence: row.get(0)?,
                        time: from_nanos(row.get(1)?),
                        action: row.get(2)?,
                        status: row.get(3)?,
                        data: BTreeMap::new(),
                    };
                    Ok((event, data))
                })
                .optional()?;
            let Some((mut event, data)) = found else {
                return Ok(None);
            };
            event.data = from_json("event data", &data)?;
            Ok(Some(event))
        })
        .await
    }
}
