//! Images from elsewhere.

use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::error::Result;
use super::params::Params;
use super::scope::Scope;
use crate::engine::Credentials;

/// `POST /apps/{app}/builds/{id}/image`: 202 and no body, the rest is asynchronous.
pub(super) async fn import(
    Scope(rack): Scope,
    Path((app, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let text = |name| params.text(name).filter(|text| !text.is_empty());
    let credentials =
        text("src-creds-user")
            .zip(text("src-creds-pass"))
            .map(|(username, password)| Credentials {
                username: username.to_owned(),
                password: password.to_owned(),
            });
    let image = params.text("image").unwrap_or_default();
    rack.import_image(&app, &id, image, credentials).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
