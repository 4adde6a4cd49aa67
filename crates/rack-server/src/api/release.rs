//! Releases.

use axum::extract::{Path, Request};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use rack_api::release::{CreateOptions, PromoteOptions};

use super::era;
use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;
use crate::rack::release::DEFAULT_LIMIT;

/// `GET /apps/{app}/releases`
pub(super) async fn list(
    Scope(rack): Scope,
    Path(app): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let default = era::limit(&headers, DEFAULT_LIMIT);
    let limit = Params::of_query(&uri).limit(default)?;
    Ok(reply::json(&rack.releases(&app, limit).await?))
}

/// `POST /apps/{app}/releases`
pub(super) async fn create(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let text = |name: &str| params.text(name).map(str::to_owned);
    let options = CreateOptions {
        build: text("build"),
        env: text("env"),
        description: text("description"),
        parent_release: text("parent-release"),
        latest: text("latest"),
    };
    Ok(reply::json(&rack.create_release(&app, &options).await?))
}

/// `GET /apps/{app}/releases/{id}`
pub(super) async fn get(
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.release(&app, &id).await?))
}

/// `POST /apps/{app}/releases/{id}/promote`
pub(super) async fn promote(
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let options = PromoteOptions {
        development: params.boolean("development"),
        changed: params.boolean("changed"),
        force: params.boolean("force"),
        idle: params.boolean("idle"),
        min: params.integer("min")?,
        max: params.integer("max")?,
        timeout: params.integer("timeout")?,
    };
    Ok(reply::ok_or(&rack.promote(&app, &id, &options).await?))
}
