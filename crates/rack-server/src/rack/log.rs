//! Logs.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use rack_api::log::{Options, Place};
use tokio_util::sync::CancellationToken;

use super::Rack;
use super::process::ID_LENGTH;
use crate::engine::Phase;
use crate::logs::{Log, Streams};
use crate::operations::Result;

/// How often a follower of one process looks whether that has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Whole lines of a log.
#[derive(Debug)]
pub struct Chunk {
    /// The lines.
    pub bytes: Bytes,
    /// The place behind them, where a reader can go on later.
    pub place: Option<Place>,
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, place: None }
    }
}

/// Chunks of whole lines.
pub type Lines = BoxStream<'static, std::io::Result<Chunk>>;

impl Rack {
    fn lines(
        &self,
        log: &Log,
        options: &Options,
        streams: Streams,
        end: CancellationToken,
    ) -> Lines {
        log.read_marked(options, self.context.now(), streams, end)
            .map_ok(|(bytes, place)| Chunk {
                bytes,
                place: Some(place),
            })
            .boxed()
    }

    /// Reads an app's log.
    pub async fn app_log(&self, app: &str, options: &Options) -> Result<Lines> {
        self.context.app(app).await?;
        if options.previous {
            return self.ended_log(app, "service/", options).await;
        }
        let log = self.context.logs.app(app);
        Ok(self.lines(&log, options, Streams::All, CancellationToken::new()))
    }

    /// Reads what one process of an app has logged; a follower ends with the process.
    pub async fn process_log(&self, app: &str, id: &str, options: &Options) -> Result<Lines> {
        let id = self.process_stream(app, id).await?;
        let end = CancellationToken::new();
        if options.follow {
            let (rack, app, id, over) = (self.clone(), app.to_owned(), id.clone(), end.clone());
            let watch = async move {
                while rack.may_speak(&app, &id).await {
                    tokio::time::sleep(LOOK).await;
                }
                over.cancel();
            };
            // It ends with the process, with its reader or with the rack.
            let (reader_gone, rack_gone) = (end.clone(), self.context.shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = watch => {}
                    () = reader_gone.cancelled() => {}
                    () = rack_gone.cancelled() => {}
                }
            });
        }
        let log = self.context.logs.app(app);
        let lines = self.lines(&log, options, Streams::Process(id), end.clone());
        let gone = end.drop_guard();
        Ok(lines
            .inspect(move |_| {
                let _held = &gone;
            })
            .boxed())
    }

    /// Whether more may come into the log of a process.
    async fn may_speak(&self, app: &str, id: &str) -> bool {
        match self.context.engine.process(id).await {
            Ok(Some(state)) => {
                !matches!(state.phase, Phase::Exited(_)) || self.context.fleet.may_speak(&state.id)
            }
            // Gone from the engine; what it said last may not be stored yet.
            Ok(None) => self.context.fleet.may_speak(id),
            Err(error) => {
                tracing::debug!(%error, app, id, "cannot tell whether a process runs");
                true
            }
        }
    }

    /// Reads what the processes of one service have logged.
    pub async fn service_log(&self, app: &str, service: &str, options: &Options) -> Result<Lines> {
        self.context.app(app).await?;
        // A name that is none would be silent for ever.
        self.known_service(app, service).await?;
        let prefix = format!("service/{service}/");
        if options.previous {
            return self.ended_log(app, &prefix, options).await;
        }
        let log = self.context.logs.app(app);
        let streams = Streams::Prefix(prefix);
        Ok(self.lines(&log, options, streams, CancellationToken::new()))
    }

    /// Reads what processes that have ended have left: all of it, unless the options say
    /// how much, and nothing new.
    async fn ended_log(&self, app: &str, prefix: &str, options: &Options) -> Result<Lines> {
        let states = self
            .context
            .engine
            .processes(&self.context.app_labels(app))
            .await?;
        let running = states.iter().filter(|state| state.phase == Phase::Running);
        let streams = Streams::Ended {
            prefix: prefix.to_owned(),
            alive: running
                .map(|state| state.id[..state.id.len().min(ID_LENGTH)].to_owned())
                .collect(),
        };
        let options = Options {
            follow: false,
            tail: options
                .tail
                .or(options.since.is_none().then_some(usize::MAX)),
            ..options.clone()
        };
        let log = self.context.logs.app(app);
        Ok(self.lines(&log, &options, streams, CancellationToken::new()))
    }

    /// Reads the rack's own log.
    pub fn system_log(&self, options: &Options) -> Lines {
        let log = self.context.logs.rack();
        self.lines(&log, options, Streams::All, CancellationToken::new())
    }
}
