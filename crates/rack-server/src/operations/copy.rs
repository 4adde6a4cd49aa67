//! Taking a build over from another rack on the same engine, or from another app: by
//! reference, whatever its size.
//!
//! The bits are there already, so nothing is sent; they are proven all the same. `tag`
//! gives the images of the source their names here, if the engine still has what the
//! source's record says, and checks what these names lead to; `record` writes build,
//! images and release in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use artifact::ServiceImage;
use async_trait::async_trait;
use rack_api::build::{Provenance, status};
use serde::{Deserialize, Serialize};

use super::arrival::{Arrival, Way, rack_name, service_image};
use super::context::Context;
use super::error::{Failure, Result};
use super::export::record_of;
use super::{Operation, event};
use crate::store::BuildRow;

/// A copy.
#[derive(Serialize, Deserialize)]
pub struct Copy {
    arrival: Arrival,
    /// What the engine knows the images by until they have names here.
    references: BTreeMap<String, String>,
}

/// Copies a build of a rack into an app of another, or of the same. Both are on the
/// same engine, and the caller may read the one and write the other.
pub async fn copy(
    context: &Arc<Context>,
    app: &str,
    source: &Context,
    build: &BuildRow,
    foreign: bool,
) -> Result<BuildRow> {
    if source.rack_id == context.rack_id && build.app == app {
        return Err(Failure::Invalid(format!(
            "cannot copy: build {} is of app {app} of this rack already",
            build.id
        )));
    }
    if build.status != status::COMPLETE {
        return Err(Failure::Conflict(format!(
            "cannot copy: build {} is {}, only complete builds can be copied",
            build.id, build.status
        )));
    }
    let images = source.store.images(&build.id).await?;
    let services = images.iter().map(|(service, image)| {
        let image = service_image(image)
            .map_err(|error| Failure::internal(format!("image of service {service}: {error}")))?;
        Ok((service.clone(), image))
    });
    let provenance = Provenance {
        rack: rack_name(source),
        app: build.app.clone(),
        build: build.id.clone(),
        origin: build.provenance.as_ref().map(Provenance::first),
        emulated: build
            .provenance
            .as_ref()
            .map(|known| known.emulated.clone())
            .unwrap_or_default(),
        ..Provenance::default()
    };
    let arrival = Arrival::new(
        context,
        Way::Copy,
        app,
        foreign,
        record_of(build),
        services.collect::<Result<_>>()?,
        provenance,
    )
    .await?;
    let references = images
        .into_iter()
        // By what it is: names can lead elsewhere.
        .map(|(service, image)| (service, image.id));
    let operation = Copy {
        arrival,
        references: references.collect(),
    };
    let done = super::execute(context, rack_api::id::hex(16), operation).await?;
    done.arrival.row(context).await
}

#[async_trait]
impl Operation for Copy {
    const KIND: &'static str = "copy";
    const STEPS: &'static [&'static str] = &["tag", "record"];
    const RESUMES: bool = false;
    const KEEPS_UNDOING: bool = true;

    fn app(&self) -> &str {
        &self.arrival.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "tag" => self.tag(context).await,
            _ => self.arrival.record(context).await,
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, _step: &'static str) -> Result<()> {
        self.arrival.undo(context).await
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        event::tell_build(context, &self.arrival.app, &self.arrival.id, failure).await
    }
}

impl Copy {
    async fn tag(&mut self, context: &Arc<Context>) -> Result<()> {
        let references = &self.references;
        let by_name =
            |service: &str, _: &ServiceImage| references.get(service).cloned().unwrap_or_default();
        let absent = self.arrival.tag_present(context, by_name).await?;
        if !absent.is_empty() {
            return Err(Failure::Failed(format!(
                "cannot copy: the engine no longer has the image of service {}: build it again",
                absent.join(", ")
            )));
        }
        self.arrival.confirm(context).await
    }
}
