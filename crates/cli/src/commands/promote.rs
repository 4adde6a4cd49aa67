//! Promoting a release and seeing it happen: shared by `releases promote`,
//! `releases rollback`, `deploy` and `env --promote`.

use rack_api::app;
use rack_api::release::PromoteOptions;

use crate::error::Error;
use crate::racks::Rack;
use crate::settle::{self, Change, Rollback};
use crate::ui::Ui;

/// Waits until the app is ready for a promote, saying so if it is not at once.
pub(super) async fn wait_until_ready(rack: &Rack, app: &str, ui: &Ui) -> Result<(), Error> {
    if rack.client.app_get(app).await?.status != app::status::RUNNING {
        let progress = ui.start("Waiting for app to be ready")?;
        settle::quietly(rack, app).await?;
        progress.ok()?;
    }
    Ok(())
}

/// Promotes a release and waits until it is the active one.
pub(super) async fn promote(
    rack: &Rack,
    app: &str,
    release: &str,
    force: bool,
    ui: &Ui,
) -> Result<(), Error> {
    let mut progress = ui.start(format!("Promoting {release}"))?;
    let change = Change::begin(rack, app).await;
    let options = PromoteOptions {
        force: force.then_some(true),
        ..PromoteOptions::default()
    };
    rack.client.release_promote(app, release, &options).await?;
    let settled = settle::with_logs(rack, app, change, Rollback::Fails, &mut progress).await?;
    if settled.release != release {
        return Err(rolled_back(rack, app, release).await);
    }
    progress.ok()
}

/// The error of a promote that was undone, with the rack's reason if it gives one.
pub(crate) async fn rolled_back(rack: &Rack, app: &str, release: &str) -> Error {
    match rack.client.release_get(app, release).await {
        Ok(release) if !release.reason.is_empty() => {
            Error::failed(format!("rollback: {}", release.reason))
        }
        _ => Error::failed("rollback"),
    }
}
