//! Configs: small named values of an app, kept by the rack for clients (version 3).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rack_api::config::AppConfig;

use super::Rack;
use super::release::updating;
use crate::operations::{Failure, Result};

/// Most bytes of a value: as much as clusters keep.
const LARGEST: usize = 1 << 20;

/// Values are texts to the API; bytes that are none are shown as such.
fn show(name: String, value: &[u8]) -> AppConfig {
    AppConfig {
        name,
        value: String::from_utf8_lossy(value).into_owned(),
    }
}

/// The names clusters allow.
fn check_name(name: &str) -> Result<()> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = |c: char| ends(c) || c == '-' || c == '.';
    if name.starts_with(ends)
        && name.ends_with(ends)
        && name.chars().all(inside)
        && name.len() <= 200
    {
        return Ok(());
    }
    Err(Failure::Invalid(
        "a config name has lower-case letters, digits, dashes and dots only, 200 at most".into(),
    ))
}

impl Rack {
    /// Lists configs by name.
    pub async fn configs(&self, app: &str) -> Result<Vec<AppConfig>> {
        self.context.app(app).await?;
        let rows = self.context.store.configs(app).await?;
        Ok(rows
            .into_iter()
            .map(|(name, value)| show(name, &value))
            .collect())
    }

    /// Looks a config up.
    pub async fn config(&self, app: &str, name: &str) -> Result<AppConfig> {
        self.context.app(app).await?;
        match self.context.store.config(app, name).await? {
            Some(value) => Ok(show(name.to_owned(), &value)),
            // Clients know these words (`rack-api.md` §1.7).
            None => Err(Failure::NotFound(format!("app config not found: {name}"))),
        }
    }

    /// Sets a config to a value in base64.
    pub async fn set_config(&self, app: &str, name: &str, encoded: &str) -> Result<()> {
        self.context.app(app).await?;
        check_name(name)?;
        let value = BASE64_STANDARD
            .decode(encoded)
            .map_err(|error| Failure::Invalid(format!("failed to parse base 64 value: {error}")))?;
        if value.len() > LARGEST {
            return Err(Failure::Invalid("a config holds at most 1 MiB".into()));
        }
        if !self.context.store.set_config(app, name, value).await? {
            return Err(Failure::Forbidden(updating(
                &self.context.app(app).await?.status,
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_those_of_clusters() {
        for name in ["cli-env-mask", "a", "a.b-c1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a/b", "a b", "..", &"a".repeat(201)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
