//! Calls that only racks of 2018 and before take (`rack-api.md` §5): a source as a form's
//! file, formations, environments as a body, options as fields of their own. Which rack is one of those is told by its
//! version; who calls decides.

use std::collections::BTreeMap;

use ::http::Method;
use bytes::Bytes;
use futures::StreamExt as _;

use super::http::{Fields, path, with_headers};
use super::{Client, ClientError, ExecSocket, Upload};
use crate::formation::FormationEntry;
use crate::instance::ShellOptions;
use crate::process::{RunDetached, RunOptions};
use crate::service::{ServicePort, UpdateOptions};
use crate::{Build, Certificate, Resource, Service, build, id};

/// Where the rack tells the release that a new environment has become.
const RELEASE: &str = "release-id";

impl Client {
    /// Makes a build of a source that travels in the call itself.
    pub async fn legacy_build_create(
        &self,
        app: &str,
        source: Upload,
        options: &build::CreateOptions,
    ) -> Result<Build, ClientError> {
        let fields = [
            ("cache", Some((!options.no_cache).to_string())),
            ("config", options.manifest.clone()),
            ("description", options.description.clone()),
        ];
        let upload = Multipart::new().fields(fields).file("source", source);
        let path = path(&["apps", app, "builds"])?;
        self.upload_as(&path, upload.body, &upload.kind).await
    }

    /// Imports a build whose archive travels as a form's file.
    pub async fn legacy_build_import(
        &self,
        app: &str,
        archive: Upload,
    ) -> Result<Build, ClientError> {
        let upload = Multipart::new().file("image", archive);
        let path = path(&["apps", app, "builds", "import"])?;
        self.upload_as(&path, upload.body, &upload.kind).await
    }

    /// Imports a build whose archive is an object of the rack.
    pub async fn legacy_build_import_url(
        &self,
        app: &str,
        url: &str,
    ) -> Result<Build, ClientError> {
        let fields = Fields::default().add("url", Some(url));
        let path = path(&["apps", app, "builds", "import"])?;
        self.form(Method::POST, &path, fields).await
    }

    /// Lists services as the formation of an app.
    pub async fn legacy_service_list(&self, app: &str) -> Result<Vec<Service>, ClientError> {
        let path = path(&["apps", app, "formation"])?;
        let entries: Vec<FormationEntry> = self.list(&path, Fields::default()).await?;
        Ok(entries.into_iter().map(service).collect())
    }

    /// Changes the size of a service.
    pub async fn legacy_service_update(
        &self,
        app: &str,
        service: &str,
        options: &UpdateOptions,
    ) -> Result<(), ClientError> {
        let fields = Fields::default()
            .add("count", options.count)
            .add("cpu", options.cpu)
            .add("memory", options.memory);
        let path = path(&["apps", app, "formation", service])?;
        self.act(Method::POST, &path, fields).await
    }

    /// Replaces the environment of an app; gives the id of the release it has become.
    pub async fn legacy_environment_set(
        &self,
        app: &str,
        environment: &str,
    ) -> Result<String, ClientError> {
        let path = path(&["apps", app, "environment"])?;
        let request = self
            .rack_request(Method::POST, &path)?
            .body(environment.to_owned());
        let response = self.send(request).await?;
        let release = response
            .headers()
            .get(RELEASE)
            .and_then(|release| release.to_str().ok())
            .map(str::to_owned);
        release.ok_or_else(|| ClientError::Protocol {
            host: self.host(),
            reason: "it names no release for the environment".to_owned(),
        })
    }

    /// Reads the parameters of an app or, by its name, of the rack.
    pub async fn legacy_parameters(
        &self,
        app: &str,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        self.get(&path(&["apps", app, "parameters"])?, Fields::default())
            .await
    }

    /// Sets parameters of an app or, by its name, of the rack.
    pub async fn legacy_parameters_set(
        &self,
        app: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        let path = path(&["apps", app, "parameters"])?;
        let fields = Fields::default().add_all(parameters);
        self.act(Method::POST, &path, fields).await
    }

    /// Stores a certificate with its key, all in PEM.
    pub async fn legacy_certificate_create(
        &self,
        certificate: &str,
        key: &str,
        chain: Option<&str>,
    ) -> Result<Certificate, ClientError> {
        let fields = Fields::default()
            .add("chain", chain)
            .add("private", Some(key))
            .add("public", Some(certificate));
        self.form(Method::POST, "/certificates", fields).await
    }

