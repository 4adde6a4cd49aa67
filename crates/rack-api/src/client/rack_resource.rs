//! Resources of the rack.

use std::collections::BTreeMap;

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::params;
use crate::resource::{Resource, ResourceType};

impl Client {
    /// Lists the resources of the rack.
    pub async fn rack_resource_list(&self) -> Result<Vec<Resource>, ClientError> {
        self.list("/resources", Fields::default()).await
    }

    /// Lists the types of resources the rack can make.
    pub async fn rack_resource_types(&self) -> Result<Vec<ResourceType>, ClientError> {
        let request = self.rack_request(Method::OPTIONS, "/resources")?;
        Ok(self
            .send_for::<Option<Vec<_>>>(request)
            .await?
            .unwrap_or_default())
    }

    /// Makes a resource, under a name of the rack's choice when there is none.
    pub async fn rack_resource_create(
        &self,
        kind: &str,
        name: Option<&str>,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Resource, ClientError> {
        let fields = Fields::default()
            .add("kind", Some(kind))
            .add("name", name)
            .add("parameters", Some(params::encode_map(parameters)));
        self.form(Method::POST, "/resources", fields).await
    }

    /// Reads a resource.
    pub async fn rack_resource_get(&self, name: &str) -> Result<Resource, ClientError> {
        self.get(&path(&["resources", name])?, Fields::default())
            .await
    }

    /// Changes options of a resource.
    pub async fn rack_resource_update(
        &self,
        name: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Resource, ClientError> {
        let fields = Fields::default().add("parameters", Some(params::encode_map(parameters)));
        self.form(Method::PUT, &path(&["resources", name])?, fields)
            .await
    }

    /// Removes a resource with its data.
    pub async fn rack_resource_delete(&self, name: &str) -> Result<(), ClientError> {
        let path = path(&["resources", name])?;
        self.act(Method::DELETE, &path, Fields::default()).await
    }

    /// Gives an app the address of a resource.
    pub async fn rack_resource_link(&self, name: &str, app: &str) -> Result<Resource, ClientError> {
        let fields = Fields::default().add("app", Some(app));
        self.form(Method::POST, &path(&["resources", name, "links"])?, fields)
            .await
    }

    /// Takes the address of a resource from an app.
    pub async fn rack_resource_unlink(
        &self,
        name: &str,
        app: &str,
    ) -> Result<Resource, ClientError> {
        let path = path(&["resources", name, "links", app])?;
        self.form(Method::DELETE, &path, Fields::default()).await
    }
}
