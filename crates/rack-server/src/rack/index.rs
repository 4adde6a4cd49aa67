//! Incremental builds of late 2017: the rack keeps the files of former sources, and
//! clients send those it does not have.

use std::path::PathBuf;

use rack_api::build::{Build, CreateOptions};
use rack_api::index::Index;
use tokio::io::AsyncRead;

use super::Rack;
use crate::operations::index::Pool;
use crate::operations::{Failure, Result};

impl Rack {
    /// Runs blocking work on the pool of files.
    async fn pool<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Pool) -> Result<T> + Send + 'static,
    {
        let pool = Pool::new(&self.context.dir, self.context.scratch());
        tokio::task::spawn_blocking(move || work(&pool))
            .await
            .map_err(|gone| Failure::internal(format!("the index: {gone}")))?
    }

    /// Which files of an index the rack does not have, by hash.
    pub async fn index_missing(&self, index: Index) -> Result<Vec<String>> {
        self.pool(move |pool| pool.missing(&index)).await
    }

    /// Takes files in: a gzip tar that names each by its hash.
    pub async fn index_update(&self, archive: impl AsyncRead + Unpin) -> Result<()> {
        let path = self.spool(archive).await?;
        let limit = self.context.settings.archive_limits.uncompressed;
        let added = self
            .pool({
                let path = path.clone();
                move |pool| pool.add(&path, limit)
            })
            .await;
        removed(path).await?;
        added
    }

    /// Starts a build of the source that an index describes.
    pub async fn create_build_of_index(
        &self,
        app: &str,
        index: Index,
        options: &CreateOptions,
    ) -> Result<Build> {
        self.context.app(app).await?;
        let name = format!("source-{}.tgz", rack_api::id::hex(16));
        let path = self.context.scratch().join(name);
        let assembled = self
            .pool({
                let path = path.clone();
                move |pool| pool.assemble(&index, &path)
            })
            .await;
        let begun = match assembled {
            Ok(()) => self.begin_build(app, path.clone(), true, options).await,
            Err(failure) => Err(failure),
        };
        if begun.is_err() {
            removed(path).await?;
        }
        begun
    }
}

/// Takes a file away again that may never have been made.
async fn removed(path: PathBuf) -> Result<()> {
    match tokio::fs::remove_file(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io("a temporary file")(error))
        }
        _ => Ok(()),
    }
}
