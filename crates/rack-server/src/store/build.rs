//! Builds and their images.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rack_api::build::Provenance;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::release::{self, ReleaseRow};
use super::{Result, Store, from_json, from_nanos, to_json, to_nanos};

/// A build as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildRow {
    /// Id.
    pub id: String,
    /// App.
    pub app: String,
    /// Status word.
    pub status: String,
    /// Text for people.
    pub description: String,
    /// Entrypoint of the images, shell-quoted.
    pub entrypoint: String,
    /// Commit of the source.
    pub git_sha: String,
    /// Manifest text.
    pub manifest: String,
    /// Release made of it.
    pub release: String,
    /// Why it failed.
    pub reason: String,
    /// Where its log is.
    pub logs: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Where it was imported from.
    pub provenance: Option<Provenance>,
    /// Required variables that were unset at import.
    pub missing: Vec<String>,
    /// SHA-256 of the archive it was imported from; empty otherwise.
    pub archive: String,
}

/// The image of one service of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Service name.
    pub service: String,
    /// Engine id, by which processes are run.
    pub id: String,
    /// Digest of the image configuration.
    pub config_digest: String,
    /// Digests of the uncompressed layers.
    pub diff_ids: Vec<String>,
    /// `repository:tag` that keeps the image.
    pub reference: String,
    /// Entrypoint words.
    pub entrypoint: Vec<String>,
}

const COLUMNS: &str = "id, app, status, description, entrypoint, git_sha, manifest, release, reason, logs, \
                       started, ended, provenance, missing, archive";

fn read(row: &Row<'_>) -> rusqlite::Result<(BuildRow, Option<String>, String)> {
    Ok((
        BuildRow {
            id: row.get(0)?,
            app: row.get(1)?,
            status: row.get(2)?,
            description: row.get(3)?,
            entrypoint: row.get(4)?,
            git_sha: row.get(5)?,
            manifest: row.get(6)?,
            release: row.get(7)?,
            reason: row.get(8)?,
            logs: row.get(9)?,
            started: from_nanos(row.get(10)?),
            ended: row.get::<_, Option<i64>>(11)?.map(from_nanos),
            provenance: None,
            missing: Vec::new(),
            archive: row.get(14)?,
        },
        row.get(12)?,
        row.get(13)?,
    ))
}

fn finish(
    (mut build, provenance, missing): (BuildRow, Option<String>, String),
) -> Result<BuildRow> {
    build.provenance = provenance
        .map(|text| from_json("provenance", &text))
        .transpose()?;
    build.missing = from_json("missing environment", &missing)?;
    Ok(build)
}

fn insert(db: &Connection, build: &BuildRow) -> Result<()> {
    db.execute(
        "INSERT INTO builds (id, app, status, description, entrypoint, git_sha, manifest, release, reason, logs, \
         started, ended, provenance, missing, archive) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            build.id,
            build.app,
            build.status,
            build.description,
            build.entrypoint,
            build.git_sha,
            build.manifest,
            build.release,
            build.reason,
            build.logs,
            to_nanos(build.started),
            build.ended.map(to_nanos),
            build.provenance.as_ref().map(to_json),
            to_json(&build.missing),
            build.archive,
        ],
    )?;
    Ok(())
}

pub(super) fn insert_images(db: &Transaction<'_>, build: &str, images: &[ImageRow]) -> Result<()> {
    for image in images {
        db.execute(
            "INSERT OR REPLACE INTO images (build, service, id, config_digest, diff_ids, reference, entrypoint)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![
                build,
                image.service,
                image.id,
                image.config_digest,
                to_json(&image.diff_ids),
                image.reference,
                to_json(&image.entrypoint),
            ],
        )?;
    }
    Ok(())
}

