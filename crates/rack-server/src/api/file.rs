//! Files of processes.

use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::Uri;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::io::{ReaderStream, StreamReader};

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// Bytes sent at once.
const PIECE: usize = 64 << 10;

/// `GET /apps/{app}/processes/{pid}/files`
pub(super) async fn download(
    Scope(rack): Scope,
    Path((app, pid)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response> {
    rack.app(&app).await?;
    let params = Params::of_query(&uri);
    let tar = rack.files(&app, &pid, params.required("file")?).await?;
    let body = Body::from_stream(ReaderStream::with_capacity(tar, PIECE));
    Ok(reply::bytes(body, None))
}

/// `POST /apps/{app}/processes/{pid}/files`
pub(super) async fn upload(
    Scope(rack): Scope,
    Path((app, pid)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_query(request.uri());
    let flags = params.text("tar-extra").unwrap_or_default();
    let body = request
        .into_body()
        .into_data_stream()
        .map_err(std::io::Error::other)
        .boxed();
    rack.put_files(&app, &pid, flags, StreamReader::new(body))
        .await?;
    Ok(reply::ok())
}

/// `DELETE /apps/{app}/processes/{pid}/files`
pub(super) async fn delete(
    Scope(rack): Scope,
    Path((app, pid)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response> {
    rack.app(&app).await?;
    let params = Params::of_query(&uri);
    let files: Vec<&str> = params.required("files")?.split(',').collect();
    rack.remove_files(&app, &pid, &files).await?;
    Ok(reply::ok())
}
