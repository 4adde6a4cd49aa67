//! Services as clients of late 2017 list and scale them.

use axum::extract::{Path, Request};
use axum::response::Response;
use rack_api::service::UpdateOptions;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;
use crate::operations::Failure;

/// `GET /apps/{app}/formation`
pub(super) async fn list(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.formation(&app).await?))
}

/// A dimension, unless it is absent or one of the numbers that old clients send for
/// "no change".
fn dimension(params: &Params, name: &str, unchanged: &[i64]) -> Result<Option<i64>> {
    let Some(text) = params.text(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let value = text
        .parse()
        .map_err(|_| Failure::Invalid(format!("{name} must be numeric")))?;
    Ok(Some(value).filter(|value| !unchanged.contains(value)))
}

/// `POST /apps/{app}/formation/{service}`
pub(super) async fn update(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let options = UpdateOptions {
        count: dimension(&params, "count", &[-2])?,
        cpu: dimension(&params, "cpu", &[-1])?,
        memory: dimension(&params, "memory", &[-1, 0])?,
    };
    rack.update_service(&app, &service, options).await?;
    Ok(reply::ok())
}
