//! The HTTP side of a server: transport only.
//!
//! [`table()`] lists every route. Handlers read parameters, call one method of
//! [`crate::rack`] and write the answer; they decide nothing. Facts: `rack-api.md`.

mod absent;
mod app;
mod attached;
mod balancer;
mod browser;
mod build;
mod capacity;
mod certificate;
mod config;
mod diagnose;
mod drain;
mod environment;
mod era;
mod error;
mod event;
mod fault;
mod file;
mod formation;
mod guard;
mod image_import;
mod index;
mod instance;
mod log;
mod metric;
mod multipart;
mod object;
mod openapi;
mod parameters;
mod params;
mod process;
mod proxy;
mod rack;
mod rack_resource;
mod range;
mod registry;
mod release;
mod reply;
mod resource;
mod revocable;
mod route;
mod scope;
mod service;
mod socket;
mod system;
mod table;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, any, on};

pub use openapi::{generation, openapi};
pub use route::{Answer, Body, Client, Kind, Largest, Parameter, Place, Route, Whose};

use crate::operations::Failure;
use crate::rack::console::Console;

/// What handlers have at hand.
pub type State = Arc<Console>;

/// Marks every answer of this server, with its version.
pub const SERVER_HEADER: &str = "twinrack";

/// Every route of the server, with what is known of it.
pub fn table() -> Vec<Route> {
    table::table()
}

/// The server's routes, answering.
pub fn routes(console: State) -> Router {
    let mut router = Router::new();
    // To axum every GET route answers HEAD too; to racks it is an unknown one.
    let mut heads: BTreeMap<&'static str, bool> = BTreeMap::new();
    for route in table() {
        if route.answered_by.is_some() {
            continue;
        }
        let path = route.path;
        *heads.entry(path).or_default() |= route.method == Method::HEAD;
        router = router.route(path, route.into_handler(&console));
    }
    for (path, answered) in heads {
        if !answered {
            router = router.route(path, on(MethodFilter::HEAD, unknown));
        }
    }
    router
        .route_layer(middleware::from_fn(mark))
        .route_layer(middleware::from_fn(drain::keep_reading))
        .method_not_allowed_fallback(unknown)
        .fallback(any(unknown))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&console),
            browser::keep_out,
        ))
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
        Ok(response) if json => reply::in_json(response),
        Ok(response) => response,
        Err(gone) => {
            error::ApiError::from(Failure::internal(format!("a handler ended early: {gone}")))
                .into_response()
        }
    };
    add_headers(&mut response);
    response
}

fn add_headers(response: &mut Response) {
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
}
