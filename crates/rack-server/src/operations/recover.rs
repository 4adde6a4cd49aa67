//! What a server does first with a rack it finds: everything a former server left
//! half done is brought to an end, and what should run is brought up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rack_api::app::status;

use super::build::Build;
use super::context::{Context, VERSION};
use super::copy::Copy;
use super::delete::Delete;
use super::error::Result;
use super::image_import::ImageImport;
use super::import::Import;
use super::promote::Promote;
use super::rack_resource::{self, Provide, Remove};
use super::remove_build::RemoveBuild;
use super::{Operation as _, supervise, take_up};
use crate::store::OperationRow;

/// Pause before an engine that does not answer is asked again.
const ENGINE_PAUSE: Duration = Duration::from_millis(500);

/// Recovers a rack in the background; requests are answered meanwhile.
pub fn begin(context: &Arc<Context>) {
    super::metric::begin(context);
    super::timer::begin(context);
    super::access::begin(context);
    let context = Arc::clone(context);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        if let Err(error) = context.store.record_version(VERSION, context.started).await {
            tracing::error!(%error, "could not record the version that runs the rack");
        }
        let mut waiting = false;
        while let Err(error) = context.engine.info().await {
            if !waiting {
                context.rack_log(&format!("waiting for the engine: {error}"));
                waiting = true;
            }
            tokio::select! {
                () = tokio::time::sleep(ENGINE_PAUSE) => {}
                () = context.shutdown.cancelled() => return,
            }
        }
        if let Err(error) = recover(&context).await {
            context.rack_log(&format!("could not recover: {error}"));
        }
        // Even then: refusing all work for ever would help nobody.
        context.recovered.send_replace(true);
    });
}

async fn recover(context: &Arc<Context>) -> Result<()> {
    let open = context.store.open_operations().await?;
    // Promotes need to find the processes they have started.
    let mut promoting = Vec::new();
    for row in open.iter().filter(|row| row.kind == Promote::KIND) {
        let rollout = rollout_of(row);
        context.promote_token(&row.app, &rollout);
        promoting.push(rollout);
    }
    supervise::take_over(context, &promoting).await?;
    let resources: Vec<_> = open.iter().filter_map(resource_of).collect();
    let mut changing: BTreeMap<String, Vec<OperationRow>> = BTreeMap::new();
    for row in open {
        if row.kind == Promote::KIND || row.kind == Delete::KIND {
            changing.entry(row.app.clone()).or_default().push(row);
        } else if row.kind == Provide::KIND || row.kind == Remove::KIND {
            // A database takes its time; nothing else waits for it.
            let context = Arc::clone(context);
            let tasks = context.tasks.clone();
            tasks.spawn(async move {
                let name = resource_of(&row);
                end(&context, row).await;
                // Its process may have ended after the step that started it.
                if let Some(name) = name {
                    rack_resource::bring_up(&context, &name).await;
                }
            });
        } else {
            end(context, row).await;
        }
    }
    rack_resource::recover(context, &resources).await?;
    for app in context.store.apps().await? {
        if !changing.contains_key(&app.name)
            && app.status != status::RUNNING
            && app.status != status::DELETING
        {
            context.set_app_status(&app.name, status::RUNNING).await?;
        }
    }
    // Their apps are locked before anybody else may change anything, so that what
    // is new never overtakes what is old.
    for (app, rows) in changing {
        let alone = context.lock_app(&app).await;
        let context = Arc::clone(context);
        let tasks = context.tasks.clone();
        tasks.spawn(async move {
            for row in rows {
                end(&context, row).await;
            }
            drop(alone);
            supervise::bring_up(&context, &app).await;
        });
    }
    context.recovered.send_replace(true);
    for app in context.store.apps().await? {
        if app.status == status::RUNNING && !app.release.is_empty() {
            // Each on its own: one app that cannot come up keeps no other down.
            let (at, app) = (Arc::clone(context), app.name);
            let tasks = at.tasks.clone();
            tasks.spawn(async move { supervise::bring_up(&at, &app).await });
        }
    }
    Ok(())
}

/// Brings one operation to its end.
async fn end(context: &Arc<Context>, row: OperationRow) {
    let what = match resource_of(&row) {
        Some(name) => format!("{} of resource {name}", row.kind),
        None => format!("{} of app {}", row.kind, row.app),
    };
    context.rack_log(&format!("taking up the {what} a former server left"));
    let outcome = match row.kind.as_str() {
        Build::KIND => take_up::<Build>(context, row).await.map(drop),
        ImageImport::KIND => take_up::<ImageImport>(context, row).await.map(drop),
        Copy::KIND => take_up::<Copy>(context, row).await.map(drop),
        Import::KIND => take_up::<Import>(context, row).await.map(drop),
        Promote::KIND => take_up::<Promote>(context, row).await.map(drop),
        Delete::KIND => take_up::<Delete>(context, row).await.map(drop),
        RemoveBuild::KIND => take_up::<RemoveBuild>(context, row).await.map(drop),
        Provide::KIND => take_up::<Provide>(context, row).await.map(drop),
        Remove::KIND => take_up::<Remove>(context, row).await.map(drop),
        other => {
            tracing::error!(kind = other, "an operation of an unknown kind was left");
            return;
        }
    };
    match outcome {
        Ok(()) => context.rack_log(&format!("finished the {what}")),
        Err(failure) => context.rack_log(&format!("ended the {what}: {failure}")),
    }
}

/// The resource of the rack that an operation is about.
fn resource_of(row: &OperationRow) -> Option<String> {
    match row.kind.as_str() {
        Provide::KIND => serde_json::from_str::<Provide>(&row.payload)
            .ok()
            .map(|provide| provide.name),
        Remove::KIND => serde_json::from_str::<Remove>(&row.payload)
            .ok()
            .map(|remove| remove.name),
        _ => None,
    }
}

fn rollout_of(row: &OperationRow) -> String {
    serde_json::from_str::<Promote>(&row.payload)
        .map(|promote| promote.rollout)
        .unwrap_or_default()
}
