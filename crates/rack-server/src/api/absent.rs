//! Routes to what one machine has not (`rack-api.md` §3.10): the contract's error
//! form and one sentence.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::error::Result;
use super::reply;
use super::scope::Scope;
use crate::rack::absent::Absent;

/// `GET /apps/{app}/budget`: there is none, and v3 clients ask with every `ps`.
pub(super) async fn no_budget(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    rack.app(&app).await?;
    Ok(reply::json(
        &serde_json::json!({ "config": null, "state": null }),
    ))
}

/// `GET /apps/{app}/budget/shutdown-state`: nothing was ever shut down.
pub(super) async fn no_shutdown(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    rack.app(&app).await?;
    Ok(reply::json(&serde_json::Value::Null))
}

/// Every change of a budget.
pub(super) async fn budget(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Err(rack.absent_of_app(&app, Absent::Budget).await?.into())
}

/// `GET /apps/{app}/cost`
pub(super) async fn cost(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Err(rack.absent_of_app(&app, Absent::Cost).await?.into())
}

/// Overrides and triggers of a service's scale.
pub(super) async fn autoscaling(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
) -> Result<Response> {
    let refused = rack
        .absent_of_service(&app, &service, Absent::Autoscaling)
        .await?;
    Err(refused.into())
}

/// `POST /system/karpenter/cleanup`
pub(super) async fn karpenter(Scope(rack): Scope) -> Result<Response> {
    Err(rack.absent(Absent::Karpenter).into())
}

/// `GET` and `PUT /letsencrypt/config`
pub(super) async fn letsencrypt(Scope(rack): Scope) -> Result<Response> {
    Err(rack.absent(Absent::LetsEncrypt).into())
}

/// `/custom/http/proxy/{path}`
pub(super) async fn http_proxy(Scope(rack): Scope) -> Result<Response> {
    Err(rack.absent(Absent::HttpProxy).into())
}

/// `/v2/{path}`, where clients of image registries push what they have built: in
/// their own error form, for they show nothing else. Open to everyone, so that they
/// say this and not that a login is missing.
pub(super) async fn registry() -> Response {
    let error = serde_json::json!({ "errors": [{
        "code": "UNSUPPORTED",
        "message": "a local rack takes no pushed images: let it build, or use builds import-image",
    }] });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::NOT_FOUND, json, Body::from(error.to_string())).into_response()
}
