//! Timers: commands that the manifest of an app's active release wants run at times
//! (`convox-yml.md` §13).
//!
//! One task per rack wakes once a minute, looks which timers fire in that minute and
//! starts a one-off process for each. What would have fired while no server ran, or
//! while the machine slept, is not made up for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use manifest::{Concurrency, Schedule, Timer};
use rack_api::app::status;

use super::context::Context;
use super::error::Result;
use super::plan::RUN;
use super::run;
use crate::engine::{Phase, ProcessState, label};
use crate::store::AppRow;

const MINUTE: i64 = 60;

/// Runs the timers of a rack for as long as it is open, once a former server's work is
/// done.
pub fn begin(context: &Arc<Context>) {
    let context = Arc::clone(context);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let mut recovered = context.recovered.subscribe();
        tokio::select! {
            // The sender lives as long as the context.
            _ = recovered.wait_for(|done| *done) => {}
            () = context.shutdown.cancelled() => return,
        }
        loop {
            let next = minute_of(context.now()) + MINUTE;
            let next = Timestamp::from_second(next).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = context.settings.clock.reaches(next) => {}
                () = context.shutdown.cancelled() => return,
            }
            // Later than `next` if the machine has slept: only this minute counts.
            if let Err(error) = fire(&context, context.now()).await {
                tracing::error!(%error, rack = context.rack, "could not run timers");
            }
        }
    });
}

fn minute_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(MINUTE) * MINUTE
}

/// Starts what fires in the minute of this time.
async fn fire(context: &Arc<Context>, now: Timestamp) -> Result<()> {
    // Most apps have none, and the store has other things to do.
    for app in context.store.apps_with("timers").await? {
        if app.status == status::DELETING {
            continue;
        }
        for timer in timers(context, &app).await? {
            let fires = timer
                .schedule
                .parse::<Schedule>()
                .is_ok_and(|schedule| schedule.fires_at(now));
            if fires {
                // An app that is slow to start holds no other one up.
                let (context, app) = (Arc::clone(context), app.clone());
                let tasks = context.tasks.clone();
                tasks.spawn(async move { start(&context, &app, &timer).await });
            }
        }
    }
    Ok(())
}

/// The timers of the active release.
async fn timers(context: &Context, app: &AppRow) -> Result<Vec<Timer>> {
    let release = context.store.release(&app.name, &app.release).await?;
    let Some(release) = release else {
        return Ok(Vec::new());
    };
    let variables = rack_api::Environment::parse(&release.env).to_map();
    // It was promoted, so it loads.
    let loaded = manifest::Manifest::load(&release.manifest, &variables);
    Ok(loaded
        .map(|loaded| loaded.manifest.timers.into_values().collect())
        .unwrap_or_default())
}

/// Starts the processes of a timer, as far as those that still run allow.
async fn start(context: &Arc<Context>, app: &AppRow, timer: &Timer) {
    let log = |text: &str| context.log(&app.name, &format!("timer-{}", timer.name), text);
    let allowed = match timer.concurrency {
        Concurrency::Allow => Ok(true),
        Concurrency::Forbid => running(context, &app.name, &timer.name)
            .await
            .map(|running| running.is_empty()),
        Concurrency::Replace => stop(context, &app.name, &timer.name).await.map(|()| true),
    };
    match allowed {
        Ok(true) => {}
        Ok(false) => return log("left out: the last one still runs"),
        Err(failure) => return log(&format!("could not be run: {failure}")),
    }
    for index in 0..timer.parallel {
        let mut environment = BTreeMap::new();
        if timer.parallel > 1 {
            environment.insert("TIMER_INDEX".to_owned(), index.to_string());
        }
        let request = run::Request {
            service: timer.service.clone(),
            release: app.release.clone(),
            command: Some(timer.command.clone()),
            environment,
            timer: Some(timer.name.clone()),
            ..run::Request::default()
        };
        match run::start(context, &app.name, request).await {
            Ok(id) => log(&format!("started {}", &id[..id.len().min(12)])),
            // An app that was deleted meanwhile has no log any more.
            Err(_) if matches!(context.store.app(&app.name).await, Ok(None)) => return,
            Err(failure) => return log(&format!("could not be run: {failure}")),
        }
    }
}

/// Processes of a timer that have not ended.
async fn running(context: &Context, app: &str, timer: &str) -> Result<Vec<ProcessState>> {
    let mut labels = context.app_labels(app);
    labels.insert(label::KIND.into(), RUN.into());
    labels.insert(label::TIMER.into(), timer.to_owned());
    let mut states = context.engine.processes(&labels).await?;
    states.retain(|state| matches!(state.phase, Phase::Created | Phase::Running));
    Ok(states)
}

async fn stop(context: &Arc<Context>, app: &str, timer: &str) -> Result<()> {
    for state in running(context, app, timer).await? {
        let grace = state.labels.get(label::GRACE);
        let grace = grace.and_then(|grace| grace.parse().ok()).unwrap_or(30);
        run::stop(context, app, &state.id, Duration::from_secs(grace)).await?;
    }
    Ok(())
}
