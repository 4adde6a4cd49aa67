//! `convox logs`.

use bytes::Bytes;
use clap::Args;
use rack_api::client::LogStream;

use crate::arguments::{AppArgs, LogArgs};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::Ui;

/// How a rack reports an error in a log, whose own lines begin with a time.
const ERROR: &[u8] = b"ERROR: ";

/// The log of an app.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    log: LogArgs,
    /// only lines of this service
    #[arg(short, long, value_name = "service")]
    service: Option<String>,
}

impl Logs {
    /// Copies the log to standard output until it ends.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let options = self.log.options();
        let stream = match self.service.filter(|service| !service.is_empty()) {
            Some(service) => rack.client.service_logs(&name, &service, &options).await?,
            None => rack.client.app_logs(&name, &options).await?,
        };
        copy(stream, &context.ui).await
    }
}

/// Copies a log with prefixes. An error that ends it fails the command: a
/// stream of its own for errors does not exist.
async fn copy(mut stream: LogStream, ui: &Ui) -> Outcome {
    let mut line_start = true;
    let mut error: Option<Bytes> = None;
    while let Some(bytes) = stream.next().await? {
        if let Some(line) = error.take() {
            ui.bytes(&line)?;
        }
        let at_line_start = line_start;
        line_start = bytes.ends_with(b"\n");
        if at_line_start && bytes.starts_with(ERROR) {
            error = Some(bytes);
        } else {
            ui.bytes(&bytes)?;
        }
    }
    match error {
        Some(line) => {
            let message = String::from_utf8_lossy(&line[ERROR.len()..])
                .trim()
                .to_owned();
            Err(Error::failed(message))
        }
        None => Ok(Exit::SUCCESS),
    }
}
