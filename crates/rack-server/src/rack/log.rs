//! Logs.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use rack_api::log::Options;

use super::Rack;
use crate::logs::Streams;
use crate::operations::Result;

/// Chunks of whole lines.
pub type Lines = BoxStream<'static, std::io::Result<Bytes>>;

impl Rack {
    /// Reads an app's log.
    pub async fn app_log(&self, app: &str, options: &Options) -> Result<Lines> {
        self.context.app(app).await?;
        Ok(self
            .context
            .logs
            .app(app)
            .read(options, self.context.now(), Streams::All)
            .boxed())
    }

    /// Reads what one process of an app has logged.
    pub async fn process_log(&self, app: &str, id: &str, options: &Options) -> Result<Lines> {
        let id = self.process_stream(app, id).await?;
        Ok(self
            .context
            .logs
            .app(app)
            .read(options, self.context.now(), Streams::Process(id))
            .boxed())
    }

    /// Reads what the processes of one service have logged.
    pub async fn service_log(&self, app: &str, service: &str, options: &Options) -> Result<Lines> {
        self.context.app(app).await?;
        let streams = Streams::Prefix(format!("service/{service}/"));
        Ok(self
            .context
            .logs
            .app(app)
            .read(options, self.context.now(), streams)
            .boxed())
    }

    /// Reads the rack's own log.
    pub fn system_log(&self, options: &Options) -> Lines {
        self.context
            .logs
            .rack()
            .read(options, self.context.now(), Streams::All)
            .boxed()
    }
}
