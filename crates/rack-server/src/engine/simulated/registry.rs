//! The registries of the simulated engine.
//!
//! Registries nobody has declared give every image and take every login, as a
//! rehearsal needs it; only names that end in `.invalid`, which stand for hosts that
//! there are not (RFC 6761), are never found. A private one is declared by the file [`FILE`] in the
//! engine's directory, an object of logins by host:
//!
//! ```json
//! { "registry.example.com": { "username": "deploy", "password": "…" } }
//! ```
//!
//! It takes that login only, and gives images to nobody else. The file is read
//! whenever it is needed, so it can change while the server runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::super::{Credentials, EngineError, Result, registry};

/// Declares private registries, in the engine's directory.
const FILE: &str = "registries.json";

/// Which registries want a login, and which.
#[derive(Debug, Default)]
pub(super) struct Registries {
    file: Option<PathBuf>,
    set: Mutex<BTreeMap<String, Credentials>>,
}

#[derive(Deserialize)]
struct Declared {
    username: String,
    password: String,
}

/// Looks a registry up.
fn find(host: &str) -> std::result::Result<(), String> {
    let name = host.split(':').next().unwrap_or(host);
    if name.ends_with(".invalid") {
        return Err(format!("lookup {name}: no such host"));
    }
    Ok(())
}

impl Registries {
    /// Those declared in a directory.
    pub(super) fn beside(directory: &Path) -> Self {
        Self {
            file: Some(directory.join(FILE)),
            set: Mutex::default(),
        }
    }

    /// Declares one for the life of the engine.
    pub(super) fn set(&self, host: &str, login: Credentials) {
        let host = registry::host(host).unwrap_or_else(|| host.to_owned());
        self.set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(host, login);
    }

    /// Whether a registry takes a login.
    pub(super) fn takes(&self, host: &str, login: &Credentials) -> Result<bool> {
        find(host).map_err(|reason| {
            EngineError::Failed(format!(
                "the login could not be checked with {host}: {reason}"
            ))
        })?;
        Ok(self.login(host)?.is_none_or(|wanted| wanted == *login))
    }

    /// The login a registry wants, if it wants one.
    fn login(&self, host: &str) -> Result<Option<Credentials>> {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = set.get(host) {
            return Ok(Some(login.clone()));
        }
        drop(set);
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(EngineError::Failed(format!(
                    "cannot read {}: {error}",
                    file.display()
                )));
            }
        };
        // The parser's message could quote a password.
        let declared: BTreeMap<String, Declared> =
            serde_json::from_slice(&text).map_err(|error| {
                EngineError::Failed(format!(
                    "{} is no object of logins by host: see line {}",
                    file.display(),
                    error.line()
                ))
            })?;
        Ok(declared
            .into_iter()
            .find(|(name, _)| registry::host(name).as_deref() == Some(host))
            .map(|(_, login)| Credentials {
                username: login.username,
                password: login.password,
            }))
    }

    /// Whether an image is given to whoever has this login.
    pub(super) fn gives(&self, reference: &str, login: Option<&Credentials>) -> Result<bool> {
        let host = registry::of_image(reference);
        find(&host)
            .map_err(|reason| EngineError::Failed(format!("cannot pull {reference}: {reason}")))?;
        let wanted = self.login(&host)?;
        Ok(wanted.is_none_or(|wanted| login == Some(&wanted)))
    }
}
