//! Builds whose images come from elsewhere: made by a client, filled from a registry
//! (`rack-api.md` §3.10, `builds import-image`).

use std::collections::BTreeMap;

use manifest::Manifest;
use rack_api::build::{Build, CreateOptions, status};

use super::Rack;
use crate::engine::Credentials;
use crate::operations::plan::one_line;
use crate::operations::{Failure, Result, image_import};
use crate::store::{BuildChange, BuildRow};

/// What clients may still change of a build that has no images yet.
const OPEN: &[&str] = &[status::CREATED, status::FAILED];
/// Every status.
const ANY: &[&str] = &[
    status::CREATED,
    status::FAILED,
    status::RUNNING,
    status::COMPLETE,
];

impl Rack {
    /// Makes a build without a source, for images from elsewhere.
    pub async fn create_external_build(&self, app: &str, options: &CreateOptions) -> Result<Build> {
        self.context.ready().await?;
        self.not_deleting(app).await?;
        let row = BuildRow {
            id: rack_api::id::build(),
            app: app.to_owned(),
            status: status::CREATED.to_owned(),
            description: options.description.clone().unwrap_or_default(),
            git_sha: options.git_sha.clone().unwrap_or_default(),
            started: self.context.now(),
            ..BuildRow::default()
        };
        self.context.store.create_build(row.clone()).await?;
        let mut build = self.show_build(row).await?;
        // Where pushes are refused with a reason: clients that push show no other.
        build.repository = format!("https://127.0.0.1:{}/{app}", self.context.settings.port);
        Ok(build)
    }

    /// Changes what a client may say of a build: everything while it waits for images,
    /// afterwards only which release was made of it.
    pub async fn update_build(&self, app: &str, id: &str, change: BuildChange) -> Result<Build> {
        let row = self.build_row(app, id).await?;
        if let Some(release) = change.release.as_deref().filter(|id| !id.is_empty()) {
            let release = self.release_row(app, release).await?;
            if release.build != row.id {
                return Err(Failure::Invalid(format!(
                    "release {} is not of build {}",
                    release.id, row.id
                )));
            }
        }
        match change.status.as_deref() {
            None | Some(status::CREATED | status::FAILED) => {}
            Some(status::COMPLETE) if row.status != status::COMPLETE => {
                return Err(Failure::Invalid(format!(
                    "build {} has no images: a local rack takes no pushed ones, let it build or use builds import-image",
                    row.id
                )));
            }
            Some(word) if word == row.status => {}
            Some(word) => {
                return Err(Failure::Invalid(format!(
                    "status {word} is for the rack to set: a client can only give a build up as failed"
                )));
            }
        }
        let only_release = BuildChange {
            release: change.release.clone(),
            ..BuildChange::default()
        };
        let while_in = if change == only_release { ANY } else { OPEN };
        if !self
            .context
            .store
            .change_build(&row.id, while_in, change)
            .await?
        {
            let status = self.build_row(app, &row.id).await?.status;
            return Err(Failure::Conflict(format!(
                "build {} is {status}: only its release can be set",
                row.id
            )));
        }
        self.build(app, &row.id).await
    }

    /// Fetches the images of a build that waits for them, in the background; checks
    /// come in the order and words of real racks.
    pub async fn import_image(
        &self,
        app: &str,
        id: &str,
        image: &str,
        credentials: Option<Credentials>,
    ) -> Result<()> {
        self.context.ready().await?;
        if image.is_empty() {
            return Err(unprocessable("image param required"));
        }
        if !is_reference(image) {
            return Err(unprocessable(
                "invalid image ref: must start with a letter or digit, contain only A-Z a-z 0-9 . _ : / @ + -, \
                 and not include // @- :- or /-",
            ));
        }
        let row = self.build_row(app, id).await?;
        match row.status.as_str() {
            status::RUNNING => {
                return Err(Failure::Conflict(format!(
                    "build {} is already importing; wait for completion before retrying",
                    row.id
                )));
            }
            // Releases run its images: they never change.
            status::COMPLETE => {
                return Err(Failure::Conflict(format!(
                    "build {} has its images already: make another build",
                    row.id
                )));
            }
            _ => {}
        }
        if row.manifest.trim().is_empty() {
            return Err(unprocessable(&format!(
                "build {} has no manifest; populate via BuildUpdate before BuildImportImage",
                row.id
            )));
        }
        let loaded = Manifest::load_without_environment(&row.manifest, &BTreeMap::new());
        let manifest = loaded
            .map_err(|errors| {
                let reason = one_line(&errors.to_string());
                unprocessable(&format!("manifest parse failed: {reason}"))
            })?
            .manifest;
        if manifest.services.is_empty() {
            return Err(unprocessable("manifest has no services to relay"));
        }
        let images = manifest.services.into_values().map(|service| {
            let reference = service.image.unwrap_or_else(|| image.to_owned());
            (service.name, reference)
        });
        let login =
            credentials.map(|credentials| (image_import::registry(image).to_owned(), credentials));
        image_import::begin(&self.context, app, &row.id, images.collect(), login).await
    }
}

fn unprocessable(text: &str) -> Failure {
    Failure::Unprocessable(text.to_owned())
}

/// Whether a text can name an image. What follows an `@` is a digest: a password in
/// front of a host would end up in logs.
fn is_reference(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    let (name, digest) = text.split_once('@').unwrap_or((text, "sha256:00"));
    let digest = digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty()
            && algorithm.chars().all(|c| c.is_ascii_alphanumeric())
            && !hex.is_empty()
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    });
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric() || "._-+".contains(c))
        && name.chars().all(allowed)
        && !["//", ":-", "/-", "::", ":/"]
            .iter()
            .any(|bad| name.contains(bad))
        && digest
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references_smuggle_nothing() {
        for text in [
            "busybox",
            "busybox:1.36",
            "127.0.0.1:5000/team/app:web.B1",
            "ghcr.io/a/b@sha256:0123abcdef",
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "",
            "-flag",
            "a//b",
            "a:-b",
            "a/-b",
            "a::b",
            "a:",
            "a/",
            "user:secret@host/a",
            "a@sha256:",
            "a@",
            "a b",
            "a\n",
            "ü",
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
