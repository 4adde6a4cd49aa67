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
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};

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

/// The same routes, taking note of calls.
pub(crate) fn recorded(routes: Router, engine: &'static str) -> Router {
    let Some(record) = &*RECORD else {
        return routes;
    };
    routes.layer(from_fn(move |request: Request, next: Next| async move {
        let method = request.method().clone();
        let path = request.extensions().get::<MatchedPath>().cloned();
        let response = next.run(request).await;
        if let Some(path) = path {
            let outcome = outcome(response.status());
            let line = format!("{method} {} {engine} {outcome}\n", path.as_str());
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            if record.written.insert(line.clone()) {
                record.file.write_all(line.as_bytes()).expect("a line");
            }
        }
        response
    }))
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        101 => "101",
        200..=299 => "2xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
