//! The log of one build: a file that grows while the build runs and is kept byte
//! for byte, so that a later reader sees exactly what a live one saw. Terminal
//! sequences never get into it.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, watch};

use super::error::{Failure, Result};
use crate::logs::plain;

/// Bytes read from the file at once.
const CHUNK: usize = 32 << 10;

/// How far a log has been written, and whether its build has ended.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    length: u64,
    ended: bool,
}

/// A log being written.
pub struct BuildLog {
    file: Mutex<File>,
    path: PathBuf,
    progress: watch::Sender<Progress>,
}

impl BuildLog {
    /// Starts a log.
    pub async fn create(path: PathBuf) -> Result<Arc<Self>> {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent)
                .await
                .map_err(Failure::io("the build log"))?;
        }
        let file = File::create(&path)
            .await
            .map_err(Failure::io("the build log"))?;
        Ok(Arc::new(Self {
            file: Mutex::new(file),
            path,
            progress: watch::channel(Progress::default()).0,
        }))
    }

    /// Appends text, without its terminal sequences.
    pub async fn write(&self, text: &[u8]) -> Result<()> {
        let text = plain(text);
        let mut file = self.file.lock().await;
        file.write_all(&text)
            .await
            .map_err(Failure::io("the build log"))?;
        file.flush().await.map_err(Failure::io("the build log"))?;
        self.progress
            .send_modify(|progress| progress.length += text.len() as u64);
        Ok(())
    }

    /// Appends one line.
    pub async fn line(&self, text: &str) -> Result<()> {
        self.write(format!("{text}\n").as_bytes()).await
    }

    /// Makes the log durable; the build may be recorded as ended after this.
    pub async fn sync(&self) -> Result<()> {
        self.file
            .lock()
            .await
            .sync_all()
            .await
            .map_err(Failure::io("the build log"))
    }

    /// Ends the log for its followers; called once the build record is final.
    pub fn end(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// Waits until the build has ended.
    pub async fn ended(&self) {
        let mut progress = self.progress.subscribe();
        let _ = progress.wait_for(|progress| progress.ended).await;
    }

    /// Streams the log from its first byte until the build has ended.
    pub fn follow(&self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let path = self.path.clone();
        let progress = self.progress.subscribe();
        futures::stream::try_unfold(
            (path, progress, 0_u64),
            |(path, mut progress, offset)| async move {
                // A sender that is gone has written all it ever will.
                let seen = match progress
                    .wait_for(|now| now.ended || now.length > offset)
                    .await
                {
                    Ok(seen) => *seen,
                    Err(_) => return Ok(None),
                };
                if seen.length == offset {
                    return Ok(None);
                }
                let chunk = read(&path, offset, seen.length - offset).await?;
                let next = offset + chunk.len() as u64;
                Ok(Some((chunk, (path, progress, next))))
            },
        )
    }
}

async fn read(path: &PathBuf, offset: u64, most: u64) -> std::io::Result<Bytes> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let mut chunk = vec![0; CHUNK.min(usize::try_from(most).unwrap_or(CHUNK))];
    let length = file.read(&mut chunk).await?;
    if length == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    chunk.truncate(length);
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn followers_and_later_readers_see_the_same_without_colour() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let log = BuildLog::create(path.clone()).await.expect("created");
        let follower = log.follow();
        log.write(b"#5 0.3 \x1b[31mred\x1b[0m \xff\n")
            .await
            .expect("written");
        log.line("ERROR: \x1b[Kfailed").await.expect("written");
        log.end();
        let seen: Vec<Bytes> = follower.try_collect().await.expect("readable");
        assert_eq!(seen.concat(), b"#5 0.3 red \xff\nERROR: failed\n");
        assert_eq!(
            std::fs::read(&path).expect("kept"),
            seen.concat(),
            "lengths are those of what was kept"
        );
    }
}
