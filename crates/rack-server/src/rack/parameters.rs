//! Parameters of an app or, under its own name, of the rack, as before July 2018.

use std::collections::BTreeMap;

use super::Rack;
use crate::operations::Result;

impl Rack {
    /// The parameters of an app, or of the rack.
    pub async fn parameters(&self, app: &str) -> Result<BTreeMap<String, String>> {
        if app != self.name() {
            return Ok(self.app(app).await?.parameters.unwrap_or_default());
        }
        let mut parameters = self.system().parameters;
        // `ps --stats` of late 2017 insists on it. Builds may take all there is.
        let memory = self.context.engine.info().await?.memory >> 20;
        parameters
            .entry("BuildMemory".into())
            .or_insert_with(|| memory.to_string());
        Ok(parameters)
    }

    /// Merges parameters into those of an app, or of the rack.
    pub async fn set_parameters(
        &self,
        app: &str,
        parameters: BTreeMap<String, String>,
    ) -> Result<()> {
        self.update_app(app, None, Some(parameters)).await
    }
}
