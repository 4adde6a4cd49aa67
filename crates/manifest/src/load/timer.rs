//! Entries of `timers`.

use crate::keys;
use crate::reader::Reader;
use crate::timer::Timer;
use crate::yaml::Node;

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
    }
}
