//! The logins a rack has, as builds and pulls use them: read for each request and
//! given to the engine with it. No file of the user's own Docker client is read.

use std::collections::BTreeMap;

use super::context::Context;
use super::error::{Failure, Result};
use crate::engine::{Credentials, EngineError, Image, registry};

/// Logins by registry.
pub async fn logins(context: &Context) -> Result<BTreeMap<String, Credentials>> {
    let rows = context.store.registries().await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let login = Credentials {
                username: row.username,
                password: row.password,
            };
            registry::host(&row.server).map(|host| (host, login))
        })
        .collect())
}

/// Fetches an image unless it is here, with the login of its registry if there is one.
pub async fn pull(context: &Context, reference: &str) -> Result<Image> {
    let logins = logins(context).await?;
    let login = logins.get(&registry::of_image(reference));
    context
        .engine
        .pull(reference, login)
        .await
        .map_err(|error| match error {
            EngineError::Failed(reason) => Failure::Failed(advise(reason)),
            other => other.into(),
        })
}

/// Says what helps when a registry did not give an image.
pub fn advise(reason: String) -> String {
    const REFUSALS: [&str; 4] = [
        "no basic auth credentials",
        "authorization",
        "unauthorized",
        "failed to authorize",
    ];
    let plain = reason.to_ascii_lowercase();
    if REFUSALS.iter().any(|refusal| plain.contains(refusal)) {
        format!("{reason}; if the image is private, add a login with: convox registries add")
    } else {
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::advise;

    #[test]
    fn advice_is_given_where_a_login_could_help() {
        let advised = |reason: &str| advise(reason.to_owned()).ends_with("convox registries add");
        assert!(advised(
            "pulling from host box failed with status code: 401 Unauthorized"
        ));
        assert!(advised(
            "Get https://box/v2/team/base: no basic auth credentials"
        ));
        assert!(!advised(
            "process \"/bin/sh -c make\" did not complete successfully"
        ));
    }
}
