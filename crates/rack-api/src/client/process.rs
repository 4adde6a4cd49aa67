//! Processes.

use std::collections::BTreeMap;

use ::http::Method;

use super::http::{Fields, path, with_form, with_headers};
use super::{Client, ClientError, ExecSocket, LogStream};
use crate::{Process, log, params, process};

impl Client {
    /// Lists an app's processes, or those of one service or release.
    pub async fn process_list(
        &self,
        app: &str,
        service: Option<&str>,
        release: Option<&str>,
    ) -> Result<Vec<Process>, ClientError> {
        let query = Fields::default()
            .add("release", release)
            .add("service", service);
        self.list(&path(&["apps", app, "processes"])?, query).await
    }

    /// Reads a process.
    pub async fn process_get(&self, app: &str, pid: &str) -> Result<Process, ClientError> {
        self.get(&path(&["apps", app, "processes", pid])?, Fields::default())
            .await
    }

    /// Starts a one-off process of a service.
    pub async fn process_run(
        &self,
        app: &str,
        service: &str,
        options: &process::RunOptions,
    ) -> Result<Process, ClientError> {
        let process::RunOptions {
            command,
            environment,
            height,
            width,
            memory,
            release,
            cpu,
            cpu_limit,
            memory_limit,
            image,
            volumes,
            use_service_volume,
            privileged,
            gpu,
            gpu_vendor,
            node_labels,
            system_critical,
        } = options;
        let number = |value: &Option<i64>| value.map(|value| value.to_string());
        let flag = |value: &Option<bool>| value.map(|value| value.to_string());
        let map =
            |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| params::encode_map(map));
        let path = path(&["apps", app, "services", service, "processes"])?;
        let request = with_headers(
            self.rack_request(Method::POST, &path)?,
            [
                ("Command", command.clone()),
                ("Cpu", number(cpu)),
                ("Cpu-Limit", number(cpu_limit)),
                ("Environment", map(environment)),
                ("Gpu", number(gpu)),
                ("Gpu-Vendor", gpu_vendor.clone()),
                ("Height", height.map(|rows| rows.to_string())),
                ("Image", image.clone()),
                ("Memory", number(memory)),
                ("Memory-Limit", number(memory_limit)),
                ("Node-Labels", node_labels.clone()),
                ("Privileged", flag(privileged)),
                ("Release", release.clone()),
                ("System-Critical", flag(system_critical)),
                ("Use-Service-Volume", flag(use_service_volume)),
                ("Volumes", map(volumes)),
                ("Width", width.map(|columns| columns.to_string())),
            ],
        )?;
        self.send_for(with_form(request, Fields::default())).await
    }

    /// Runs a command in a process. Line breaks in the command become blanks, as
    /// headers cannot carry them and real clients do the same.
    pub async fn process_exec(
        &self,
        app: &str,
        pid: &str,
        options: &process::ExecOptions,
    ) -> Result<ExecSocket, ClientError> {
        let process::ExecOptions {
            command,
            entrypoint,
            tty,
            stdin,
            height,
            width,
        } = options;
        let path = path(&["apps", app, "processes", pid, "exec"])?;
        let headers = [
            ("Command", Some(command.replace(['\r', '\n'], " "))),
            ("Entrypoint", entrypoint.then(|| "true".to_owned())),
            // The rack allocates a terminal unless told otherwise.
            ("Tty", (!tty).then(|| "false".to_owned())),
            ("Disable-Stdin", (!stdin).then(|| "true".to_owned())),
            ("Height", height.map(|rows| rows.to_string())),
            ("Width", width.map(|columns| columns.to_string())),
        ];
        let request = with_headers(self.rack_request(Method::GET, &path)?, headers)?;
        self.exec_socket(request).await
    }

    /// Reads what the rack remembers of a one-off process; only our own server answers.
    pub async fn run_get(&self, app: &str, pid: &str) -> Result<process::Run, ClientError> {
        self.get(&path(&["apps", app, "runs", pid])?, Fields::default())
            .await
    }

    /// Stops a process.
    pub async fn process_stop(&self, app: &str, pid: &str) -> Result<(), ClientError> {
        self.act(
            Method::DELETE,
            &path(&["apps", app, "processes", pid])?,
            Fields::default(),
        )
        .await
    }

    /// Streams a process's log.
    pub async fn process_logs(
        &self,
        app: &str,
        pid: &str,
        options: &log::Options,
    ) -> Result<LogStream, ClientError> {
        self.logs(
            &path(&["apps", app, "processes", pid, "logs"])?,
            Some(options),
        )
        .await
    }
}
