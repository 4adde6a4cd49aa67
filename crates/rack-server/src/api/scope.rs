//! Who asks, and of which rack: `Rack` header → host name → password → the only
//! rack there is. The guard asks before every handler; extractors hand out what it found.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio_util::sync::CancellationToken;

use super::State;
use super::error::ApiError;
use super::guard::Guard;
use super::route::Whose;
use crate::operations::{Failure, Result};
use crate::rack::Rack;
use crate::rack::access::{Access, Reach, Role};
use crate::rack::token::TokenError;

/// The rack a request is for; the caller may use it.
pub(super) struct Scope(pub(super) Rack);

/// A caller who may use something, not necessarily every rack.
pub(super) struct Caller(pub(super) Access);

/// What the guard has found: the caller, and the rack if the route is a rack's.
#[derive(Clone)]
pub(super) struct Granted {
    access: Option<Access>,
    rack: Option<Rack>,
}

/// Why a socket is refused, for its stream.
#[derive(Clone)]
pub(super) struct Refused(Arc<Mutex<Option<Failure>>>);

impl Refused {
    /// Keeps a failure until the socket is there.
    pub(super) fn new(failure: Failure) -> Self {
        Self(Arc::new(Mutex::new(Some(failure))))
    }

    fn take(&self) -> Failure {
        let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().unwrap_or(Failure::Unauthorized)
    }
}

/// A refusal, and whether the caller may have been guessing.
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) was_guess: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            was_guess: false,
        }
    }
}

fn guess(failure: Failure) -> Refusal {
    Refusal {
        failure,
        was_guess: true,
    }
}

/// User name that says that the password is a token (`rack-api.md` §1.3).
const TOKEN_USER: &[u8] = b"jwt";

/// User name and password of Basic authentication.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

/// Checks the password as received and percent-decoded: Go clients send it encoded
/// (`rack-api.md` §1.3). Its user name means nothing, unless it announces a token.
async fn authenticate(
    console: &State,
    headers: &HeaderMap,
) -> std::result::Result<Access, Refusal> {
    let (user, password) = credentials(headers).ok_or(Failure::Unauthorized)?;
    let decoded: Vec<u8> = percent_encoding::percent_decode(&password).collect();
    if user == TOKEN_USER {
        // No character of a token is ever encoded, so decoding leaves a plain one alone.
        return match console.authenticate_token(&decoded).await? {
            Ok(access) => Ok(access),
            Err(error) => Err(Refusal {
                // Only who once had a good one has one that is merely old.
                was_guess: error != TokenError::Expired,
                failure: Failure::Token(error.to_string()),
            }),
        };
    }
    console
        .authenticate(&password)
        .or_else(|| console.authenticate(&decoded))
        .ok_or_else(|| guess(Failure::Unauthorized))
}

/// The rack named by the host `rack.<name>.localhost`, or by `<name>.localhost`, which
/// racks show as their domain.
fn rack_of_host(console: &State, headers: &HeaderMap, uri: &Uri) -> Option<String> {
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

/// Whether the caller's role is enough for a route.
fn permit(role: Role, guard: &Guard) -> Result<()> {
    if guard.needs.is_none_or(|needed| role >= needed) {
        return Ok(());
    }
    Err(guard.refusal.map_or(Failure::Unallowed, |refusal| {
        Failure::Forbidden(refusal.into())
    }))
}

/// Decides whether a request may go through, and finds the rack it is for.
pub(super) async fn grant(
    guard: &Guard,
    headers: &HeaderMap,
    uri: &Uri,
) -> std::result::Result<Granted, Refusal> {
    if guard.whose == Whose::Anyone {
        return Ok(Granted {
            access: None,
            rack: None,
        });
    }
    let access = authenticate(&guard.console, headers).await?;
    permit(access.role, guard)?;
    let rack = match (guard.whose, &access.reach) {
        (Whose::Rack, reach) => Some(find(&guard.console, headers, uri, reach)?),
        (Whose::Server, Reach::Rack(_)) => {
            return Err(Failure::Forbidden(
                "the server password is needed to make and remove racks".into(),
            )
            .into());
        }
        (Whose::Anyone | Whose::Caller | Whose::Server, _) => None,
    };
    Ok(Granted {
        access: Some(access),
        rack,
    })
}

/// Finds the rack a request is for, if the caller may use it.
fn find(console: &State, headers: &HeaderMap, uri: &Uri, reach: &Reach) -> Result<Rack> {
    let named = headers
        .get("rack")
        .and_then(|name| name.to_str().ok())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .or_else(|| rack_of_host(console, headers, uri));
    let rack = match (&named, reach) {
        (Some(name), _) | (None, Reach::Rack(name)) => console.rack(name),
        (None, Reach::Server) => Some(console.only_rack().ok_or_else(|| {
            Failure::Invalid(
                "choose a rack: send its name in the Rack header or use its own password".into(),
            )
        })?),
    };
    match (rack, reach) {
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

/// What ends a caller's access before its time, if anything does.
pub(super) fn until(request: &Request) -> Option<CancellationToken> {
    let granted = request.extensions().get::<Granted>()?;
    granted.access.as_ref()?.until.clone()
}

fn missing() -> ApiError {
    Failure::internal("a handler wants more than its route's guard looks for").into()
}

impl FromRequestParts<State> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &State,
    ) -> std::result::Result<Self, ApiError> {
        let granted = parts.extensions.get::<Granted>();
        granted
            .and_then(|granted| granted.rack.clone())
            .map(Self)
            .ok_or_else(missing)
    }
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &State,
    ) -> std::result::Result<Self, ApiError> {
        let granted = parts.extensions.get::<Granted>();
        granted
            .and_then(|granted| granted.access.clone())
            .map(Self)
            .ok_or_else(missing)
    }
}

/// As [`Scope`], for sockets, which are upgraded before anybody is refused.
pub(super) fn of_socket(_: &State, request: &Request) -> Result<Rack> {
    let extensions = request.extensions();
    if let Some(refused) = extensions.get::<Refused>() {
        return Err(refused.take());
    }
    let granted = extensions.get::<Granted>();
    granted
        .and_then(|granted| granted.rack.clone())
        .ok_or_else(|| Failure::internal("a socket has no guard that looks for its rack"))
}
