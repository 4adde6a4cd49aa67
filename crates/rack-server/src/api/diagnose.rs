//! Reports on what stands in the way of an app.

use axum::extract::Path;
use axum::http::Uri;
use axum::response::Response;
use rack_api::diagnose::Options;
use rack_api::params::list;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;
use crate::operations::Failure;

/// `GET /apps/{app}/diagnose`
pub(super) async fn get(Scope(rack): Scope, Path(app): Path<String>, uri: Uri) -> Result<Response> {
    let params = Params::of_query(&uri);
    let default = Options::default();
    let names = |name| {
        let names = params.text(name).map(list).unwrap_or_default();
        let names = names.iter().map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    let lines = match params.integer("lines")? {
        None => default.lines,
        Some(lines) => usize::try_from(lines)
            .map_err(|_| Failure::Invalid("lines must not be negative".into()))?,
    };
    let options = Options {
        checks: names("checks"),
        services: names("services"),
        age: params.integer("age")?.unwrap_or(default.age),
        all: params.boolean("all").unwrap_or(default.all),
        lines,
        events: params.boolean("events").unwrap_or(default.events),
        previous: params.boolean("previous").unwrap_or(default.previous),
    };
    Ok(reply::json(&rack.diagnose(&app, &options).await?))
}
