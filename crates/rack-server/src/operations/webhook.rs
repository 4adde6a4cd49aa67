//! Telling webhooks what happens: a resource of type `webhook` receives every event
//! that is recorded after it was made, in order, as a POST of its document.
//!
//! Each has a task of its own, which remembers in the database how far it got: a server
//! that was killed goes on where it stopped, so an event may come twice and does not get
//! lost while it is in the history. One that cannot be delivered is tried again, later
//! and later, then given up; the rack's log says so. Nothing waits for any of this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use rack_api::event::Event;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::{Failure, Result};
use crate::store::{EventRow, RackResourceRow};
use crate::tls::post::Post;

/// Type word of such resources.
pub const WEBHOOK: &str = "webhook";
/// The option that holds the address.
pub const URL: &str = "Url";
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses before an event is tried again; after the last it is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Pause after the database could not be asked.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Webhooks that have their task, with what ends it.
#[derive(Default)]
pub struct Hooks(Mutex<HashMap<String, CancellationToken>>);

impl Hooks {
    /// Claims the right to serve a webhook; nothing when somebody has it.
    fn claim(&self, name: &str, parent: &CancellationToken) -> Option<CancellationToken> {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hooks.contains_key(name) {
            return None;
        }
        let token = parent.child_token();
        hooks.insert(name.to_owned(), token.clone());
        Some(token)
    }

    /// Ends the task of a webhook that is removed.
    pub fn end(&self, name: &str) {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = hooks.remove(name) {
            token.cancel();
        }
    }
}

/// The address of a webhook, if it can be one.
pub fn check(url: &str) -> Result<()> {
    Post::new(url).map(drop).map_err(Failure::Invalid)
}

/// Serves the webhooks there are.
pub async fn begin(context: &Arc<Context>) -> Result<()> {
    for row in context.store.rack_resources().await? {
        if row.kind == WEBHOOK {
            serve(context, &row.name);
        }
    }
    Ok(())
}

/// Tells a webhook everything from where it stands, in the background, until it is removed.
pub fn serve(context: &Arc<Context>, name: &str) {
    let Some(token) = context.hooks.claim(name, &context.shutdown) else {
        return;
    };
    let (context, name) = (Arc::clone(context), name.to_owned());
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = tell_all(&context, &name) => {}
        }
    });
}

async fn tell_all(context: &Context, name: &str) {
    let mut news = context.news.subscribe();
    loop {
        news.borrow_and_update();
        match tell_next(context, name).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, name, "could not tell a webhook");
                tokio::time::sleep(STORE_PAUSE).await;
                continue;
            }
        }
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// Tells a webhook the next event, if there is one.
async fn tell_next(context: &Context, name: &str) -> Result<bool> {
    let Some(row) = context.store.rack_resource(name).await? else {
        return Ok(false);
    };
    let Some(event) = context.store.event_after(row.delivered).await? else {
        return Ok(false);
    };
    let lost = event.sequence - row.delivered - 1;
    if lost > 0 {
        context.rack_log(&format!(
            "webhook {name}: {lost} events were forgotten before they could be delivered"
        ));
    }
    let sequence = event.sequence;
    deliver(context, &row, event).await?;
    context.store.set_delivered(name, sequence).await?;
    Ok(true)
}

/// The document of an event, as it travels.
fn document(event: EventRow) -> (String, Bytes) {
    let action = event.action.clone();
    let document = Event {
        action: event.action,
        data: event.data,
        status: event.status,
        timestamp: event.time,
    };
    let text = serde_json::to_vec(&document).expect("plain data serialises");
    (action, text.into())
}

/// Delivers an event, or gives it up and says so.
async fn deliver(context: &Context, row: &RackResourceRow, event: EventRow) -> Result<()> {
    let name = &row.name;
    let url = row.parameters.get(URL).map_or("", String::as_str);
    let (action, document) = document(event);
    let target = match Post::new(url) {
        Ok(target) => target,
        Err(reason) => {
            context.rack_log(&format!("webhook {name}: {action} not delivered: {reason}"));
            return Ok(());
        }
    };
    let shown = target.shown();
    let mut pauses = PAUSES.iter();
    let mut first = true;
    loop {
        let reason = match attempt(context, &target, document.clone()).await {
            Ok(()) => return Ok(()),
            Err(reason) => reason,
        };
        let Some(pause) = pauses.next().filter(|_| reason.passing) else {
            context.rack_log(&format!(
                "webhook {name}: {action} was not delivered to {shown}: {}; given up",
                reason.text
            ));
            return Ok(());
        };
        if std::mem::take(&mut first) {
            context.rack_log(&format!(
                "webhook {name}: {action} could not be delivered to {shown}: {}; trying again",
                reason.text
            ));
        }
        tokio::time::sleep(*pause).await;
        // It may have been given another address, or be gone, in the meantime.
        match context.store.rack_resource(name).await? {
            Some(now) if now.parameters.get(URL) == row.parameters.get(URL) => {}
            _ => return Ok(()),
        }
    }
}

/// Why an event did not get through.
struct Trouble {
    text: String,
    /// Whether it may be over soon.
    passing: bool,
}

async fn attempt(
    context: &Context,
    target: &Post,
    document: Bytes,
) -> std::result::Result<(), Trouble> {
    let passing = |text: String| Trouble {
        text,
        passing: true,
    };
    let posting = target.send(&context.authority, document);
    let status = match tokio::time::timeout(PATIENCE, posting).await {
        Ok(status) => status.map_err(|error| passing(error.to_string()))?,
        Err(_) => {
            return Err(passing(format!(
                "no answer within {} seconds",
                PATIENCE.as_secs()
            )));
        }
    };
    if status.is_success() {
        return Ok(());
    }
    let passes = status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS;
    Err(Trouble {
        text: format!("it answered {}", status.as_u16()),
        passing: passes,
    })
}
