//! Builds.

use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use rack_api::build::CreateOptions;
use rack_api::params::list as split;
use tokio_util::io::StreamReader;

use super::State;
use super::error::Result;
use super::multipart::{Parts, file};
use super::params::Params;
use super::reply;
use super::scope::Scope;
use super::{era, index};
use crate::operations::Failure;
use crate::rack::Rack;
use crate::rack::build::DEFAULT_LIMIT;
use crate::store::BuildChange;

/// What clients sent as `config`, their word for the manifest, when told nothing: until
/// October 2017 they knew of no `convox.yml`.
const CONFIG: &str = "docker-compose.yml";

/// `GET /apps/{app}/builds`
pub(super) async fn list(
    Scope(rack): Scope,
    Path(app): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let default = era::limit(&headers, DEFAULT_LIMIT);
    let limit = Params::of_query(&uri).limit(default)?;
    Ok(reply::json(&rack.builds(&app, limit).await?))
}

/// `GET /apps/{app}/builds/{id}` and `GET /apps/{app}/builds/{id}.tgz`
pub(super) async fn get(
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response> {
    let Some(id) = id.strip_suffix(".tgz") else {
        return Ok(reply::json(&rack.build(&app, &id).await?));
    };
    let params = Params::of_query(&uri);
    let format = params.text("format").unwrap_or_default();
    let without = params.text("without").map(split).unwrap_or_default();
    let (_, export) = rack.export_build(&app, id, format, &without).await?;
    Ok(reply::bytes(Body::from_stream(export.stream()), None))
}

/// `DELETE /apps/{app}/builds/{id}`, which only clients of 2017 know
pub(super) async fn delete(
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.delete_build(&app, &id).await?))
}

fn options(params: &Params) -> CreateOptions {
    let text = |name: &str| {
        params
            .text(name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    CreateOptions {
        build_args: params.text("build-args").map(split).unwrap_or_default(),
        description: text("description"),
        development: params.boolean("development").unwrap_or(false),
        manifest: text("manifest").or_else(|| text("config").filter(|name| name != CONFIG)),
        no_cache: params.boolean("no-cache").unwrap_or(false)
            || params.boolean("cache") == Some(false),
        git_sha: text("git-sha"),
    }
}

/// `POST /apps/{app}/builds`: of a stored object, or of a `source` or `image` part or an
/// `index` of files as the client of late 2017 sends it.
pub(super) async fn create(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    rack.app(&app).await?;
    if let Some(parts) = Parts::of(request.headers()) {
        return from_parts(&rack, &app, parts(request.into_body()), false).await;
    }
    let params = Params::of_request(request).await?;
    if params.boolean("external") == Some(true) {
        return Ok(reply::json(
            &rack.create_external_build(&app, &options(&params)).await?,
        ));
    }
    let options = options(&params);
    if params.text("index").is_some_and(|index| !index.is_empty()) {
        let index = index::of_params(&params)?;
        let build = rack.create_build_of_index(&app, index, &options).await?;
        return Ok(reply::json(&build));
    }
    let url = params.required("url")?;
    Ok(reply::json(&rack.create_build(&app, url, &options).await?))
}

/// `PUT /apps/{app}/builds/{id}`: what a client says of a build without a source.
pub(super) async fn update(
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let text = |name: &str| params.text(name).map(str::to_owned);
    let change = BuildChange {
        manifest: text("manifest"),
        entrypoint: text("entrypoint"),
        logs: text("logs"),
        release: text("release"),
        status: text("status"),
        started: params.time("started")?,
        ended: params.time("ended")?,
    };
    Ok(reply::json(&rack.update_build(&app, &id, change).await?))
}

/// `GET /apps/{app}/builds/{id}/ticket`; an addition of this server.
pub(super) async fn ticket(
    Shared(console): Shared<State>,
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&console.ticket(&rack, &app, &id).await?))
}

/// `GET /apps/{app}/layers`; an addition of this server.
pub(super) async fn layers(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.layers(&app).await?))
}

/// `POST /apps/{app}/builds/copy` with a `ticket` of the build; an addition of this server.
pub(super) async fn copy(
    Shared(console): Shared<State>,
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let foreign = params.switch("force")?;
    let ticket = params.required("ticket")?;
    Ok(reply::json(
        &console.copy_build(&rack, &app, ticket, foreign).await?,
    ))
}

/// A file that came as a part, stored: which part it was, and its address.
type Stored = (String, String);

/// Reads all parts: fields and the file, which may come before the fields that say what
/// to do with it. What was stored is known even if the rest cannot be read.
async fn read_parts(
    rack: &Rack,
    app: &str,
    mut parts: Parts,
    stored: &mut Vec<Stored>,
) -> Result<Params> {
    let mut params = Params::default();
    while let Some(field) = parts.next().await? {
        let name = field.name().unwrap_or_default().to_owned();
        if matches!(name.as_str(), "source" | "image") {
            let (body, fate) = file(field);
            let object = fate.judge(rack.store_object(app, "", body).await)?;
            stored.push((name, object.url));
        } else {
            params.insert(name, parts.text(field).await?);
        }
    }
    Ok(params)
}

async fn from_parts(rack: &Rack, app: &str, parts: Parts, foreign: bool) -> Result<Response> {
    let mut stored = Vec::new();
    let params = read_parts(rack, app, parts, &mut stored).await;
    // The last one counts; nobody else knows of the others.
    let source = params.is_ok().then(|| stored.pop()).flatten();
    for (_, url) in stored {
        rack.delete_object(app, key_of(app, &url)?).await?;
    }
    let params = params?;
    match source {
        Some((part, url)) if part == "source" => Ok(reply::json(
            &rack.create_build(app, &url, &options(&params)).await?,
        )),
        Some((_, url)) => Ok(reply::json(&import_object(rack, app, &url, foreign).await?)),
        None => {
            Err(Failure::Invalid("the upload has neither a source nor an image part".into()).into())
        }
    }
}

/// The key of an object of an app in its address.
fn key_of<'a>(app: &str, url: &'a str) -> Result<&'a str> {
    let key = url
        .strip_prefix("object://")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(owner, _)| *owner == app)
        .map(|(_, key)| key);
    Ok(key.ok_or_else(|| Failure::Invalid(format!("{url} is not an object of app {app}")))?)
}

async fn import_object(
    rack: &Rack,
    app: &str,
    url: &str,
    foreign: bool,
) -> Result<rack_api::Build> {
    let key = key_of(app, url)?;
    let file = rack.object(app, key).await?;
    let imported = rack.import_build(app, file, foreign, false).await;
    // Uploaded for this import only.
    rack.delete_object(app, key).await?;
    Ok(imported?)
}

/// `POST /apps/{app}/builds/import`: the archive as the body, as a form's `url` of
/// an uploaded object, or as an `image` part. `force=true` in the query takes the
/// build of another app.
pub(super) async fn import(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    let query = Params::of_query(request.uri());
    let foreign = query.switch("force")?;
    let thin = query.switch("thin")?;
    if let Some(parts) = Parts::of(request.headers()) {
        return from_parts(&rack, &app, parts(request.into_body()), foreign).await;
    }
    let form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
    if form {
        let params = Params::of_request(request).await?;
        let url = params.required("url")?;
        return Ok(reply::json(
            &import_object(&rack, &app, url, foreign).await?,
        ));
    }
    let body = request
        .into_body()
        .into_data_stream()
        .map_err(std::io::Error::other)
        .boxed();
    Ok(reply::json(
        &rack
            .import_build(&app, StreamReader::new(body), foreign, thin)
            .await?,
    ))
}
