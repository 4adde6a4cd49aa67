//! What happens to containers, as it happens.
//!
//! Once the call has returned, the engine is listened to: nothing that happens
//! later is missed, however late the stream is read.

use std::collections::{HashMap, VecDeque};

use bollard::models::EventMessage;
use bytes::BytesMut;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use super::connect::label_filter;
use super::{Docker, transport};
use crate::engine::{EngineError, Labels, ProcessEvent, ProcessEventKind, Result};

/// What the engine adds to the labels of a container in an event.
const NOT_LABELS: [&str; 5] = ["image", "name", "exitCode", "execDuration", "signal"];

/// An event is a line; anything longer is none.
const LINE_LIMIT: usize = 1024 * 1024;

impl Docker {
    /// When the connection breaks, the stream may give that error, and ends.
    pub(super) async fn process_events(
        &self,
        labels: &Labels,
    ) -> Result<BoxStream<'static, Result<ProcessEvent>>> {
        let mut filters = label_filter(labels);
        filters.insert("type".into(), vec!["container".into()]);
        filters.insert(
            "event".into(),
            ["start", "die", "destroy"].map(str::to_owned).into(),
        );
        let filters = serde_json::json!(filters).to_string();
        let filters: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        let path = format!("/events?filters={filters}");
        let response = self
            .send(
                ("engine", "events"),
                http::Method::GET,
                &path,
                false,
                Vec::new(),
            )
            .await?;

        let state = Some((response.into_body(), BytesMut::new(), VecDeque::new()));
        let events = stream::unfold(state, |state| async move {
            let (mut body, mut buffer, mut ready) = state?;
            loop {
                if let Some(event) = ready.pop_front() {
                    return Some((Ok(event), Some((body, buffer, ready))));
                }
                let step = match transport::next(&mut body).await {
                    Ok(Some(data)) => {
                        buffer.extend_from_slice(&data);
                        take(&mut buffer, &mut ready)
                    }
                    Ok(None) => return None,
                    Err(error) => Err(error),
                };
                if let Err(error) = step {
                    return Some((Err(error), None));
                }
            }
        });
        Ok(events.boxed())
    }
}

/// Takes whole lines out of the buffer.
fn take(buffer: &mut BytesMut, ready: &mut VecDeque<ProcessEvent>) -> Result<()> {
    while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
        let line = buffer.split_to(end + 1);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message: EventMessage = serde_json::from_slice(&line).map_err(|error| {
            EngineError::Failed(format!("docker sent an event that cannot be read: {error}"))
        })?;
        ready.extend(event(message));
    }
    if buffer.len() > LINE_LIMIT {
        return Err(EngineError::Failed(
            "docker sent an event that does not end".into(),
        ));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_events_however_they_are_cut() {
        let line = br#"{"Type":"container","Action":"die","Actor":{"ID":"a1","Attributes":{"exitCode":"0","image":"x","l":"v"}}}"#;
        let mut buffer = BytesMut::new();
        let mut ready = VecDeque::new();
        for byte in line.iter().chain(b"\n\n") {
            assert!(ready.is_empty());
            buffer.extend_from_slice(&[*byte]);
            if *byte == b'\n' {
                break;
            }
            take(&mut buffer, &mut ready).expect("readable");
        }
        take(&mut buffer, &mut ready).expect("readable");
        let labels = Labels::from([("l".to_owned(), "v".to_owned())]);
        assert_eq!(
            ready,
            [ProcessEvent {
                id: "a1".into(),
                kind: ProcessEventKind::Die,
                labels
            }]
        );
        buffer.extend_from_slice(b"not json\n");
        assert!(take(&mut buffer, &mut ready).is_err());
    }
}
