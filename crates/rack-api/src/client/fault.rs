//! Faults of a rack on the simulated engine.

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::fault::Fault;

impl Client {
    /// Lists the faults that are on.
    pub async fn fault_list(&self) -> Result<Vec<Fault>, ClientError> {
        self.list("/system/faults", Fields::default()).await
    }

    /// Switches faults on: all of them, or none when one is unknown.
    pub async fn fault_set(&self, names: &[String]) -> Result<Vec<Fault>, ClientError> {
        let fields = Fields::default().add("names", Some(names.join(",")));
        self.form(Method::POST, "/system/faults", fields).await
    }

    /// Switches a fault off.
    pub async fn fault_clear(&self, name: &str) -> Result<(), ClientError> {
        self.act(
            Method::DELETE,
            &path(&["system", "faults", name])?,
            Fields::default(),
        )
        .await
    }

    /// Switches every fault off.
    pub async fn fault_clear_all(&self) -> Result<(), ClientError> {
        self.act(Method::DELETE, "/system/faults", Fields::default())
            .await
    }
}
