//! Logins to image registries.

use ::http::Method;

use super::http::{Fields, subpath};
use super::{Client, ClientError};
use crate::Registry;

impl Client {
    /// Lists the registries the rack has logins for.
    pub async fn registry_list(&self) -> Result<Vec<Registry>, ClientError> {
        self.list("/registries", Fields::default()).await
    }

    /// Adds a login.
    pub async fn registry_add(
        &self,
        server: &str,
        username: &str,
        password: &str,
    ) -> Result<Registry, ClientError> {
        let fields = Fields::default()
            .add("password", Some(password))
            .add("server", Some(server))
            .add("username", Some(username));
        self.form(Method::POST, "/registries", fields).await
    }

    /// Forgets a login. The name of a registry may hold slashes.
    pub async fn registry_remove(&self, server: &str) -> Result<(), ClientError> {
        let path = subpath("/registries", server)?;
        self.act(Method::DELETE, &path, Fields::default()).await
    }
}
