//! Entries of `resources`.

use std::collections::BTreeMap;

use crate::keys;
use crate::reader::Reader;
use crate::resource::Resource;
use crate::yaml::{Kind, Node, Scalar, Value};

/// Reads a resource.
pub(super) fn read(reader: &mut Reader<'_>, key: &Node, node: &Node) -> Resource {
    let map = super::body(reader, key, node, "resource");
    if let Some(map) = map {
        reader.check_keys(map, &keys::RESOURCE);
    }
    let get = |name| map.and_then(|map| map.get(name));
    Resource {
        name: key.text().unwrap_or_default().to_owned(),
        kind: reader
            .text(get("type"), "the type of a resource")
            .map(|kind| kind.trim().to_owned())
            .unwrap_or_default(),
        options: options(reader, get("options")),
        image: reader.text(get("image"), "the image of a resource"),
    }
}

fn options(reader: &mut Reader<'_>, node: Option<&Node>) -> BTreeMap<String, String> {
    let Some(map) = reader.map(node, "the options of a resource") else {
        return BTreeMap::new();
    };
    reader.check_keys(map, &keys::OPTIONS);
    let mut options = BTreeMap::new();
    for (key, value) in &map.0 {
        let Some(name) = key.text() else { continue };
        match &value.kind {
            Kind::Null => {
                options.insert(name.to_owned(), String::new());
            }
            Kind::Scalar(scalar) => {
                options.insert(name.to_owned(), option(reader, value, scalar));
            }
            Kind::List(_) | Kind::Map(_) => {
                let name = reader.quote(key);
                reader.error(
                    value,
                    format!("option {name} must be text, not {}", value.describe()),
                );
            }
        }
    }
    options
}

/// An option's text. Racks decode and encode a value before they read it as text, which changes
/// numbers like `10.0`; we keep what is written and warn, because a version is meant literally.
fn option(reader: &mut Reader<'_>, node: &Node, scalar: &Scalar) -> String {
    let rack = match scalar.value {
        Value::Text => return scalar.text.clone(),
        // Racks want a sign in an exponent; without one they see text.
        Value::Float(_) if scalar.text.contains(['e', 'E']) => return scalar.text.clone(),
        Value::Bool(value) => return value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
    };
    if rack != scalar.text {
        let quoted = reader.quote(node);
        // With an interpolated value the rack's reading would reveal the value.
        let message = if quoted == scalar.text {
            format!("racks read the option {quoted} as {rack}; quote it")
        } else {
            format!("racks read the number {quoted} differently; quote it")
        };
        reader.warn(node, message);
    }
    scalar.text.clone()
}
