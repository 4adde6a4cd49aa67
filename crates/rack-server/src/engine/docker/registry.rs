//! Checking a login with its registry. The engine asks, so that what it accepts
//! here it can use later, with its own rules for plain HTTP and proxies.

use http::{Method, StatusCode};

use super::{Docker, error};
use crate::engine::{Credentials, EngineError, Result, registry};

/// What the engine calls Docker Hub in a login.
const HUB_ADDRESS: &str = "https://index.docker.io/v1/";

impl Docker {
    pub(super) async fn registry_login(
        &self,
        server: &str,
        credentials: &Credentials,
    ) -> Result<bool> {
        let address = if server == registry::HUB {
            HUB_ADDRESS
        } else {
            server
        };
        let login = serde_json::json!({
            "username": credentials.username,
            "password": credentials.password,
            "serveraddress": address,
        });
        let body = login.to_string().into_bytes();
        let about = ("registry", server);
        let response = self
            .request(about, Method::POST, "/auth", false, body)
            .await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            status => match error::refusal(response).await? {
                // Some engines say 500 and leave the registry's answer in the text.
                text if says_unauthorized(&text) => Ok(false),
                text => Err(
                    match error::refused(about.0, about.1, status.as_u16(), &text) {
                        EngineError::Failed(reason) => EngineError::Failed(format!(
                            "the login could not be checked with {server}: {reason}"
                        )),
                        other => other,
                    },
                ),
            },
        }
    }
}

fn says_unauthorized(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["unauthorized", "incorrect username or password"]
        .iter()
        .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::says_unauthorized;

    #[test]
    fn refused_logins_are_told_from_registries_that_are_not_there() {
        assert!(says_unauthorized(
            "Get \"https://box/v2/\": unauthorized: authentication required"
        ));
        assert!(says_unauthorized(
            "login attempt to http://box/v2/ failed with status: 401 Unauthorized"
        ));
        assert!(!says_unauthorized(
            "Get \"https://127.0.0.1:401/v2/\": dial tcp: connection refused"
        ));
    }
}
