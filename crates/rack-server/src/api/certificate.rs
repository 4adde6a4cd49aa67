//! Certificates.

use axum::extract::{Path, Request};
use axum::http::Uri;
use axum::response::Response;
use rack_api::certificate::GenerateOptions;
use rack_api::params::list as split;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// `GET /certificates`
pub(super) async fn list(Scope(rack): Scope, uri: Uri) -> Result<Response> {
    let generated = Params::of_query(&uri).boolean("generated") == Some(true);
    Ok(reply::json(&rack.certificates(generated).await?))
}

/// `POST /certificates`
pub(super) async fn create(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    // The names of the 2017 client come second.
    let certificate = match params.text("public") {
        Some(public) if params.text("pub").is_none() => public,
        _ => params.required("pub")?,
    };
    let key = match params.text("private") {
        Some(private) if params.text("key").is_none() => private,
        _ => params.required("key")?,
    };
    Ok(reply::json(
        &rack
            .create_certificate(certificate, key, params.text("chain"))
            .await?,
    ))
}

/// `POST /certificates/generate`
pub(super) async fn generate(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let domains = split(params.text("domains").unwrap_or_default());
    let options = GenerateOptions {
        issuer: params.text("issuer").map(str::to_owned),
        duration: params.duration("duration")?,
    };
    Ok(reply::json(
        &rack.generate_certificate(&domains, &options).await?,
    ))
}

/// `DELETE /certificates/{id}`
pub(super) async fn delete(Scope(rack): Scope, Path(id): Path<String>) -> Result<Response> {
    rack.delete_certificate(&id).await?;
    Ok(reply::ok())
}

/// `POST /certificates/{id}/renew`
pub(super) async fn renew(Scope(rack): Scope, Path(id): Path<String>) -> Result<Response> {
    rack.renew_certificate(&id).await?;
    Ok(reply::ok())
}

/// `PUT /apps/{app}/ssl/{service}/{port}`
pub(super) async fn apply(
    Scope(rack): Scope,
    Path((app, _service, _port)): Path<(String, String, String)>,
) -> Result<Response> {
    rack.apply_certificate(&app).await?;
    Ok(reply::ok())
}

/// `GET /apps/{app}/ssl`, as before 2018
pub(super) async fn secure_ports(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.secure_ports(&app).await?))
}
