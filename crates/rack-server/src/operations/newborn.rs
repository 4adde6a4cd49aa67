//! Apps that an `apps import` may be filling.
//!
//! Official clients begin it with an app whose generation they say (`rack-api.md` §7.18),
//! which `apps create` does only when told to, and go on with the import of a build that
//! names the app it was exported from. That one may have had another name, so the first
//! build of such an app may be of any; otherwise the name is checked, for who imports a
//! build rather means the app it is of.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::context::Context;
use super::error::Result;

/// How long an app counts as made for an import: official clients wait a quarter of a
/// minute for it, and may be asked for a password on the way.
const CHILDHOOD: Duration = Duration::from_secs(300);

/// Apps just made by a client that said their generation.
#[derive(Default)]
pub struct Newborn(Mutex<HashMap<String, Instant>>);

impl Newborn {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an app that was made.
    pub fn add(&self, app: &str) {
        let mut apps = self.lock();
        apps.retain(|_, made| made.elapsed() < CHILDHOOD);
        apps.insert(app.to_owned(), Instant::now());
    }

    /// Forgets an app: it is made anew in another way, or has its build.
    pub fn remove(&self, app: &str) {
        self.lock().remove(app);
    }

    fn has(&self, app: &str) -> bool {
        let apps = self.lock();
        apps.get(app).is_some_and(|made| made.elapsed() < CHILDHOOD)
    }
}

/// Whether the first build of an app may be that of another one, because `apps import`
/// seems to be filling it.
pub async fn is_filling(context: &Context, app: &str) -> Result<bool> {
    Ok(context.newborn.has(app) && context.store.builds(app, 1).await?.is_empty())
}
