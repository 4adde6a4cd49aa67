//! Objects: blobs kept per app under `objects/<app>/<key>`.

use std::path::PathBuf;

use rack_api::object::Object;
use tokio::io::{AsyncRead, AsyncWriteExt as _};

use super::Rack;
use crate::operations::{Failure, Result};

/// Cleans a key: no leading, duplicate or trailing slashes; `..` and names that a
/// file cannot have are refused.
fn clean(key: &str) -> Result<String> {
    let parts: Vec<_> = key.split('/').filter(|part| !part.is_empty()).collect();
    let bad = |part: &&str| matches!(*part, "." | "..") || part.contains('\0') || part.len() > 255;
    if parts.is_empty() || parts.iter().any(bad) || key.len() > 1024 {
        return Err(Failure::Invalid("invalid object key".into()));
    }
    Ok(parts.join("/"))
}

/// The build whose log a key is.
fn build_of_log(key: &str) -> Option<&str> {
    key.strip_prefix("build/")?.strip_suffix("/logs")
}

/// Whether there is nothing of that name; a file has nothing below it.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether a name was wanted as a file and as a directory.
fn is_collision(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::DirectoryNotEmpty
    )
}

impl Rack {
    pub(super) fn object_path(&self, app: &str, key: &str) -> Result<PathBuf> {
        Ok(self.context.dir.join("objects").join(app).join(clean(key)?))
    }

    /// Stores an object whole or not at all; an empty key gets a generated one.
    pub async fn store_object(
        &self,
        app: &str,
        key: &str,
        mut body: impl AsyncRead + Unpin,
    ) -> Result<Object> {
        self.context.app(app).await?;
        let key = if key.trim_matches('/').is_empty() {
            format!("tmp/{}", rack_api::id::hex(30))
        } else {
            clean(key)?
        };
        self.refuse_settled(app, &key).await?;
        let path = self.object_path(app, &key)?;
        let parent = path
            .parent()
            .ok_or_else(|| Failure::Invalid("invalid object key".into()))?;
        let temporary = self
            .context
            .scratch()
            .join(format!("object-{}", rack_api::id::hex(16)));
        let stored = async {
            tokio::fs::create_dir_all(parent).await?;
            let mut file = tokio::fs::File::create(&temporary).await?;
            tokio::io::copy(&mut body, &mut file).await?;
            file.flush().await?;
            file.sync_all().await?;
            tokio::fs::rename(&temporary, &path).await
        };
        if let Err(error) = stored.await {
            // Never made, or gone already, when there was no directory for it.
            let _ = tokio::fs::remove_file(&temporary).await;
            return Err(if is_collision(&error) {
                Failure::Conflict(format!(
                    "object key {key} would be an object and a directory of others: choose another one"
                ))
            } else {
                Failure::io("storing the object")(error)
            });
        }
        Ok(Object {
            url: format!("object://{app}/{key}"),
        })
    }

    /// Refuses to touch the log of a build that has ended: it says what was tested.
    /// Builders elsewhere store it before they end their build (`rack-api.md` §7.1).
    async fn refuse_settled(&self, app: &str, key: &str) -> Result<()> {
        let Some(id) = build_of_log(key) else {
            return Ok(());
        };
        match self.build(app, id).await {
            Ok(build) if build.ended.is_some() => Err(Failure::Conflict(format!(
                "build {id} has ended: its log is what it is"
            ))),
            Ok(_) | Err(Failure::NotFound(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Opens an object.
    pub async fn object(&self, app: &str, key: &str) -> Result<tokio::fs::File> {
        self.context.app(app).await?;
        let path = self.object_path(app, key)?;
        let missing = || Failure::NotFound(format!("object not found: {key}"));
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(missing()),
            Err(error) if is_absent(&error) => return Err(missing()),
            Err(error) => return Err(Failure::io("the object")(error)),
        }
        tokio::fs::File::open(&path)
            .await
            .map_err(Failure::io("the object"))
    }

    /// Removes an object.
    pub async fn delete_object(&self, app: &str, key: &str) -> Result<()> {
        self.context.app(app).await?;
        self.refuse_settled(app, &clean(key)?).await?;
        let path = self.object_path(app, key)?;
        match tokio::fs::remove_file(&path).await {
            Ok(()) => Ok(()),
            Err(error) if is_absent(&error) || path.is_dir() => {
                Err(Failure::NotFound(format!("object not found: {key}")))
            }
            Err(error) => Err(Failure::io("the object")(error)),
        }
    }

    /// Lists one level below a prefix, sorted; directories end in a slash.
    pub async fn objects(&self, app: &str, prefix: &str) -> Result<Vec<String>> {
        self.context.app(app).await?;
        if prefix.split('/').any(|part| part == "..") {
            return Err(Failure::Invalid("invalid prefix".into()));
        }
        let prefix = prefix.trim_start_matches('/');
        let (directory, start) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let mut path = self.context.dir.join("objects").join(app);
        if !directory.is_empty() {
            path.push(clean(directory)?);
        }
        let mut entries = match tokio::fs::read_dir(&path).await {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io("listing objects")(error)),
        };
        let mut keys = Vec::new();
        while let Some(entry) = entries
            .next_entry()
            .await
            .map_err(Failure::io("listing objects"))?
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(start) {
                continue;
            }
            let slash = if entry.file_type().await.is_ok_and(|kind| kind.is_dir()) {
                "/"
            } else {
                ""
            };
            let above = if directory.is_empty() {
                String::new()
            } else {
                format!("{directory}/")
            };
            keys.push(format!("{above}{name}{slash}"));
        }
        keys.sort();
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::clean;
    use proptest::prelude::*;

    #[test]
    fn keys_stay_below_their_app() {
        assert_eq!(clean("//tmp//x.tgz").expect("fine"), "tmp/x.tgz");
        for key in ["", "/", "../x", "a/../b", "a/.", "a\0b"] {
            assert!(clean(key).is_err(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn no_key_climbs(key in ".{0,40}") {
            if let Ok(clean) = clean(&key) {
                prop_assert!(!clean.starts_with('/') && clean.split('/').all(|part| part != ".."));
            }
        }
    }
}
