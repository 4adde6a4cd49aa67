//! The logins a rack has, as builds and pulls use them: read for each request and
//! given to the engine with it. No file of the user's own Docker client is read.

use std::collections::BTreeMap;

use manifest::{PullPassword, Service};

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

/// The logins that a service's manifest names, by registry; passwords may be variables.
pub fn own_logins(
    service: &Service,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Credentials>> {
    let mut logins = BTreeMap::new();
    for secret in &service.pull_secrets {
        let password = match &secret.password {
            PullPassword::Written(password) => password.clone(),
            PullPassword::Variable(name) => variables.get(name).cloned().ok_or_else(|| {
                Failure::Failed(format!(
                    "service {}: imagePullSecrets want the variable {name}, which is not set",
                    service.name
                ))
            })?,
        };
        let host = registry::host(&secret.registry).ok_or_else(|| {
            Failure::Failed(format!(
                "service {}: imagePullSecrets name a registry that is none: {}",
                service.name, secret.registry
            ))
        })?;
        let username = secret.username.clone();
        logins.insert(host, Credentials { username, password });
    }
    Ok(logins)
}

/// Fetches an image unless it is here, with the login of its registry if there is one: `own`
/// ones come first.
pub async fn pull(
    context: &Context,
    reference: &str,
    own: &BTreeMap<String, Credentials>,
) -> Result<Image> {
    let logins = logins(context).await?;
    let host = registry::of_image(reference);
    let login = own.get(&host).or_else(|| logins.get(&host));
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
