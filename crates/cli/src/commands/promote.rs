//! Promoting a release and seeing it happen: shared by `releases promote`,
//! `releases rollback`, `deploy` and `env --promote`. And what is said before, where a
//! promote would leave something behind that was made meanwhile.

use std::collections::BTreeSet;

use clap::Args;
use rack_api::client::ClientError;
use rack_api::release::PromoteOptions;
use rack_api::{Environment, Release, app, build};

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

/// How a release is promoted.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct How {
    /// leave alone the services that would run just as they do; local racks only
    #[arg(long)]
    changed: bool,
    /// do not wait for the app to be ready
    #[arg(long)]
    pub(super) force: bool,
}

impl How {
    /// Everything is replaced, whatever the app is doing if `force` says so.
    pub(super) fn forced(force: bool) -> Self {
        Self {
            force,
            ..Self::default()
        }
    }

    /// Fails where a rack would replace everything all the same.
    pub(super) fn check(self, rack: &Rack) -> Result<(), Error> {
        if self.changed && !rack.client.is_twinrack() {
            return Err(Error::failed(
                "--changed is for local racks: a real rack decides itself what it replaces",
            ));
        }
        Ok(())
    }
}

/// Promotes a release and waits until it is the active one.
pub(super) async fn promote(
    rack: &Rack,
    app: &str,
    release: &str,
    how: How,
    ui: &Ui,
) -> Result<(), Error> {
    let mut progress = ui.start(format!("Promoting {release}"))?;
    let change = Change::begin(rack, app).await;
    let options = PromoteOptions {
        changed: how.changed.then_some(true),
        force: how.force.then_some(true),
        ..PromoteOptions::default()
    };
    rack.client.release_promote(app, release, &options).await?;
    let settled = settle::with_logs(rack, app, change, Rollback::Fails, &mut progress).await?;
    if settled.release != release {
        return Err(rolled_back(rack, app, release).await);
    }
    progress.ok()
}

/// Says that the newest release is not of the newest build, if its promote would leave that
/// behind: the build runs already, or was made since the active release was.
///
/// This happens when a release is made from an older one (`env set --release`,
/// `releases create-from`, `releases rollback`) while builds go on.
pub(super) async fn note_newer_build(rack: &Rack, app: &str, release: &Release, ui: &Ui) {
    // What only advises must not stand in the way.
    if let Ok(Some(newer)) = newer_build(rack, app, release).await {
        let of = if release.build.is_empty() {
            "no build".to_owned()
        } else {
            format!("build {}", release.build)
        };
        ui.note(format!(
            "warning: {} has {of}, the newest build is {}",
            release.id, newer.id
        ));
        ui.note(format!(
            "hint: `convox releases create-from --build-from {} --env-from {} --promote` takes both",
            newer.id, release.id
        ));
    }
}

async fn newer_build(
    rack: &Rack,
    app: &str,
    release: &Release,
) -> Result<Option<build::Build>, ClientError> {
    // The newest ones may be under way, or have failed.
    let newest = rack.client.build_list(app, None).await?;
    let newest = newest
        .into_iter()
        .find(|build| build.status == build::status::COMPLETE && !build.release.is_empty());
    let Some(newest) = newest.filter(|newest| newest.id != release.build) else {
        return Ok(None);
    };
    let active = rack.client.app_get(app).await?.release;
    if active.is_empty() {
        return Ok(Some(newest));
    }
    let active = rack.client.release_get(app, &active).await?;
    let runs = active.build == newest.id;
    let since = active.created.is_some() && newest.ended > active.created;
    Ok((runs || since).then_some(newest))
}

/// Says that a later release has another environment than the one that was named, if the
/// promote goes forward: going back is meant.
pub(super) async fn note_newer_environment(rack: &Rack, app: &str, id: &str, ui: &Ui) {
    // What only advises must not stand in the way.
    if let Ok(Some((newest, keys))) = newer_environment(rack, app, id).await {
        let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
        ui.note(format!(
            "warning: {newest} is newer than {id} and has another environment: {keys}"
        ));
        ui.note(format!(
            "hint: `convox releases promote {newest}` takes it, `convox env diff {id} {newest}` shows it"
        ));
    }
}

async fn newer_environment(
    rack: &Rack,
    app: &str,
    id: &str,
) -> Result<Option<(String, BTreeSet<String>)>, ClientError> {
    let newest = rack.client.release_list(app, Some(1)).await?;
    let Some(newest) = newest.into_iter().next().filter(|newest| newest.id != id) else {
        return Ok(None);
    };
    let named = rack.client.release_get(app, id).await?;
    let active = rack.client.app_get(app).await?.release;
    if !active.is_empty() {
        let active = rack.client.release_get(app, &active).await?;
        if named.created <= active.created {
            return Ok(None);
        }
    }
    // Lists may leave the environment out.
    let newest = rack.client.release_get(app, &newest.id).await?;
    let [old, new] = [&named.env, &newest.env].map(|env| Environment::parse(env).to_map());
    let keys: BTreeSet<_> = old
        .keys()
        .chain(new.keys())
        .filter(|key| old.get(*key) != new.get(*key))
        .cloned()
        .collect();
    Ok((!keys.is_empty()).then_some((newest.id, keys)))
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
