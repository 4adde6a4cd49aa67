//! What happens on a rack is recorded, and webhooks are told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rack_api::build::status::COMPLETE;
use rack_api::event::status;

use super::context::Context;
use super::error::{Failure, Result};
use crate::store::EventRow;

/// Records an event in the form the contract gives it (`rack-api.md` §3.8), and wakes
/// those who tell webhooks.
pub async fn record(
    context: &Context,
    action: &str,
    mut data: BTreeMap<String, String>,
    word: Option<&str>,
    error: Option<&str>,
) -> Result<()> {
    // The sender may know better when it happened.
    let time = data
        .get("timestamp")
        .and_then(|text| text.parse::<Timestamp>().ok())
        .unwrap_or_else(|| context.now());
    let word = word.filter(|word| !word.is_empty());
    let mut status = word.unwrap_or(status::SUCCESS);
    if let Some(error) = error {
        status = status::ERROR;
        data.insert("message".to_owned(), error.to_owned());
    }
    data.insert("rack".to_owned(), context.rack.clone());
    let event = EventRow {
        sequence: 0,
        time,
        action: action.to_owned(),
        status: status.to_owned(),
        data,
    };
    context.store.add_event(event).await?;
    context.news.send_modify(|count| *count += 1);
    Ok(())
}

/// Records what the server itself has done, or has failed to do. Nothing fails because
/// it could not be told.
pub async fn tell(
    context: &Context,
    action: &str,
    data: &[(&str, &str)],
    failure: Option<&Failure>,
) {
    let error = failure.map(ToString::to_string);
    tell_status(context, action, data, None, error.as_deref()).await;
}

/// Records what the server has done.
pub async fn tell_success(context: &Context, action: &str, data: &[(&str, &str)]) {
    tell(context, action, data, None).await;
}

/// Records that something has begun.
pub async fn tell_start(context: &Context, action: &str, data: &[(&str, &str)]) {
    tell_status(context, action, data, Some(status::START), None).await;
}

async fn tell_status(
    context: &Context,
    action: &str,
    data: &[(&str, &str)],
    word: Option<&str>,
    error: Option<&str>,
) {
    let data = data
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if let Err(error) = record(context, action, data, word, error).await {
        tracing::error!(%error, action, "could not record an event");
    }
}

/// Records how a build or import has ended, and the release it has made.
pub async fn tell_build(
    context: &Context,
    app: &str,
    build: &str,
    failure: Option<&Failure>,
) -> Result<()> {
    let row = context.store.build(app, build).await?;
    let data = [("app", app), ("id", build)];
    match (row.filter(|row| row.status == COMPLETE), failure) {
        (Some(row), _) => {
            let release = [("app", app), ("id", row.release.as_str())];
            tell_success(context, "release:create", &release).await;
            let data = [data[0], data[1], ("release_id", row.release.as_str())];
            tell_success(context, "build:create", &data).await;
        }
        (None, Some(failure)) => tell(context, "build:create", &data, Some(failure)).await,
        // The app is gone, and its builds with it.
        (None, None) => {}
    }
    Ok(())
}
