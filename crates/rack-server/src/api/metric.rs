//! Measurements, and what the machine has.

use axum::extract::Path;
use axum::http::Uri;
use axum::response::Response;
use rack_api::metric::MetricOptions;
use rack_api::params::list;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

fn options(params: &Params) -> Result<MetricOptions> {
    Ok(MetricOptions {
        start: params.time("start")?,
        end: params.time("end")?,
        period: params.integer("period")?,
        metrics: params.text("metrics").map(list).unwrap_or_default(),
    })
}

/// `GET /system/metrics`
pub(super) async fn system(Scope(rack): Scope, uri: Uri) -> Result<Response> {
    let options = options(&Params::of_query(&uri))?;
    Ok(reply::json(&rack.system_metrics(&options)?))
}

/// `GET /apps/{app}/metrics`
pub(super) async fn app(Scope(rack): Scope, Path(app): Path<String>, uri: Uri) -> Result<Response> {
    let options = options(&Params::of_query(&uri))?;
    Ok(reply::json(&rack.app_metrics(&app, &options).await?))
}

/// `GET /apps/{app}/services/{service}/metrics`
pub(super) async fn service(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response> {
    let options = options(&Params::of_query(&uri))?;
    let metrics = rack.service_metrics(&app, &service, &options).await?;
    Ok(reply::json(&metrics))
}

/// `GET /apps/{app}/metrics-by-service`
pub(super) async fn by_service(
    Scope(rack): Scope,
    Path(app): Path<String>,
    uri: Uri,
) -> Result<Response> {
    let params = Params::of_query(&uri);
    let services = params.text("services").map(list).unwrap_or_default();
    let options = options(&params)?;
    let metrics = rack.metrics_by_service(&app, &services, &options).await?;
    Ok(reply::json(&metrics))
}
