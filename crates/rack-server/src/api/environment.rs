//! Environments as clients before July 2018 read and write them: whole, or a name at
//! a time. Each change makes a release, named in the header `Release-Id`.

use axum::extract::{Path, Request};
use axum::http::HeaderValue;
use axum::response::Response;
use rack_api::Environment;
use rack_api::release::Release;

use super::error::Result;
use super::params;
use super::reply;
use super::scope::Scope;

/// `GET /apps/{app}/environment`
pub(super) async fn get(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.environment(&app).await?.to_map()))
}

/// `POST /apps/{app}/environment`: the body is the complete new environment, whatever
/// its type says (the client of late 2017 calls it a form).
pub(super) async fn set(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    let text = params::text(request.into_body()).await?;
    Ok(changed(&rack.set_environment(&app, &text).await?))
}

/// `DELETE /apps/{app}/environment/{name}`
pub(super) async fn unset(
    Scope(rack): Scope,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response> {
    Ok(changed(&rack.unset_environment(&app, &name).await?))
}

fn changed(release: &Release) -> Response {
    let mut response = reply::json(&Environment::parse(&release.env).to_map());
    let id = HeaderValue::from_str(&release.id).expect("an id is letters");
    response.headers_mut().insert("release-id", id);
    response
}
