//! Files of processes: fetched, put there, removed.

use tokio::io::AsyncRead;

use super::Rack;
use crate::engine::{PathKind, Reader};
use crate::operations::file::{LONGEST_PATH, Unpacking, Upload, renamed};
use crate::operations::{Failure, Result};

/// A path of a process, as clients write them.
fn checked(path: &str) -> Result<&str> {
    if path.is_empty() || path.contains('\0') {
        return Err(Failure::Invalid("a file is required".into()));
    }
    if path.len() > LONGEST_PATH {
        return Err(Failure::Invalid(format!(
            "the path is longer than {LONGEST_PATH} bytes"
        )));
    }
    Ok(path)
}

/// The same from the root.
fn absolute(path: &str) -> Result<String> {
    Ok(format!("/{}", checked(path)?.trim_matches('/')))
}

/// A name to remove: one without a leading slash is below the working directory of the
/// process, where `convox start` means the files that it has seen go.
fn removable(path: &str) -> Result<String> {
    match checked(path)? {
        from_root if from_root.starts_with('/') => absolute(from_root),
        relative => Ok(relative.trim_end_matches('/').to_owned()),
    }
}

impl Rack {
    /// Reads a file or a directory of a process as a tar.
    pub async fn files(&self, app: &str, process: &str, path: &str) -> Result<Reader> {
        let path = absolute(path)?;
        let state = self.target(app, process).await?;
        let engine = &self.context.engine;
        let found = match engine.path_kind(&state.id, &path).await? {
            Some(PathKind::Link(target)) => target,
            Some(_) => path.clone(),
            None => return Err(Failure::NotFound(format!("no such file: {path}"))),
        };
        let archive = engine.read_files(&state.id, &found).await?;
        Ok(renamed(archive, &found, &path))
    }

    /// Unpacks a tar in a process, below its root.
    pub async fn put_files(
        &self,
        app: &str,
        process: &str,
        flags: &str,
        body: impl AsyncRead + Unpin,
    ) -> Result<()> {
        let unpacking = Unpacking::parse(flags)?;
        let state = self.target(app, process).await?;
        let upload = Upload::receive(&self.context.scratch(), body, unpacking).await?;
        upload.unpack(&*self.context.engine, &state.id).await
    }

    /// Removes files of a process.
    pub async fn remove_files(&self, app: &str, process: &str, files: &[&str]) -> Result<()> {
        let paths: Vec<String> = files
            .iter()
            .filter(|path| !path.is_empty())
            .map(|path| removable(path))
            .collect::<Result<_>>()?;
        if paths.is_empty() {
            return Err(Failure::Invalid("files is required".into()));
        }
        let state = self.target(app, process).await?;
        Ok(self.context.engine.remove_files(&state.id, &paths).await?)
    }
}
