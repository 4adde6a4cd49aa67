//! Taking a build archive in: all or nothing.
//!
//! When this begins, the archive was received and verified to its last byte
//! ([`super::reception`]) and nothing is recorded. `load` gives its images to the
//! engine, unless they are there already, and checks what the engine made of them;
//! `record` writes build, images and release in one transaction.

use std::sync::Arc;
use std::time::Duration;

use artifact::ServiceImage;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::arrival::{Arrival, Way};
use super::context::Context;
use super::error::{Failure, Result};
use super::reception::{Images, Received};
use super::{Operation, event};
use crate::store::BuildRow;

/// An import. After a restart nothing is left of the archive: it is undone.
#[derive(Serialize, Deserialize)]
pub struct Import {
    arrival: Arrival,
    #[serde(skip)]
    images: Images,
}

/// Imports a received archive into an app. `foreign` allows a build of another app.
pub async fn import(
    context: &Arc<Context>,
    app: &str,
    received: Received,
    foreign: bool,
) -> Result<BuildRow> {
    let Received {
        build,
        services,
        provenance,
        images,
        ..
    } = received;
    let way = Way::Import;
    let arrival = Arrival::new(context, way, app, foreign, build, services, provenance).await;
    let arrival = match arrival {
        Ok(arrival) => arrival,
        Err(failure) => {
            images.abandon().await;
            return Err(failure);
        }
    };
    let operation = Import { arrival, images };
    let done = super::execute(context, rack_api::id::hex(16), operation).await?;
    done.arrival.row(context).await
}

#[async_trait]
impl Operation for Import {
    const KIND: &'static str = "import";
    const STEPS: &'static [&'static str] = &["load", "record"];
    const RESUMES: bool = false;
    const KEEPS_UNDOING: bool = true;

    fn lingers(context: &Context, step: &'static str) -> Duration {
        match step {
            "load" => context.engine.load_lingers(),
            _ => Duration::ZERO,
        }
    }

    fn app(&self) -> &str {
        &self.arrival.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "load" => self.load(context).await,
            _ => self.arrival.record(context).await,
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, _step: &'static str) -> Result<()> {
        // Not loaded yet, as it failed before: an engine that still waits must not
        // take anything after this.
        std::mem::take(&mut self.images).abandon().await;
        self.arrival.undo(context).await
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        event::tell_build(context, &self.arrival.app, &self.arrival.id, failure).await
    }
}

impl Import {
    async fn load(&mut self, context: &Arc<Context>) -> Result<()> {
        let images = std::mem::take(&mut self.images);
        let known = |service: &str, image: &ServiceImage| images.known(service, image);
        let absent = self.arrival.tag_present(context, known).await;
        match absent {
            Ok(absent) if !absent.is_empty() => {
                let tags = self.arrival.references(context);
                images.load(context, &self.arrival.app, tags).await?;
            }
            present => {
                images.abandon().await;
                present?;
            }
        }
        self.arrival.confirm(context).await
    }
}
