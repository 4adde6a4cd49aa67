//! What happens to containers, as it happens.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::stream::BoxStream;
use futures::{StreamExt, future};

use super::Docker;
use super::connect::label_filter;
use crate::engine::{Labels, ProcessEvent, ProcessEventKind, Result};

/// What the engine adds to the labels of a container in an event.
const NOT_LABELS: [&str; 5] = ["image", "name", "exitCode", "execDuration", "signal"];

impl Docker {
    /// The stream fails once and ends when the connection breaks.
    pub(super) async fn process_events(
        &self,
        labels: &Labels,
    ) -> Result<BoxStream<'static, Result<ProcessEvent>>> {
        let client = self.session().await?.client;
        let mut filters = label_filter(labels);
        filters.insert("type".into(), vec!["container".into()]);
        filters.insert(
            "event".into(),
            ["start", "die", "destroy"].map(str::to_owned).into(),
        );
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let docker = self.clone();
        let events = client.events(Some(options)).filter_map(move |item| {
            future::ready(match item {
                Ok(message) => event(message).map(Ok),
                Err(error) => Some(Err(docker.failure("engine", "events", error))),
            })
        });
        Ok(events.boxed())
    }
}

fn event(message: EventMessage) -> Option<ProcessEvent> {
    let kind = match message.action?.as_str() {
        "start" => ProcessEventKind::Start,
        "die" => ProcessEventKind::Die,
        "destroy" => ProcessEventKind::Remove,
        _ => return None,
    };
    let actor = message.actor?;
    let attributes: HashMap<String, String> = actor.attributes.unwrap_or_default();
    let labels = attributes
        .into_iter()
        .filter(|(name, _)| !NOT_LABELS.contains(&name.as_str()))
        .collect();
    Some(ProcessEvent {
        id: actor.id?,
        kind,
        labels,
    })
}
