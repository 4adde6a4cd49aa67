//! Machines of a rack.

use ::http::Method;

use super::http::{Fields, path, with_headers};
use super::{Client, ClientError, ExecSocket};
use crate::{Instance, instance};

impl Client {
    /// Lists the rack's machines.
    pub async fn instance_list(&self) -> Result<Vec<Instance>, ClientError> {
        self.list("/instances", Fields::default()).await
    }

    /// Replaces the key of all machines.
    pub async fn instance_keyroll(&self) -> Result<(), ClientError> {
        self.act(Method::POST, "/instances/keyroll", Fields::default())
            .await
    }

    /// Ends a machine.
    pub async fn instance_terminate(&self, id: &str) -> Result<(), ClientError> {
        let path = path(&["instances", id])?;
        self.act(Method::DELETE, &path, Fields::default()).await
    }

    /// Opens a shell on a machine, or runs a command there.
    pub async fn instance_shell(
        &self,
        id: &str,
        options: &instance::ShellOptions,
    ) -> Result<ExecSocket, ClientError> {
        let instance::ShellOptions {
            command,
            tty,
            height,
            width,
        } = options;
        let headers = [
            (
                "Command",
                command
                    .as_deref()
                    .map(|command| command.replace(['\r', '\n'], " ")),
            ),
            ("Tty", (!tty).then(|| "false".to_owned())),
            ("Height", height.map(|rows| rows.to_string())),
            ("Width", width.map(|columns| columns.to_string())),
        ];
        let path = path(&["instances", id, "shell"])?;
        let request = with_headers(self.rack_request(Method::GET, &path)?, headers)?;
        self.exec_socket(request).await
    }
}
