//! `convox builds import-image`: a build whose image was made elsewhere.
//!
//! The rack fetches the image from its registry. A build is begun, told its manifest,
//! filled, and released, as version 3 does it.

use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rack_api::build::{UpdateOptions, status};
use rack_api::client::ClientError;
use rack_api::release;
use tokio::time::{Instant, sleep};

use crate::arguments::AppArgs;
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;

/// How long images may take to come; racks allow half an hour per service.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// Longest pause between looks at the build.
const LOOK: Duration = Duration::from_secs(2);
/// Looks that may fail one after the other.
const MOST_FAILURES: u32 = 5;

/// An image that becomes a build.
#[derive(Debug, Args)]
pub(super) struct ImportImage {
    /// image with its registry, such as registry.example/web:1.2
    image: String,
    /// file of the manifest
    #[arg(short, long, value_name = "manifest")]
    manifest: Option<PathBuf>,
    /// description of the build
    #[arg(short, long, value_name = "description")]
    description: Option<String>,
    /// user name for the image's registry
    #[arg(long, value_name = "user")]
    src_creds_user: Option<String>,
    /// password for it, which everybody on this machine can see: use one of the others
    #[arg(long, value_name = "password", hide = true)]
    src_creds_pass: Option<String>,
    /// name of the variable that holds the password
    #[arg(long, value_name = "variable")]
    src_creds_pass_env: Option<String>,
    /// read the password from standard input, one line
    #[arg(long)]
    src_creds_pass_stdin: bool,
    /// print only the id of the release
    #[arg(long)]
    id: bool,
    #[command(flatten)]
    app: AppArgs,
}

impl ImportImage {
    /// Makes a build and its release of the image.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let login = self.login(context)?;
        let file = self
            .manifest
            .clone()
            .unwrap_or_else(|| PathBuf::from("convox.yml"));
        let manifest = std::fs::read_to_string(context.settings.working().join(&file))
            .map_err(Error::io(format!("can not read {}", file.display())))?;
        let rack = context.rack(&self.app.rack).await?;
        let ui = context.ui.for_id(self.id);

        let progress = ui.start("Creating build")?;
        let description = self.description.filter(|text| !text.is_empty());
        let build = rack
            .client
            .build_begin(&app, description.as_deref())
            .await?;
        let told = UpdateOptions {
            manifest: Some(manifest),
            ..UpdateOptions::default()
        };
        let filled = async {
            rack.client.build_update(&app, &build.id, &told).await?;
            progress.ok_with(&build.id)?;
            let progress = ui.start(format!("Relaying image {}", self.image))?;
            let login = login
                .as_ref()
                .map(|(user, password)| (user.as_str(), password.as_str()));
            rack.client
                .build_import_image(&app, &build.id, &self.image, login)
                .await
                .map_err(unknown_to_old_racks)?;
            progress.ok()
        };
        if let Err(error) = filled.await {
            // Nobody will ever fill it.
            if rack.client.is_twinrack()
                && let Err(kept) = rack.client.build_delete(&app, &build.id).await
            {
                ui.note(format!("build {} is left behind: {kept}", build.id));
            }
            return Err(error);
        }

        let progress = ui.start("Waiting for import to complete")?;
        complete(&rack, &app, &build.id).await?;
        progress.ok()?;

        let progress = ui.start("Creating release")?;
        let options = release::CreateOptions {
            build: Some(build.id.clone()),
            ..release::CreateOptions::default()
        };
        let release = rack.client.release_create(&app, &options).await?;
        let told = UpdateOptions {
            release: Some(release.id.clone()),
            ..UpdateOptions::default()
        };
        rack.client.build_update(&app, &build.id, &told).await?;
        progress.ok_with(&release.id)?;

        ui.line(format!("Build:   {}", build.id))?;
        ui.line(format!("Release: {}", release.id))?;
        if self.id {
            ui.data(release.id.as_bytes())?;
        }
        Ok(Exit::SUCCESS)
    }

    /// User name and password for the image's registry, if there are any.
    fn login(&self, context: &Context) -> Result<Option<(String, String)>, Error> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (plain, name) = (given(&self.src_creds_pass), given(&self.src_creds_pass_env));
        let ways = [plain.is_some(), name.is_some(), self.src_creds_pass_stdin];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err(Error::failed(
                "at most one of --src-creds-pass, --src-creds-pass-env, --src-creds-pass-stdin may be specified",
            ));
        }
        let password = if let Some(name) = name {
            Some(variable(&name).ok_or_else(|| {
                Error::failed(format!(
                    "--src-creds-pass-env={name}: environment variable not set"
                ))
            })?)
        } else if self.src_creds_pass_stdin {
            let mut line = String::new();
            io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(Error::io("can not read the password"))?;
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            if line.is_empty() {
                return Err(Error::failed(
                    "--src-creds-pass-stdin: no password on standard input",
                ));
            }
            Some(line)
        } else {
            plain.inspect(|_| {
                context.ui.note(
                    "warning: --src-creds-pass shows the password to everybody on this machine; \
                     use --src-creds-pass-env or --src-creds-pass-stdin",
                );
            })
        };
        match (given(&self.src_creds_user), password) {
            (None, None) => Ok(None),
            (Some(user), Some(password)) => Ok(Some((user, password))),
            (None, Some(_)) => Err(Error::failed(
                "--src-creds-user is missing beside the password",
            )),
            (Some(_), None) => Err(Error::with_hint(
                "a password is missing beside --src-creds-user",
                "--src-creds-pass-stdin reads it from standard input",
            )),
        }
    }
}

/// A bare 404 says that the rack has no such call.
fn unknown_to_old_racks(error: ClientError) -> Error {
    match error {
        ClientError::Api {
            status: 404,
            message,
        } if message.starts_with("response status") => {
            Error::failed("convox builds import-image requires rack version 3.24.6 or later")
        }
        error => error.into(),
    }
}

/// Waits until the build has its images.
async fn complete(rack: &Rack, app: &str, id: &str) -> Result<(), Error> {
    let deadline = Instant::now() + LIMIT;
    let (mut pause, mut failures) = (Duration::from_millis(20), 0);
    loop {
        match rack.client.build_get(app, id).await {
            Ok(build) => {
                failures = 0;
                match build.status.as_str() {
                    status::COMPLETE => return Ok(()),
                    status::CREATED | status::RUNNING => {}
                    status::FAILED if build.reason.is_empty() => {
                        return Err(Error::failed("import failed"));
                    }
                    status::FAILED => {
                        return Err(Error::failed(format!("import failed: {}", build.reason)));
                    }
                    other => {
                        return Err(Error::failed(format!("unexpected build status: {other}")));
                    }
                }
            }
            Err(error) => {
                failures += 1;
                if failures > MOST_FAILURES {
                    return Err(error.into());
                }
            }
        }
        if Instant::now() > deadline {
            return Err(Error::with_hint(
                "the images did not come within two hours",
                format!("`convox builds info {id}` tells what became of them"),
            ));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK);
    }
}
