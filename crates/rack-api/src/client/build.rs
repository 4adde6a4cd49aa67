//! Builds.

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError, Download, LogStream, Upload};
use crate::build::Ticket;
use crate::{Build, build};

impl Client {
    /// Starts a build of the source at an object's URL.
    pub async fn build_create(
        &self,
        app: &str,
        url: &str,
        options: &build::CreateOptions,
    ) -> Result<Build, ClientError> {
        let build::CreateOptions {
            build_args,
            description,
            development,
            manifest,
            no_cache,
            git_sha,
        } = options;
        if let Some(argument) = build_args.iter().find(|argument| argument.contains(',')) {
            // Lists travel joined by commas, without any escape.
            let name = argument.split('=').next().unwrap_or_default();
            return Err(ClientError::Invalid(format!(
                "build argument {name} must not contain a comma"
            )));
        }
        let fields = Fields::default()
            .add(
                "build-args",
                (!build_args.is_empty()).then(|| build_args.join(",")),
            )
            .add("description", description.as_deref())
            .add("development", development.then_some(true))
            .add("git-sha", git_sha.as_deref())
            .add("manifest", manifest.as_deref())
            .add("no-cache", no_cache.then_some(true))
            .add("url", Some(url));
        self.form(Method::POST, &path(&["apps", app, "builds"])?, fields)
            .await
    }

    /// Makes a build that waits for its manifest and its images (version 3).
    pub async fn build_begin(
        &self,
        app: &str,
        description: Option<&str>,
    ) -> Result<Build, ClientError> {
        let fields = Fields::default()
            .add("description", description)
            .add("external", Some(true));
        self.form(Method::POST, &path(&["apps", app, "builds"])?, fields)
            .await
    }

    /// Changes what is recorded of a build that was begun elsewhere (version 3).
    pub async fn build_update(
        &self,
        app: &str,
        id: &str,
        options: &build::UpdateOptions,
    ) -> Result<Build, ClientError> {
        let build::UpdateOptions { manifest, release } = options;
        let fields = Fields::default()
            .add("manifest", manifest.as_deref())
            .add("release", release.as_deref());
        self.form(Method::PUT, &path(&["apps", app, "builds", id])?, fields)
            .await
    }

    /// Lets the rack fetch an image for a build that waits for it (version 3); the build
    /// is `running` meanwhile.
    pub async fn build_import_image(
        &self,
        app: &str,
        id: &str,
        image: &str,
        login: Option<(&str, &str)>,
    ) -> Result<(), ClientError> {
        let fields = Fields::default()
            .add("image", Some(image))
            .add("src-creds-pass", login.map(|(_, password)| password))
            .add("src-creds-user", login.map(|(user, _)| user));
        let path = path(&["apps", app, "builds", id, "image"])?;
        self.act(Method::POST, &path, fields).await
    }

    /// Removes a build, which racks of 2017 and ours can.
    pub async fn build_delete(&self, app: &str, id: &str) -> Result<(), ClientError> {
        let path = path(&["apps", app, "builds", id])?;
        self.act(Method::DELETE, &path, Fields::default()).await
    }

    /// Lists the newest builds, ten unless a limit is given.
    pub async fn build_list(
        &self,
        app: &str,
        limit: Option<u32>,
    ) -> Result<Vec<Build>, ClientError> {
        self.list(
            &path(&["apps", app, "builds"])?,
            Fields::default().add("limit", limit),
        )
        .await
    }

    /// Reads a build.
    pub async fn build_get(&self, app: &str, id: &str) -> Result<Build, ClientError> {
        self.get(&path(&["apps", app, "builds", id])?, Fields::default())
            .await
    }

    /// Streams a build's log from its first byte until the build ends.
    pub async fn build_logs(&self, app: &str, id: &str) -> Result<LogStream, ClientError> {
        self.logs(&path(&["apps", app, "builds", id, "logs"])?, None)
            .await
    }

    /// Reads the archive of a build. Only our server knows formats: others write what
    /// they always do.
    pub async fn build_export(
        &self,
        app: &str,
        id: &str,
        format: Option<&str>,
    ) -> Result<Download, ClientError> {
        let path = format!("{}.tgz", path(&["apps", app, "builds", id])?);
        let query = Fields::default().add("format", format.map(str::to_owned));
        self.download(&path, query).await
    }

    /// Sends the archive of a build; the answer has the new build and its release.
    pub async fn build_import(&self, app: &str, archive: Upload) -> Result<Build, ClientError> {
        self.upload(&path(&["apps", app, "builds", "import"])?, archive)
            .await
    }

    /// Sends the archive of a build of whatever app, which our server otherwise refuses
    /// when it is that of another one.
    pub async fn build_import_foreign(
        &self,
        app: &str,
        archive: Upload,
    ) -> Result<Build, ClientError> {
        let path = path(&["apps", app, "builds", "import"])?;
        self.upload(&format!("{path}?force=true"), archive).await
    }

    /// Asks a rack of ours for leave to copy a build to another rack.
    pub async fn build_ticket(&self, app: &str, id: &str) -> Result<Ticket, ClientError> {
        let path = path(&["apps", app, "builds", id, "ticket"])?;
        self.get(&path, Fields::default()).await
    }

    /// Copies the build that a ticket is for, of another app too if `foreign` is set; the
    /// answer has the new build and its release. Only for racks of ours: those of other
    /// servers and engines refuse ([`ClientError::is_elsewhere`]).
    pub async fn build_copy(
        &self,
        app: &str,
        ticket: &Ticket,
        foreign: bool,
    ) -> Result<Build, ClientError> {
        let fields = Fields::default()
            .add("ticket", Some(&ticket.ticket))
            .add("force", foreign.then_some(true));
        self.form(
            Method::POST,
            &path(&["apps", app, "builds", "copy"])?,
            fields,
        )
        .await
    }

    /// Asks a rack of ours for the layers of its images, lowest first, that need not be
    /// sent to an app of it.
    pub async fn app_layers(&self, app: &str) -> Result<Vec<Vec<String>>, ClientError> {
        self.list(&path(&["apps", app, "layers"])?, Fields::default())
            .await
    }

    /// Reads the archive of a build of a rack of ours, without some layers.
    pub async fn build_export_thin(
        &self,
        app: &str,
        id: &str,
        without: &[String],
    ) -> Result<Download, ClientError> {
        let path = format!("{}.tgz", path(&["apps", app, "builds", id])?);
        let query = Fields::default().add("without", Some(without.join(",")));
        self.download(&path, query).await
    }

    /// Sends such an archive to a rack of ours that has these layers.
    pub async fn build_import_thin(
        &self,
        app: &str,
        archive: Upload,
        foreign: bool,
    ) -> Result<Build, ClientError> {
        let path = path(&["apps", app, "builds", "import"])?;
        let force = if foreign { "force=true&" } else { "" };
        self.upload(&format!("{path}?{force}thin=true"), archive)
            .await
    }
}