impl Store {
    /// Looks a build of an app up.
    pub async fn build(&self, app: &str, id: &str) -> Result<Option<BuildRow>> {
        let (app, id) = (app.to_owned(), id.to_owned());
        self.call(move |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM builds WHERE app = ? AND id = ?"
            ))?
            .query_row([app, id], read)
            .optional()?
            .map(finish)
            .transpose()
        })
        .await
    }

    /// Lists an app's builds, newest first.
    pub async fn builds(&self, app: &str, limit: i64) -> Result<Vec<BuildRow>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM builds WHERE app = ? ORDER BY sequence DESC LIMIT ?"
            ))?;
            let rows = query
                .query_map(params![app, limit], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(finish).collect()
        })
        .await
    }

    /// The first complete build that an app got from an archive with this digest.
    pub async fn build_of_archive(&self, app: &str, archive: &str) -> Result<Option<String>> {
        let (app, archive) = (app.to_owned(), archive.to_owned());
        self.call(move |db| {
            Ok(db
                .prepare_cached(
                    "SELECT id FROM builds WHERE app = ? AND archive = ? AND status = 'complete'
                     ORDER BY sequence LIMIT 1",
                )?
                .query_row([app, archive], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// Complete builds that an app got in archives of this build, newest first.
    pub async fn builds_imported_of(&self, app: &str, source: &str) -> Result<Vec<BuildRow>> {
        let (app, source) = (app.to_owned(), source.to_owned());
        self.call(move |db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM builds WHERE app = ? AND archive <> '' AND status = 'complete'
                 AND json_extract(provenance, '$.build') = ? ORDER BY sequence DESC"
            ))?;
            let rows = query
                .query_map([app, source], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter().map(finish).collect()
        })
        .await
    }

    /// Records a build that has begun.
    pub async fn create_build(&self, build: BuildRow) -> Result<()> {
        self.call(move |db| insert(db, &build)).await
    }

    /// Records the manifest a build found in its source.
    pub async fn set_build_manifest(&self, id: &str, manifest: &str) -> Result<()> {
        let (id, manifest) = (id.to_owned(), manifest.to_owned());
        self.call(move |db| {
            db.execute(
                "UPDATE builds SET manifest = ? WHERE id = ?",
                params![manifest, id],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends a build without a release; does nothing to one that has ended already.
    pub async fn fail_build(
        &self,
        id: &str,
        reason: &str,
        logs: &str,
        ended: Timestamp,
    ) -> Result<()> {
        let (id, reason, logs) = (id.to_owned(), reason.to_owned(), logs.to_owned());
        self.call(move |db| {
            db.execute(
                "UPDATE builds SET status = 'failed', reason = ?, logs = ?, ended = ? \
                 WHERE id = ? AND status = 'running'",
                params![reason, logs, to_nanos(ended), id],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends a build with its images and its release, in one step: nobody sees
    /// `complete` without the release. The build row is made if it does not exist
    /// yet, as for an import. Nothing, when the app is gone or on its way out.
    pub async fn complete_build(
        &self,
        build: BuildRow,
        images: Vec<ImageRow>,
        release: release::NewRelease,
    ) -> Result<Option<ReleaseRow>> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            // Nothing may be recorded behind the back of a delete.
            let wanted = "SELECT 1 FROM apps WHERE name = ? AND status <> ?";
            let deleting = rack_api::app::status::DELETING;
            if !transaction
                .prepare(wanted)?
                .exists(params![build.app, deleting])?
            {
                return Ok(None);
            }
            let release = release::insert(&transaction, release)?;
            let mut build = build;
            build.release.clone_from(&release.id);
            // A build keeps its place in the list while it goes from running to complete.
            let sequence: Option<i64> = transaction
                .query_row(
                    "SELECT sequence FROM builds WHERE id = ?",
                    [&build.id],
                    |row| row.get(0),
                )
                .optional()?;
            transaction.execute("DELETE FROM builds WHERE id = ?", [&build.id])?;
            insert(&transaction, &build)?;
            if let Some(sequence) = sequence {
                transaction.execute(
                    "UPDATE builds SET sequence = ? WHERE id = ?",
                    params![sequence, build.id],
                )?;
            }
            insert_images(&transaction, &build.id, &images)?;
            transaction.commit()?;
            Ok(Some(release))
        })
        .await
    }

    /// Forgets a build with its images and its releases.
    pub async fn delete_build(&self, app: &str, id: &str) -> Result<()> {
        let (app, id) = (app.to_owned(), id.to_owned());
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute("DELETE FROM images WHERE build = ?", [&id])?;
            transaction.execute(
                "DELETE FROM releases WHERE app = ? AND build = ?",
                [&app, &id],
            )?;
            transaction.execute("DELETE FROM builds WHERE app = ? AND id = ?", [&app, &id])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// The images of a build by service.
    pub async fn images(&self, build: &str) -> Result<BTreeMap<String, ImageRow>> {
        let build = build.to_owned();
        self.call(move |db| {
            let mut query = db.prepare_cached(
                "SELECT service, id, config_digest, diff_ids, reference, entrypoint FROM images WHERE build = ?",
            )?;
            let rows = query
                .query_map([build], |row| {
                    Ok((
                        ImageRow {
                            service: row.get(0)?,
                            id: row.get(1)?,
                            config_digest: row.get(2)?,
                            diff_ids: Vec::new(),
                            reference: row.get(4)?,
                            entrypoint: Vec::new(),
                        },
                        row.get::<_, String>(3)?,
                        row.get::<_, String>(5)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter()
                .map(|(mut image, diff_ids, entrypoint)| {
                    image.diff_ids = from_json("diff ids", &diff_ids)?;
                    image.entrypoint = from_json("entrypoint", &entrypoint)?;
                    Ok((image.service.clone(), image))
                })
                .collect()
        })
        .await
    }

    /// The images of complete builds, newest first, but those of one app before all others.
    pub async fn images_of_rack(&self, first: &str) -> Result<Vec<ImageRow>> {
        let first = first.to_owned();
        let builds: Vec<String> = self
            .call(move |db| {
                let mut query = db.prepare_cached(
                    "SELECT id FROM builds WHERE status = 'complete' \
                     ORDER BY app = ? DESC, sequence DESC LIMIT 100",
                )?;
                let rows = query.query_map([first], |row| row.get(0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await?;
        let mut images = Vec::new();
        for build in builds {
            images.extend(self.images(&build).await?.into_values());
        }
        Ok(images)
    }

    /// Every image reference an app keeps alive.
    pub async fn image_references(&self, app: &str) -> Result<Vec<String>> {
        let app = app.to_owned();
        self.call(move |db| {
            let mut query = db.prepare_cached(
                "SELECT reference FROM images WHERE build IN (SELECT id FROM builds WHERE app = ?)",
            )?;
            let rows = query.query_map([app], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
