//! `convox logs`.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use clap::Args;
use rack_api::client::{Client, ClientError, LogStream};
use rack_api::log::{Cursor, Options, Place};
use tokio::time::{Instant, sleep};

use crate::arguments::{AppArgs, LogArgs};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;

/// How a rack reports an error in a log, whose own lines begin with a time.
const ERROR: &[u8] = b"ERROR: ";

/// How long a server that went away may take to come back.
const COMEBACK: Duration = Duration::from_secs(30);
/// Pause between looks for it.
const PAUSE: Duration = Duration::from_millis(200);

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
        let service = self.service.filter(|service| !service.is_empty());
        let log = Log::new(&rack.client, &name, service, self.log.options());
        let ui = &context.ui;
        log.copy(|bytes| ui.bytes(bytes)).await?;
        Ok(Exit::SUCCESS)
    }
}

/// A log that goes on where it was when its stream breaks.
pub(crate) struct Log<'a> {
    client: &'a Client,
    app: String,
    service: Option<String>,
    options: Options,
}

impl<'a> Log<'a> {
    /// The log of an app, or of one of its services.
    pub(crate) fn new(
        client: &'a Client,
        app: &str,
        service: Option<String>,
        mut options: Options,
    ) -> Self {
        // Racks of ours tell where in the log we are, others take no notice.
        options.cursor = options.follow.then_some(Cursor::Wanted);
        Self {
            client,
            app: app.to_owned(),
            service,
            options,
        }
    }

    async fn open(&self) -> Result<LogStream, ClientError> {
        match &self.service {
            Some(service) => {
                let stream = self.client.service_logs(&self.app, service, &self.options);
                stream.await
            }
            None => self.client.app_logs(&self.app, &self.options).await,
        }
    }

    /// Opens the log at a place once more, for as long as a server takes to come back.
    async fn reopen(
        &mut self,
        place: Place,
        broken: ClientError,
    ) -> Result<LogStream, ClientError> {
        self.options.cursor = Some(Cursor::After(place));
        let deadline = Instant::now() + COMEBACK;
        loop {
            match self.open().await {
                Ok(stream) => return Ok(stream),
                // It has been there before: the first failure says more.
                Err(_) if Instant::now() > deadline => return Err(broken),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Copies the log. An error line that ends it is an error: a stream of its own for
    /// errors does not exist.
    pub(crate) async fn copy(
        mut self,
        mut to: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut line_start = true;
        let mut error: Option<Bytes> = None;
        let mut stream = self.open().await?;
        // Bytes of the present stream that a former one has brought already.
        let mut known = 0;
        loop {
            let mut bytes = match stream.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(broken) => match stream.cursor().filter(|_| self.options.follow) {
                    Some((place, since)) => {
                        stream = self.reopen(place, broken).await?;
                        known = since;
                        continue;
                    }
                    None => return Err(broken.into()),
                },
            };
            let passed = bytes
                .len()
                .min(usize::try_from(known).unwrap_or(usize::MAX));
            bytes.advance(passed);
            known -= passed as u64;
            if bytes.is_empty() {
                continue;
            }
            if let Some(line) = error.take() {
                to(&line)?;
            }
            let at_line_start = line_start;
            line_start = bytes.ends_with(b"\n");
            if at_line_start && bytes.starts_with(ERROR) {
                error = Some(bytes);
            } else {
                to(&bytes)?;
            }
        }
        match error {
            Some(line) => {
                let message = String::from_utf8_lossy(&line[ERROR.len()..])
                    .trim()
                    .to_owned();
                Err(Error::failed(message))
            }
            None => Ok(()),
        }
    }
}
