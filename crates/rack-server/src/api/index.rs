//! Incremental builds of the client of late 2017: which files are new, and those files.

use axum::extract::Request;
use axum::response::Response;
use rack_api::index::Index;

use super::error::Result;
use super::multipart::{Parts, file};
use super::params::Params;
use super::reply;
use super::scope::Scope;
use crate::operations::Failure;

/// Reads the field `index`.
pub(super) fn of_params(params: &Params) -> Result<Index> {
    let text = params.required("index")?;
    Ok(serde_json::from_str(text)
        .map_err(|error| Failure::Invalid(format!("the index is not readable: {error}")))?)
}

/// `POST /index/diff`
pub(super) async fn diff(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let index = of_params(&params)?;
    Ok(reply::json(&rack.index_missing(index).await?))
}

/// `POST /index/update`: the part `update` holds the files, named by their hashes.
pub(super) async fn update(Scope(rack): Scope, request: Request) -> Result<Response> {
    let missing = || Failure::Invalid("the upload has no update part".into());
    let parts = Parts::of(request.headers()).ok_or_else(missing)?;
    let mut parts = parts(request.into_body());
    while let Some(field) = parts.next().await? {
        if field.name() == Some("update") {
            let (body, fate) = file(field);
            fate.judge(rack.index_update(body).await)?;
            return Ok(reply::ok());
        }
        parts.text(field).await?;
    }
    Err(missing().into())
}
