//! Which routes the tests have called, on which engine and with what outcome: what
//! `docs/coverage.md` is made from.
//!
//! Each test process adds lines `METHOD path engine outcome` to a file of its own in
//! the directory that `TWINRACK_COVERAGE` names. Without it nothing is written.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};

use super::world::Answer;

/// Where lines go, and those that are there.
struct Record {
    file: File,
    written: BTreeSet<String>,
}

static RECORD: LazyLock<Option<Mutex<Record>>> = LazyLock::new(|| {
    let directory = PathBuf::from(std::env::var_os("TWINRACK_COVERAGE")?);
    let path = directory.join(std::process::id().to_string());
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let written = BTreeSet::new();
    Some(Mutex::new(Record { file, written }))
});

/// Tells the test's client which route answered: a socket's outcome is in its stream.
const ROUTE: &str = "x-route";

fn record(line: String) {
    if let Some(record) = &*RECORD {
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.written.insert(line.clone()) {
            record.file.write_all(line.as_bytes()).expect("a line");
        }
    }
}

/// The same routes, taking note of calls.
pub(crate) fn recorded(routes: Router, engine: &'static str) -> Router {
    if RECORD.is_none() {
        return routes;
    }
    routes.layer(from_fn(move |request: Request, next: Next| async move {
        let method = request.method().clone();
        let path = request.extensions().get::<MatchedPath>().cloned();
        // A route of the table that another one answers.
        let archive = method == "GET" && request.uri().path().strip_suffix(".tgz").is_some();
        let mut response = next.run(request).await;
        if let Some(path) = path {
            let archive = archive && path.as_str() == "/apps/{app}/builds/{id}";
            let suffix = if archive { ".tgz" } else { "" };
            let route = format!("{method} {}{suffix} {engine}", path.as_str());
            if let Some(outcome) = outcome(response.status()) {
                record(format!("{route} {outcome}\n"));
            } else {
                let route = HeaderValue::try_from(route).expect("paths are plain");
                response.headers_mut().insert(ROUTE, route);
            }
        }
        response
    }))
}

/// Outcome of a plain request; that of a socket is not known yet.
fn outcome(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        101 => None,
        200..=299 => Some("2xx"),
        400..=499 => Some("4xx"),
        _ => Some("5xx"),
    }
}

/// The call that opened a socket, until its outcome is known.
pub(crate) struct Call(Option<String>);

impl Call {
    /// From the answer to a handshake.
    pub(crate) fn of(answer: &Answer) -> Self {
        Self(answer.header(ROUTE).map(str::to_owned))
    }

    /// The first thing the socket said.
    pub(crate) fn said(&mut self, first: &[u8]) {
        if let Some(route) = self.0.take() {
            let refused = first.starts_with(b"ERROR: ");
            record(format!("{route} {}\n", if refused { "4xx" } else { "101" }));
        }
    }
}
