//! Changes to builds that are not made by the rack itself: what clients say of them,
//! and images that are fetched for them.

use jiff::Timestamp;
use rack_api::app;
use rack_api::build::status;
use rusqlite::params;

use super::build::{ImageRow, insert_images};
use super::{Result, Store, to_nanos};

/// What a client says of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildChange {
    /// Manifest text.
    pub manifest: Option<String>,
    /// Entrypoint, shell-quoted.
    pub entrypoint: Option<String>,
    /// Where its log is.
    pub logs: Option<String>,
    /// Release made of it.
    pub release: Option<String>,
    /// Status word.
    pub status: Option<String>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

impl Store {
    /// Sets what is given of a build that has one of these statuses and keeps the
    /// rest; false when it has another one by now.
    pub async fn change_build(
        &self,
        id: &str,
        while_in: &'static [&'static str],
        change: BuildChange,
    ) -> Result<bool> {
        let id = id.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            let now: String =
                transaction.query_row("SELECT status FROM builds WHERE id = ?", [&id], |row| {
                    row.get(0)
                })?;
            if !while_in.contains(&now.as_str()) {
                return Ok(false);
            }
            transaction.execute(
                "UPDATE builds SET manifest = coalesce(?, manifest), entrypoint = coalesce(?, entrypoint),
                     logs = coalesce(?, logs), release = coalesce(?, release), status = coalesce(?, status),
                     started = coalesce(?, started), ended = coalesce(?, ended)
                 WHERE id = ?",
                params![
                    change.manifest,
                    change.entrypoint,
                    change.logs,
                    change.release,
                    change.status,
                    change.started.map(to_nanos),
                    change.ended.map(to_nanos),
                    id
                ],
            )?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    /// Moves a build that waits for images, or did not get them, to `running`; false
    /// when it is in another status or its app is on its way out.
    pub async fn begin_image_import(&self, id: &str, started: Timestamp) -> Result<bool> {
        let id = id.to_owned();
        self.call(move |db| {
            Ok(db.execute(
                "UPDATE builds SET status = ?, started = ?, ended = NULL, reason = ''
                 WHERE id = ? AND status IN (?, ?)
                   AND EXISTS (SELECT 1 FROM apps WHERE name = builds.app AND status <> ?)",
                params![
                    status::RUNNING,
                    to_nanos(started),
                    id,
                    status::CREATED,
                    status::FAILED,
                    app::status::DELETING
                ],
            )? == 1)
        })
        .await
    }

    /// Ends a build with its images, in one step; its release is for the client to
    /// make. False when it is not running any more or its app is on its way out.
    pub async fn complete_image_import(
        &self,
        id: &str,
        entrypoint: String,
        logs: String,
        ended: Timestamp,
        images: Vec<ImageRow>,
    ) -> Result<bool> {
        let id = id.to_owned();
        self.call(move |db| {
            let transaction = db.transaction()?;
            let changed = transaction.execute(
                "UPDATE builds SET status = ?, entrypoint = ?, logs = ?, ended = ?
                 WHERE id = ? AND status = ?
                   AND EXISTS (SELECT 1 FROM apps WHERE name = builds.app AND status <> ?)",
                params![
                    status::COMPLETE,
                    entrypoint,
                    logs,
                    to_nanos(ended),
                    id,
                    status::RUNNING,
                    app::status::DELETING
                ],
            )?;
            if changed == 0 {
                return Ok(false);
            }
            insert_images(&transaction, &id, &images)?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }
}
