//! What stands in the way of an app.

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::diagnose::{AppDiagnosticReport, Options};

impl Client {
    /// Asks for a report on an app.
    pub async fn app_diagnose(
        &self,
        app: &str,
        options: &Options,
    ) -> Result<AppDiagnosticReport, ClientError> {
        let Options {
            checks,
            services,
            age,
            all,
            lines,
            events,
            previous,
        } = options;
        let list = |list: &[String]| (!list.is_empty()).then(|| list.join(","));
        let query = Fields::default()
            .add("age", Some(age))
            .add("all", Some(all))
            .add("checks", list(checks))
            .add("events", Some(events))
            .add("lines", Some(lines))
            .add("previous", Some(previous))
            .add("services", list(services));
        self.get(&path(&["apps", app, "diagnose"])?, query).await
    }
}
