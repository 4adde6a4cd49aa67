//! Entries of `timers`.

use crate::keys;
use crate::reader::Reader;
use crate::timer::{Concurrency, Timer};
use crate::yaml::Node;

/// Most processes of one timer at a time.
const MOST_PARALLEL: u64 = 100;

/// Reads a timer.
pub(super) fn read(reader: &mut Reader<'_>, key: &Node, node: &Node) -> Timer {
    let map = super::body(reader, key, node, "timer");
    if let Some(map) = map {
        reader.check_keys(map, &keys::TIMER);
    }
    let get = |name| map.and_then(|map| map.get(name));
    let mut text = |name, what| reader.text(get(name), what).unwrap_or_default();
    Timer {
        name: key.text().unwrap_or_default().to_owned(),
        command: text("command", "the command of a timer"),
        schedule: text("schedule", "the schedule of a timer"),
        service: text("service", "the service of a timer"),
        concurrency: concurrency(reader, get("concurrency")),
        parallel: match reader.number(get("parallelCount"), "parallelCount") {
            None | Some(0) => 1,
            Some(count) if count > MOST_PARALLEL => {
                let node = get("parallelCount").unwrap_or(key);
                reader.error(
                    node,
                    format!("parallelCount can not be greater than {MOST_PARALLEL}"),
                );
                1
            }
            Some(count) => count,
        },
    }
}

fn concurrency(reader: &mut Reader<'_>, node: Option<&Node>) -> Concurrency {
    let text = reader.text(node, "the concurrency of a timer");
    match text.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("allow") => Concurrency::Allow,
        Some("forbid") => Concurrency::Forbid,
        Some("replace") => Concurrency::Replace,
        Some(_) => {
            if let Some(node) = node {
                let quoted = reader.quote(node);
                reader.error_with_hint(
                    node,
                    format!("invalid concurrency: {quoted}"),
                    "write Allow, Forbid or Replace",
                );
            }
            Concurrency::Allow
        }
    }
}
