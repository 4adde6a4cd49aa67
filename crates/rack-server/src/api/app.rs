//! Apps.

use std::time::Duration;

use axum::extract::{Path, Request};
use axum::http::Uri;
use axum::response::Response;
use rack_api::params::map;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// Longest wait for an app to settle in one request.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// `GET /apps`
pub(super) async fn list(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.apps().await?))
}

/// `POST /apps`
pub(super) async fn create(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let name = params.text("name").unwrap_or_default();
    // The client of late 2017 sends one that nobody chose as an empty text.
    let generation = params.text("generation").filter(|text| !text.is_empty());
    Ok(reply::json(&rack.create_app(name, generation).await?))
}

/// `GET /apps/{app}`; with `settled=<duration>` the answer waits until nothing
/// changes the app any more, an addition of this server.
pub(super) async fn get(Scope(rack): Scope, Path(app): Path<String>, uri: Uri) -> Result<Response> {
    let wait = Params::of_query(&uri).duration("settled")?;
    let app = match wait {
        Some(wait) => rack.app_settled(&app, wait.min(LONGEST_WAIT)).await?,
        None => rack.app(&app).await?,
    };
    Ok(reply::json(&app))
}

/// `PUT /apps/{app}`
pub(super) async fn update(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    rack.update_app(
        &app,
        params.boolean("lock"),
        params.text("parameters").map(map),
    )
    .await?;
    Ok(reply::ok())
}

/// `DELETE /apps/{app}`
pub(super) async fn delete(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    rack.delete_app(&app).await?;
    Ok(reply::ok())
}

/// `POST /apps/{app}/cancel`
pub(super) async fn cancel(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    rack.cancel_app(&app).await?;
    Ok(reply::ok())
}

/// `GET /apps/{app}/budget`: a laptop has none, and v3 clients ask with every `ps`.
pub(super) async fn budget(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    rack.app(&app).await?;
    Ok(reply::json(
        &serde_json::json!({ "config": null, "state": null }),
    ))
}
