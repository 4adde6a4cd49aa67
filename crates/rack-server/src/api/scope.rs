//! Who asks, and of which rack: `Rack` header → host name → password → the only
//! rack there is.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::State;
use super::error::ApiError;
use super::route::Needs;
use crate::operations::{Failure, Result};
use crate::rack::Rack;
use crate::rack::access::{Access, Reach, Role};

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

/// Whether a role is enough for the route that was matched. A route that does not say
/// what it needs is nobody's.
fn permit(role: Role, extensions: &Extensions) -> Result<()> {
    let Some(needs) = extensions.get::<Needs>() else {
        return Err(Failure::internal("a route does not say what it needs"));
    };
    if needs.role.is_none_or(|needed| role >= needed) {
        return Ok(());
    }
    Err(needs.refusal.map_or(Failure::Unallowed, |refusal| {
        Failure::Forbidden(refusal.into())
    }))
}

/// Finds the rack a request is for, if the caller may use it.
fn resolve(
    console: &State,
    headers: &HeaderMap,
    uri: &axum::http::Uri,
    extensions: &Extensions,
) -> Result<Rack> {
    let access = authenticate(console, headers)?;
    permit(access.role, extensions)?;
    let named = headers
        .get("rack")
        .and_then(|name| name.to_str().ok())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .or_else(|| rack_of_host(console, headers, uri));
    let rack = match (&named, &access.reach) {
        (Some(name), _) | (None, Reach::Rack(name)) => console.rack(name),
        (None, Reach::Server) => Some(console.only_rack().ok_or_else(|| {
            Failure::Invalid(
                "choose a rack: send its name in the Rack header or use its own password".into(),
            )
        })?),
    };
    match (rack, access.reach) {
        (Some(rack), Reach::Server) => Ok(rack),
        (Some(rack), Reach::Rack(name)) if rack.name() == name => Ok(rack),
        // Whoever has one rack's password learns nothing of the others.
        (_, Reach::Rack(_)) => Err(Failure::Unauthorized),
        (None, Reach::Server) => Err(Failure::NotFound(format!(
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
        resolve(console, &parts.headers, &parts.uri, &parts.extensions)
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
        let access = authenticate(console, &parts.headers)?;
        permit(access.role, &parts.extensions)?;
        Ok(Self(access))
    }
}

/// As [`Scope`], for sockets, which are upgraded before anything is checked.
pub(super) fn of_socket(console: &State, request: &Request) -> Result<Rack> {
    resolve(
        console,
        request.headers(),
        request.uri(),
        request.extensions(),
    )
}
