//! Objects.

use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::io::StreamReader;

use super::error::Result;
use super::params::Params;
use super::scope::Scope;
use super::{range, reply};
use crate::rack::Rack;

async fn put(rack: &Rack, app: &str, key: &str, request: Request) -> Result<Response> {
    let body = request
        .into_body()
        .into_data_stream()
        .map_err(std::io::Error::other)
        .boxed();
    Ok(reply::json(
        &rack.store_object(app, key, StreamReader::new(body)).await?,
    ))
}

/// `POST /apps/{app}/objects/{key}`
pub(super) async fn store(
    Scope(rack): Scope,
    Path((app, key)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    put(&rack, &app, &key, request).await
}

/// `POST /apps/{app}/objects/`: the rack makes up the key.
pub(super) async fn store_unnamed(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    put(&rack, &app, "", request).await
}

/// `GET /apps/{app}/objects/{key}`, whole or a part of it.
pub(super) async fn fetch(
    Scope(rack): Scope,
    Path((app, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    range::file(rack.object(&app, &key).await?, &headers).await
}

/// `HEAD /apps/{app}/objects/{key}`
pub(super) async fn head(
    Scope(rack): Scope,
    Path((app, key)): Path<(String, String)>,
) -> Result<Response> {
    rack.object(&app, &key).await?;
    Ok(Response::new(Body::empty()))
}

/// `DELETE /apps/{app}/objects/{key}`
pub(super) async fn delete(
    Scope(rack): Scope,
    Path((app, key)): Path<(String, String)>,
) -> Result<Response> {
    rack.delete_object(&app, &key).await?;
    Ok(reply::ok())
}

/// `GET /apps/{app}/objects`
pub(super) async fn list(
    Scope(rack): Scope,
    Path(app): Path<String>,
    uri: Uri,
) -> Result<Response> {
    let params = Params::of_query(&uri);
    Ok(reply::json(
        &rack
            .objects(&app, params.text("prefix").unwrap_or_default())
            .await?,
    ))
}
