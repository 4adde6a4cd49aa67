//! Events that others send.

use rack_api::event::SendOptions;

use super::Rack;
use crate::operations::{Failure, Result, event};

/// Longest text of an event: receivers are not made for more.
const LARGEST: usize = 64 << 10;

impl Rack {
    /// Records an event and tells webhooks of it.
    pub async fn send_event(&self, action: &str, options: SendOptions) -> Result<()> {
        let SendOptions {
            data,
            error,
            status,
        } = options;
        let texts = data.iter().flat_map(|(name, value)| [name, value]);
        let size: usize = texts.chain(&error).chain(&status).map(String::len).sum();
        if size + action.len() > LARGEST {
            return Err(Failure::Invalid("the event is larger than 64 KiB".into()));
        }
        event::record(
            &self.context,
            action,
            data,
            status.as_deref(),
            error.as_deref(),
        )
        .await
    }
}
