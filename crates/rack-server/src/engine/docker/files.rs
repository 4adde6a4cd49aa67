//! Files of processes.
//!
//! The engine unpacks an upload as it comes: one that breaks off leaves what had come
//! by then. Callers who want all or nothing hand over what they hold whole.

use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
    InspectContainerOptions, UploadToContainerOptionsBuilder,
};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::StreamReader;

use super::archive::Source;
use super::{Docker, error};
use crate::engine::{EngineError, ExecSpec, PathKind, Reader, Result};

/// Bits of Go's file modes, which the engine describes paths with.
const DIRECTORY: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
/// Most bytes of what `rm` says that are kept.
const COMPLAINT: u64 = 4096;
/// Bytes of paths given to one `rm`; systems limit the words of a command.
const WORDS: usize = 32 << 10;

impl Docker {
    pub(super) async fn files_read(&self, id: &str, path: &str) -> Result<Reader> {
        let client = self.session().await?.unhurried();
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(path)
            .build();
        let body = client.download_from_container(id, Some(options));
        let body = self.opened(("path", path), body).await?;
        Ok(Box::pin(StreamReader::new(body)))
    }

    pub(super) async fn files_kind(&self, id: &str, path: &str) -> Result<Option<PathKind>> {
        let client = self.session().await?.client;
        match stat(&client, id, path).await {
            Ok(kind) => Ok(Some(kind)),
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            // The engine fails, without a word, below what is no directory.
            Err(error) if error::status(&error) == Some(500) => {
                for (at, _) in path.match_indices('/').skip(1) {
                    match stat(&client, id, &path[..at]).await {
                        Ok(PathKind::File) => return Ok(None),
                        Ok(PathKind::Directory | PathKind::Link(_)) => {}
                        Err(_) => break,
                    }
                }
                Err(self.failure("path", path, error))
            }
            Err(error) => Err(self.failure("path", path, error)),
        }
    }

    pub(super) async fn files_write(&self, id: &str, path: &str, tar: Reader) -> Result<()> {
        let client = self.session().await?.unhurried();
        let found = client
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
            .map_err(|error| self.failure("process", id, error))?;
        let user = found.config.and_then(|config| config.user);
        let source = Source::default();
        let options = UploadToContainerOptionsBuilder::default()
            .path(path)
            .no_overwrite_dir_non_dir("true");
        let options = if has_entry(&user.unwrap_or_default()) {
            options.copy_uidgid("true").build()
        } else {
            options.build()
        };
        client
            .upload_to_container(
                id,
                Some(options),
                bollard::body_try_stream(source.read(tar)),
            )
            .await
            .map_err(|error| {
                source
                    .blame(|| refusal(&error).unwrap_or_else(|| self.failure("path", path, error)))
            })?;
        source.result()
    }

    pub(super) async fn files_remove(&self, id: &str, paths: &[String]) -> Result<()> {
        let mut rest = paths;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest
                .iter()
                .take_while(|path| {
                    bytes += path.len() + 1;
                    bytes <= WORDS
                })
                .count();
            let (some, after) = rest.split_at(fits.max(1));
            self.remove_some(id, some).await?;
            rest = after;
        }
        Ok(())
    }

    async fn remove_some(&self, id: &str, paths: &[String]) -> Result<()> {
        let words = ["rm", "-f", "--"].map(str::to_owned);
        let spec = ExecSpec {
            command: words.into_iter().chain(paths.iter().cloned()).collect(),
            ..ExecSpec::default()
        };
        let exec = self.process_exec(id, spec).await?;
        let mut said = Vec::new();
        let mut output = exec.output;
        (&mut output).take(COMPLAINT).read_to_end(&mut said).await?;
        tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
        match exec.status.await? {
            0 => Ok(()),
            126 | 127 => Err(EngineError::Refused(
                "cannot remove files: the image of the process has no rm".into(),
            )),
            _ => Err(EngineError::Refused(error::sentence(
                &String::from_utf8_lossy(&said),
            ))),
        }
    }
}

/// Whether the engine finds the user of a process: it looks for the whole text among the
/// names, so a number, or a user with a group, is a failure to it.
fn has_entry(user: &str) -> bool {
    !user.contains(':') && !user.starts_with(|first: char| first.is_ascii_digit())
}

async fn stat(
    client: &bollard::Docker,
    id: &str,
    path: &str,
) -> std::result::Result<PathKind, bollard::errors::Error> {
    let options = ContainerArchiveInfoOptionsBuilder::default()
        .path(path)
        .build();
    let stat = client.get_container_archive_info(id, Some(options)).await?;
    Ok(if stat.file_mode & DIRECTORY != 0 {
        PathKind::Directory
    } else if stat.file_mode & LINK != 0 {
        PathKind::Link(stat.link_target)
    } else {
        PathKind::File
    })
}

/// What the engine means when it will not put one kind of thing in place of another.
fn refusal(error: &bollard::errors::Error) -> Option<EngineError> {
    let bollard::errors::Error::DockerResponseServerError { message, .. } = error else {
        return None;
    };
    let path = |words: &str| {
        let (_, after) = message.split_once(words)?;
        Some(
            after
                .trim_start_matches([' ', '"'])
                .split('"')
                .next()?
                .to_owned(),
        )
    };
    if let Some(path) = path("cannot overwrite directory") {
        let text = format!("cannot overwrite directory {path} with a file");
        return Some(EngineError::Refused(text));
    }
    if let Some(path) = path("cannot overwrite non-directory") {
        let text = format!("cannot overwrite file {path} with a directory");
        return Some(EngineError::Refused(text));
    }
    let read_only =
        message.contains("rootfs is marked read-only") || message.contains("is read-only");
    read_only.then(|| {
        EngineError::Refused("cannot write files: the process's file system is read-only".into())
    })
}

#[cfg(test)]
mod tests {
    use bollard::errors::Error;

    use super::*;

    #[test]
    fn refusals_name_the_path_and_not_the_machinery() {
        let refused = |message: &str| {
            let error = Error::DockerResponseServerError {
                status_code: 500,
                message: message.to_owned(),
            };
            refusal(&error).map(|error| error.to_string())
        };
        assert_eq!(
            refused("Error processing tar file(exit status 1): cannot overwrite directory \"/tmp\" with non-directory \"/\"").as_deref(),
            Some("cannot overwrite directory /tmp with a file")
        );
        assert_eq!(
            refused("cannot overwrite non-directory \"/etc/passwd\" with directory \"/\"")
                .as_deref(),
            Some("cannot overwrite file /etc/passwd with a directory")
        );
        assert_eq!(refused("no space left on device"), None);
    }
}
