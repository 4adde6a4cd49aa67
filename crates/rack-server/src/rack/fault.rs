//! Faults: what a rack on the simulated engine gets wrong on purpose, for rehearsals.
//! They are remembered, so that a server that is started again goes on with them.

use rack_api::fault::Fault;

use super::Rack;
use crate::engine::simulated::{Faults, UnknownFault};
use crate::operations::{Failure, Result};

/// Where the names are kept.
const SETTING: &str = "faults";

fn unknown(error: &UnknownFault) -> Failure {
    Failure::Invalid(error.to_string())
}

impl Rack {
    fn rehearsed(&self) -> Result<&Faults> {
        self.context.engine.faults().ok_or_else(|| {
            Failure::Invalid(format!(
                "rack {} runs on {}: faults are for racks on the simulated engine, which \
                 `convox rack install local NAME --engine simulated` makes",
                self.context.rack,
                self.context.engine.kind()
            ))
        })
    }

    /// Lists the faults that are on.
    pub fn faults(&self) -> Result<Vec<Fault>> {
        let on = self.rehearsed()?.on();
        Ok(on
            .iter()
            .map(|fault| Fault {
                name: fault.to_string(),
                effect: fault.kind.effect(),
            })
            .collect())
    }

    /// Switches faults on, whose names are separated by commas or blanks; all or none.
    /// Returns those that are on now.
    pub async fn set_faults(&self, names: &str) -> Result<Vec<Fault>> {
        let faults = self.rehearsed()?;
        let _alone = self.lock_faults().await;
        if names.trim_matches([',', ' ']).is_empty() {
            return Err(Failure::Invalid("names is required".into()));
        }
        let wanted = format!("{} {names}", faults.list().join(" "));
        self.rehearse(&wanted).await?;
        self.faults()
    }

    /// Switches a fault off.
    pub async fn clear_fault(&self, name: &str) -> Result<()> {
        let faults = self.rehearsed()?;
        let _alone = self.lock_faults().await;
        let gone = Faults::default();
        gone.set(name).map_err(|error| unknown(&error))?;
        let gone = gone.list();
        let before = faults.list();
        let left: Vec<_> = before.iter().filter(|name| !gone.contains(name)).collect();
        if left.len() == before.len() {
            return Err(Failure::NotFound(format!("fault is not on: {name}")));
        }
        let left: Vec<&str> = left.into_iter().map(String::as_str).collect();
        self.rehearse(&left.join(" ")).await
    }

    /// Switches every fault off.
    pub async fn clear_faults(&self) -> Result<()> {
        self.rehearsed()?;
        let _alone = self.lock_faults().await;
        self.rehearse("").await
    }

    /// Switches on again what a former server had on.
    pub(super) async fn resume_faults(&self) -> Result<()> {
        let Some(faults) = self.context.engine.faults() else {
            return Ok(());
        };
        let names = self.context.store.setting(SETTING).await?;
        faults
            .replace(&names.unwrap_or_default())
            .map_err(|error| unknown(&error))
    }

    /// Has exactly these faults on, after they are remembered.
    async fn rehearse(&self, names: &str) -> Result<()> {
        let wanted = Faults::default();
        wanted.replace(names).map_err(|error| unknown(&error))?;
        let names = wanted.list().join(" ");
        let store = &self.context.store;
        store.set_setting(SETTING, names.clone()).await?;
        self.context.rack_log(&match names.as_str() {
            "" => "no faults are on".to_owned(),
            names => format!("faults that are on: {names}"),
        });
        self.rehearsed()?
            .replace(&names)
            .map_err(|error| unknown(&error))
    }

    async fn lock_faults(&self) -> tokio::sync::OwnedMutexGuard<()> {
        // No app has a slash in its name.
        self.context.lock_app("/faults").await
    }
}
