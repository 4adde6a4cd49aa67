//! Certificates.

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::params;
use crate::{Certificate, certificate};

impl Client {
    /// Lists the rack's certificates, or only those it made itself.
    pub async fn certificate_list(&self, generated: bool) -> Result<Vec<Certificate>, ClientError> {
        let query = Fields::default().add("generated", generated.then_some(true));
        self.list("/certificates", query).await
    }

    /// Stores a certificate with its key, all in PEM.
    pub async fn certificate_create(
        &self,
        certificate: &str,
        key: &str,
        chain: Option<&str>,
    ) -> Result<Certificate, ClientError> {
        let fields = Fields::default()
            .add("chain", chain)
            .add("key", Some(key))
            .add("pub", Some(certificate));
        self.form(Method::POST, "/certificates", fields).await
    }

    /// Has the rack make a certificate for domains.
    pub async fn certificate_generate(
        &self,
        domains: &[String],
        options: &certificate::GenerateOptions,
    ) -> Result<Certificate, ClientError> {
        let certificate::GenerateOptions { issuer, duration } = options;
        let fields = Fields::default()
            .add("domains", Some(domains.join(",")))
            .add("duration", duration.map(params::encode_duration))
            .add("issuer", issuer.as_deref());
        self.form(Method::POST, "/certificates/generate", fields)
            .await
    }

    /// Removes a certificate.
    pub async fn certificate_delete(&self, id: &str) -> Result<(), ClientError> {
        let path = path(&["certificates", id])?;
        self.act(Method::DELETE, &path, Fields::default()).await
    }

    /// Makes a generated certificate anew, or all those of an app.
    pub async fn certificate_renew(&self, app: &str) -> Result<(), ClientError> {
        let path = path(&["certificates", app, "renew"])?;
        self.act(Method::POST, &path, Fields::default()).await
    }

    /// Gives a port of a service of an app of generation 1 a certificate.
    pub async fn certificate_apply(
        &self,
        app: &str,
        service: &str,
        port: u16,
        id: &str,
    ) -> Result<(), ClientError> {
        let path = path(&["apps", app, "ssl", service, &port.to_string()])?;
        let fields = Fields::default().add("id", Some(id));
        self.act(Method::PUT, &path, fields).await
    }
}
