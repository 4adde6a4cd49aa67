//! Who asks, and of which rack: `Rack` header → host name → password → the only
//! rack there is.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::State;
use super::error::ApiError;
use crate::operations::{Failure, Result};
use crate::rack::Rack;
use crate::rack::console::Access;

/// The rack a request is for; the caller may use it.
pub(super) struct Scope(pub(super) Rack);

/// A caller who may use something, not necessarily every rack.
pub(super) struct Caller(pub(super) Access);

/// The password of Basic authentication; the user name means nothing.
fn password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Checks the password as received and percent-decoded: Go clients send it encoded
/// (`rack-api.md` §1.3).
pub(super) fn authenticate(console: &State, headers: &HeaderMap) -> Result<Access> {
    let password = password(headers).ok_or(Failure::Unauthorized)?;
    let decoded: Vec<u8> = percent_encoding::percent_decode(&password).collect();
    console
        .authenticate(&password)
        .or_else(|| console.authenticate(&decoded))
        .ok_or(Failure::Unauthorized)
}

/// The rack named by the host `rack.<name>.localhost`, or by `<name>.localhost`, which
/// racks show as their domain.
fn rack_of_host(console: &State, headers: &HeaderMap, uri: &axum::http::Uri) -> Option<String> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or(uri.host())?;
    let host = host
        .rsplit_once(':')
        .map_or(host, |(host, _)| host)
        .to_ascii_lowercase();
    let name = host.strip_suffix(".localhost")?;
    if let Some(name) = name.strip_prefix("rack.") {
        return (!name.contains('.')).then(|| name.to_owned());
    }
    console.rack(name).map(|rack| rack.name().to_owned())
}

/// Finds the rack a request is for, if the caller may use it.
pub(super) fn resolve(console: &State, headers: &HeaderMap, uri: &axum::http::Uri) -> Result<Rack> {
    let access = authenticate(console, headers)?;
    let named = headers
        .get("rack")
        .and_then(|name| name.to_str().ok())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .or_else(|| rack_of_host(console, headers, uri));
    let rack = match (&named, &access) {
        (Some(name), _) | (None, Access::Rack(name)) => console.rack(name),
        (None, Access::Server) => Some(console.only_rack().ok_or_else(|| {
            Failure::Invalid(
                "choose a rack: send its name in the Rack header or use its own password".into(),
            )
        })?),
    };
    match (rack, access) {
        (Some(rack), Access::Server) => Ok(rack),
        (Some(rack), Access::Rack(name)) if rack.name() == name => Ok(rack),
        // Whoever has one rack's password learns nothing of the others.
        (_, Access::Rack(_)) => Err(Failure::Unauthorized),
        (None, Access::Server) => Err(Failure::NotFound(format!(
            "rack not found: {}",
            named.unwrap_or_default()
        ))),
    }
}

impl FromRequestParts<State> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &State,
    ) -> std::result::Result<Self, ApiError> {
        resolve(console, &parts.headers, &parts.uri)
            .map(Self)
            .map_err(ApiError::from)
    }
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &State,
    ) -> std::result::Result<Self, ApiError> {
        authenticate(console, &parts.headers)
            .map(Self)
            .map_err(ApiError::from)
    }
}

/// As [`Scope`], for sockets, which are upgraded before anything is checked.
pub(super) fn of_socket(console: &State, request: &Request) -> Result<Rack> {
    resolve(console, request.headers(), request.uri())
}
