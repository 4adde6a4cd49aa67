//! The HTTP side of a server: transport only.
//!
//! [`routes`] lists every route. Handlers read parameters, call one method of
//! [`crate::rack`] and write the answer; they decide nothing. Facts: `rack-api.md`.

mod app;
mod build;
mod drain;
mod error;
mod log;
mod object;
mod params;
mod process;
mod rack;
mod release;
mod reply;
mod resource;
mod scope;
mod service;
mod socket;
mod system;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, get, post, put};

use crate::operations::Failure;
use crate::rack::console::Console;

/// What handlers have at hand.
pub type State = Arc<Console>;

/// Marks every answer of this server, with its version.
pub const SERVER_HEADER: &str = "twinrack";

/// Every route of the server.
pub fn routes(console: State) -> Router {
    Router::new()
        // without a rack
        .route("/check", get(system::check))
        .route("/auth", get(system::auth))
        .route("/racks", get(rack::list).post(rack::create))
        .route("/racks/{name}", delete(rack::delete))
        .route(
            "/racks/{organization}/{name}",
            get(rack::get).delete(rack::delete_full),
        )
        // the rack
        .route("/system", get(system::get))
        .route("/system/logs", get(log::system))
        .route("/system/processes", get(system::processes))
        .route("/system/releases", get(system::releases))
        // apps
        .route("/apps", get(app::list).post(app::create))
        .route(
            "/apps/{app}",
            get(app::get).put(app::update).delete(app::delete),
        )
        .route("/apps/{app}/cancel", post(app::cancel))
        .route("/apps/{app}/logs", get(log::app))
        .route("/apps/{app}/budget", get(app::budget))
        // objects
        .route("/apps/{app}/objects", get(object::list))
        .route("/apps/{app}/objects/", post(object::store_unnamed))
        .route(
            "/apps/{app}/objects/{*key}",
            get(object::fetch)
                .head(object::head)
                .post(object::store)
                .delete(object::delete),
        )
        // builds
        .route("/apps/{app}/builds", get(build::list).post(build::create))
        .route("/apps/{app}/builds/import", post(build::import))
        .route("/apps/{app}/builds/{id}", get(build::get))
        .route("/apps/{app}/builds/{id}/logs", get(log::build))
        // releases
        .route(
            "/apps/{app}/releases",
            get(release::list).post(release::create),
        )
        .route("/apps/{app}/releases/{id}", get(release::get))
        .route("/apps/{app}/releases/{id}/promote", post(release::promote))
        // processes
        .route("/apps/{app}/processes", get(process::list))
        .route(
            "/apps/{app}/processes/{pid}",
            get(process::get).delete(process::stop),
        )
        .route("/apps/{app}/processes/{pid}/exec", get(process::exec))
        .route("/apps/{app}/processes/{pid}/logs", get(log::process))
        // services
        .route("/apps/{app}/services", get(service::list))
        .route("/apps/{app}/services/{service}", put(service::update))
        .route("/apps/{app}/services/{service}/logs", get(log::service))
        .route(
            "/apps/{app}/services/{service}/processes",
            post(process::run),
        )
        .route(
            "/apps/{app}/services/{service}/restart",
            post(service::restart),
        )
        // resources
        .route("/apps/{app}/resources", get(resource::list))
        .route("/apps/{app}/resources/{name}", get(resource::get))
        .route_layer(middleware::from_fn(mark))
        .route_layer(middleware::from_fn(drain::keep_reading))
        .method_not_allowed_fallback(unknown)
        .fallback(any(unknown))
        .with_state(console)
}

/// Unknown routes and wrong methods: 404 with an empty body (`rack-api.md` §1.6).
async fn unknown() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Adds the headers every routed answer carries, and gives errors their form.
async fn mark(request: Request, next: Next) -> Response {
    let json = error::wants_json(request.headers());
    // In a task of its own: a client that hangs up must not stop a change half way.
    let mut response = match tokio::spawn(next.run(request)).await {
        Ok(response) if json => error::as_json(response),
        Ok(response) => response,
        Err(gone) => {
            error::ApiError::from(Failure::internal(format!("a handler ended early: {gone}")))
                .into_response()
        }
    };
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(
        SERVER_HEADER,
        HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
    );
    if !upgraded {
        if let Ok(id) = HeaderValue::from_str(&rack_api::id::hex(12)) {
            headers.insert("request-id", id);
        }
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
}
