//! Balancers of an app.

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::balancer::Balancer;

impl Client {
    /// Lists the balancers of the active release.
    pub async fn balancer_list(&self, app: &str) -> Result<Vec<Balancer>, ClientError> {
        self.list(&path(&["apps", app, "balancers"])?, Fields::default())
            .await
    }
}
