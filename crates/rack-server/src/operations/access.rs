//! Requests in the logs of their apps, as `router/<service>/<process>`.
//!
//! An app that does not want them sets its parameter `AccessLog` to `No`; that takes effect
//! at once. More than a few hundred a second are counted, not told: a log is for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::fleet;
use crate::router::access::{self, Told};

/// Parameter of an app that says whether its requests are told.
pub const PARAMETER: &str = "AccessLog";
/// Time between two looks at what was told.
const PAUSE: Duration = Duration::from_millis(100);
/// Most lines of one app between two looks.
const LINES: usize = 50;

/// Whether an app with these parameters wants its requests told.
pub fn wanted(parameters: &BTreeMap<String, String>) -> bool {
    let word = parameters
        .get(PARAMETER)
        .map(|word| word.to_ascii_lowercase());
    !matches!(word.as_deref(), Some("no" | "false" | "off" | "0"))
}

/// Begins to write down the requests to the apps of a rack.
pub fn begin(context: &Arc<Context>) {
    let (log, told) = access::log();
    context.router.tell(&context.rack, log);
    let (at, tasks) = (Arc::clone(context), context.tasks.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = write(&at, told) => {}
            () = at.shutdown.cancelled() => {}
        }
    });
}

async fn write(context: &Context, mut told: Told) {
    let mut requests = Vec::new();
    while let Some(mut lost) = told.take(&mut requests).await {
        let now = context.now();
        let mut apps: BTreeMap<String, usize> = BTreeMap::new();
        for request in requests.drain(..) {
            // An app that is gone leaves no log.
            if context.router.route(request.key()).is_none() {
                continue;
            }
            let app = &request.key().app;
            let count = apps.entry(app.clone()).or_default();
            *count += 1;
            if *count > LINES {
                continue;
            }
            let process = request
                .process()
                .map_or("-", |id| id.get(..12).unwrap_or(id));
            let stream = format!("router/{}/{process}", request.key().service);
            let log = context.logs.app(app);
            log.append(now, &stream, request.to_string().as_bytes());
        }
        for (app, count) in apps {
            // Whose the lost ones were is not known; the busiest are told of them.
            let untold = (count.saturating_sub(LINES)) as u64 + std::mem::take(&mut lost);
            if untold > 0 {
                let text = format!("{untold} more requests came than are told one by one");
                context
                    .logs
                    .app(&app)
                    .append(now, "router/-/-", text.as_bytes());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sets whether the requests to an app are told from now on.
pub fn set(context: &Context, app: &str, parameters: &BTreeMap<String, String>) {
    context.fleet.set_access(app, wanted(parameters));
    for service in context.fleet.routed_services(app) {
        if let Err(error) = fleet::publish(context, app, &service) {
            context.log(app, &service, &error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_unless_somebody_says_no() {
        let set = |value: &str| BTreeMap::from([(PARAMETER.to_owned(), value.to_owned())]);
        assert!(wanted(&BTreeMap::new()));
        for (value, expected) in [
            ("Yes", true),
            ("No", false),
            ("no", false),
            ("false", false),
        ] {
            assert_eq!(wanted(&set(value)), expected, "{value}");
        }
    }
}
