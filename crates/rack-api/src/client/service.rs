//! Services.

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError, LogStream};
use crate::{Service, log, service};

impl Client {
    /// Lists the services of an app's active release.
    pub async fn service_list(&self, app: &str) -> Result<Vec<Service>, ClientError> {
        self.list(&path(&["apps", app, "services"])?, Fields::default())
            .await
    }

    /// Changes how many processes a service has and how large they are.
    pub async fn service_update(
        &self,
        app: &str,
        service: &str,
        options: &service::UpdateOptions,
    ) -> Result<(), ClientError> {
        let service::UpdateOptions {
            count,
            cpu,
            memory,
            gpu,
            gpu_vendor,
            min,
            max,
        } = options;
        let fields = Fields::default()
            .add("count", *count)
            .add("cpu", *cpu)
            .add("memory", *memory)
            .add("gpu", *gpu)
            .add("gpu-vendor", gpu_vendor.as_deref())
            .add("min", *min)
            .add("max", *max);
        self.act(
            Method::PUT,
            &path(&["apps", app, "services", service])?,
            fields,
        )
        .await
    }

    /// Replaces a service's processes one after the other.
    pub async fn service_restart(&self, app: &str, service: &str) -> Result<(), ClientError> {
        let path = path(&["apps", app, "services", service, "restart"])?;
        self.act(Method::POST, &path, Fields::default()).await
    }

    /// Streams the log of one service.
    pub async fn service_logs(
        &self,
        app: &str,
        service: &str,
        options: &log::Options,
    ) -> Result<LogStream, ClientError> {
        self.logs(
            &path(&["apps", app, "services", service, "logs"])?,
            Some(options),
        )
        .await
    }
}
