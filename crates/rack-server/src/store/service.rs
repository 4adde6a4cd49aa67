//! Scales that win over the manifest.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Result, Store};

/// What `scale` has set for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScaleRow {
    /// Number of processes.
    pub count: Option<i64>,
    /// Processor share, 1024 for one processor.
    pub cpu: Option<i64>,
    /// Memory in MiB.
    pub memory: Option<i64>,
}

impl Store {
    /// Scales of an app by service.
    pub async fn scales(&self, app: &str) -> Result<BTreeMap<String, ScaleRow>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query =
                db.prepare_cached("SELECT service, count, cpu, memory FROM scales WHERE app = ?")?;
            let rows = query.query_map([app], |row| {
                Ok((
                    row.get(0)?,
                    ScaleRow {
                        count: row.get(1)?,
                        cpu: row.get(2)?,
                        memory: row.get(3)?,
                    },
                ))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Sets what is given and keeps the rest.
    pub async fn set_scale(&self, app: &str, service: &str, scale: ScaleRow) -> Result<()> {
        let (app, service) = (app.to_owned(), service.to_owned());
        self.call(move |db| {
            db.execute(
                "INSERT INTO scales (app, service, count, cpu, memory) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET count = coalesce(excluded.count, count),
                     cpu = coalesce(excluded.cpu, cpu), memory = coalesce(excluded.memory, memory)",
                params![app, service, scale.count, scale.cpu, scale.memory],
            )?;
            Ok(())
        })
        .await
    }

    /// Takes what was given back, unless somebody else has given it another value since.
    pub async fn restore_scale(
        &self,
        app: &str,
        service: &str,
        given: ScaleRow,
        before: ScaleRow,
    ) -> Result<()> {
        let (app, service) = (app.to_owned(), service.to_owned());
        self.call(move |db| {
            db.execute(
                "UPDATE scales SET
                     count = CASE WHEN count IS ?3 AND ?3 IS NOT NULL THEN ?6 ELSE count END,
                     cpu = CASE WHEN cpu IS ?4 AND ?4 IS NOT NULL THEN ?7 ELSE cpu END,
                     memory = CASE WHEN memory IS ?5 AND ?5 IS NOT NULL THEN ?8 ELSE memory END
                 WHERE app = ?1 AND service = ?2",
                params![
                    app,
                    service,
                    given.count,
                    given.cpu,
                    given.memory,
                    before.count,
                    before.cpu,
                    before.memory
                ],
            )?;
            Ok(())
        })
        .await
    }
}