    /// Makes a resource of the rack, whose options are fields of their own.
    pub async fn legacy_rack_resource_create(
        &self,
        kind: &str,
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Resource, ClientError> {
        let fields = Fields::default()
            .add_all(options)
            .add("type", Some(kind))
            .add("name", Some(name));
        self.form(Method::POST, "/resources", fields).await
    }

    /// Changes options of a resource of the rack.
    pub async fn legacy_rack_resource_update(
        &self,
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Resource, ClientError> {
        let fields = Fields::default().add_all(options);
        self.form(Method::PUT, &path(&["resources", name])?, fields)
            .await
    }

    /// Runs a command in a process of its own, which goes with it.
    pub async fn legacy_run_attached(
        &self,
        app: &str,
        service: &str,
        options: &RunOptions,
        seconds: i64,
    ) -> Result<ExecSocket, ClientError> {
        let RunOptions {
            command,
            release,
            height,
            width,
            ..
        } = options;
        let command = command.as_deref().unwrap_or_default();
        let headers = [
            ("Command", Some(command.replace(['\r', '\n'], " "))),
            ("Release", release.clone()),
            ("Timeout", Some(seconds.to_string())),
            ("Height", height.map(|rows| rows.to_string())),
            ("Width", width.map(|columns| columns.to_string())),
        ];
        let path = path(&["apps", app, "processes", service, "run"])?;
        let request = with_headers(self.rack_request(Method::GET, &path)?, headers)?;
        self.exec_socket(request).await
    }

    /// Runs a command in a process of its own and leaves it alone; gives its id.
    pub async fn legacy_run_detached(
        &self,
        app: &str,
        service: &str,
        options: &RunOptions,
    ) -> Result<String, ClientError> {
        let fields = Fields::default()
            .add("command", options.command.as_deref())
            .add("release", options.release.as_deref());
        let path = path(&["apps", app, "processes", service, "run"])?;
        let run: RunDetached = self.form(Method::POST, &path, fields).await?;
        Ok(run.pid)
    }

    /// Opens a shell on a machine; rows and columns are exchanged there.
    pub async fn legacy_instance_shell(
        &self,
        id: &str,
        options: &ShellOptions,
    ) -> Result<ExecSocket, ClientError> {
        let command = options.command.as_deref();
        let headers = [
            (
                "Command",
                command.map(|command| command.replace(['\r', '\n'], " ")),
            ),
            ("Terminal", Some("xterm".to_owned())),
            ("Height", options.width.map(|columns| columns.to_string())),
            ("Width", options.height.map(|rows| rows.to_string())),
        ];
        let path = path(&["instances", id, "ssh"])?;
        let request = with_headers(self.rack_request(Method::GET, &path)?, headers)?;
        self.exec_socket(request).await
    }

    /// Removes a login to a registry.
    pub async fn legacy_registry_remove(&self, server: &str) -> Result<(), ClientError> {
        let query = Fields::default().add("server", Some(server));
        self.finish(self.request_with_query(Method::DELETE, "/registries", query)?)
            .await
    }
}

/// A formation's entry as a service.
fn service(entry: FormationEntry) -> Service {
    Service {
        count: entry.count,
        cpu: entry.cpu,
        domain: entry.balancer,
        memory: entry.memory,
        name: entry.name,
        ports: entry
            .ports
            .into_iter()
            .map(|port| ServicePort {
                balancer: port,
                ..ServicePort::default()
            })
            .collect(),
        ..Service::default()
    }
}

/// A form with a file that is read while it is sent.
struct Multipart {
    boundary: String,
    head: String,
}

/// The form, and its content type.
struct Form {
    body: Upload,
    kind: String,
}

impl Multipart {
    fn new() -> Self {
        Self {
            // Longer than what a file has by chance.
            boundary: id::hex(60),
            head: String::new(),
        }
    }

    fn fields<const N: usize>(mut self, fields: [(&str, Option<String>); N]) -> Self {
        for (name, value) in fields {
            if let Some(value) = value {
                let boundary = &self.boundary;
                self.head.extend(
                    [
                        &format!("--{boundary}\r\nContent-Disposition: form-data; "),
                        &format!("name=\"{name}\"\r\n\r\n{value}\r\n"),
                    ]
                    .map(String::as_str),
                );
            }
        }
        self
    }

    /// The file is last, so that its length need not be known.
    fn file(self, name: &str, content: Upload) -> Form {
        let Self { boundary, head } = self;
        let head = format!(
            "{head}--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}.tgz\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = content
            .length()
            .map(|length| length + head.len() as u64 + tail.len() as u64);
        let once = |text: String| futures::stream::once(async move { Ok(Bytes::from(text)) });
        let stream = once(head).chain(content.into_stream()).chain(once(tail));
        let body = Upload::from_stream(stream);
        Form {
            body: length.into_iter().fold(body, Upload::with_length),
            kind: format!("multipart/form-data; boundary={boundary}"),
        }
    }
}
