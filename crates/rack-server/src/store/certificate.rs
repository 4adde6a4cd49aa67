//! Certificates with their keys.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Result, Store, to_nanos};

/// A certificate as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// Id.
    pub id: String,
    /// The certificate and what signed it, PEM.
    pub chain: String,
    /// The key, PEM.
    pub key: String,
    /// Whether the rack has made it itself.
    pub generated: bool,
}

impl std::fmt::Debug for CertificateRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateRow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

const COLUMNS: &str = "id, chain, key, generated";

fn read(row: &Row<'_>) -> rusqlite::Result<CertificateRow> {
    Ok(CertificateRow {
        id: row.get(0)?,
        chain: row.get(1)?,
        key: row.get(2)?,
        generated: row.get(3)?,
    })
}

impl Store {
    /// Lists certificates by id.
    pub async fn certificates(&self) -> Result<Vec<CertificateRow>> {
        self.call(|db| {
            let sql = format!("SELECT {COLUMNS} FROM certificates ORDER BY id");
            let mut query = db.prepare_cached(&sql)?;
            let rows = query.query_map([], read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Looks a certificate up.
    pub async fn certificate(&self, id: &str) -> Result<Option<CertificateRow>> {
        let id = id.to_owned();
        self.call(move |db| {
            let sql = format!("SELECT {COLUMNS} FROM certificates WHERE id = ?");
            Ok(db.prepare_cached(&sql)?.query_row([id], read).optional()?)
        })
        .await
    }

    /// Stores a certificate; one of the same id is replaced.
    pub async fn save_certificate(&self, row: CertificateRow, now: Timestamp) -> Result<()> {
        self.call(move |db| {
            db.execute(
                "INSERT INTO certificates (id, chain, key, generated, created)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET chain = ?2, key = ?3, generated = ?4",
                params![row.id, row.chain, row.key, row.generated, to_nanos(now)],
            )?;
            Ok(())
        })
        .await
    }

    /// Removes a certificate; false when there is none.
    pub async fn delete_certificate(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.call(move |db| Ok(db.execute("DELETE FROM certificates WHERE id = ?", [id])? == 1))
            .await
    }
}
