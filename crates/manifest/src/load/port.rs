//! `port` and `ports` of a service.

use indexmap::IndexSet;

use crate::keys;
use crate::reader::Reader;
use crate::service::Port;
use crate::yaml::{Kind, Map, Node, Value};

/// Scheme of a port that names none.
const DEFAULT_SCHEME: &str = "http";

/// Reads `port`: a number, `scheme:port` or a map of both. 0 is no port.
pub(super) fn read(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Port> {
    let node = node?;
    match &node.kind {
        Kind::Null => None,
        Kind::Scalar(_) => scalar(reader, node),
        Kind::Map(map) => from_map(reader, node, map),
        Kind::List(_) => invalid(reader, node),
    }
}

fn from_map(reader: &mut Reader<'_>, node: &Node, map: &Map) -> Option<Port> {
    reader.check_keys(map, &keys::PORT);
    let Some(number) = map.get("port").filter(|number| !number.is_null()) else {
        reader.error_with_hint(
            node,
            "could not parse port: the map has no port",
            "add port: with the number the process listens on",
        );
        return None;
    };
    let mut port = match &number.kind {
        Kind::Scalar(_) => scalar(reader, number)?,
        _ => return invalid(reader, number),
    };
    if let Some(scheme) = reader.text(map.get("scheme"), "the scheme of a port") {
        port.scheme = scheme.to_lowercase();
    }
    Some(port)
}

fn scalar(reader: &mut Reader<'_>, node: &Node) -> Option<Port> {
    let Kind::Scalar(scalar) = &node.kind else {
        return None;
    };
    let (scheme, number) = match scalar.value {
        Value::Integer(number) => ("", Some(number)),
        Value::Text => {
            let mut parts = scalar.text.split(':');
            let first = parts.next().unwrap_or_default();
            match parts.next() {
                Some(second) => {
                    if parts.next().is_some() {
                        let quoted = reader.quote(node);
                        reader.warn(
                            node,
                            format!("only the first number of port {quoted} counts"),
                        );
                    }
                    (first, second.parse().ok())
                }
                None => ("", first.parse().ok()),
            }
        }
        Value::Bool(_) | Value::Float(_) => ("", None),
    };
    let Some(number) = number else {
        return invalid(reader, node);
    };
    if number == 0 {
        return None;
    }
    let Some(port) = in_range(number) else {
        let quoted = reader.quote(node);
        reader.error_with_hint(
            node,
            format!("invalid port: {quoted}"),
            "ports go from 1 to 65535",
        );
        return None;
    };
    let scheme = if scheme.is_empty() {
        DEFAULT_SCHEME.to_owned()
    } else {
        scheme.to_lowercase()
    };
    Some(Port { scheme, port })
}

fn invalid(reader: &mut Reader<'_>, node: &Node) -> Option<Port> {
    let quoted = reader.quote(node);
    reader.error_with_hint(
        node,
        format!("invalid port: {quoted}"),
        "write PORT or SCHEME:PORT, as in https:3000",
    );
    None
}

/// Reads `ports`: further TCP ports, `5001` or `5001/tcp`. The routable port is not repeated.
pub(super) fn read_further(
    reader: &mut Reader<'_>,
    entry: Option<&(Node, Node)>,
    routable: Option<&Port>,
) -> Vec<u16> {
    let Some((key, node)) = entry else {
        return Vec::new();
    };
    let mut ports = IndexSet::new();
    for (item, text) in reader.texts(Some(node), "ports") {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = number.parse().ok().and_then(in_range);
        match (port, protocol.to_lowercase().as_str()) {
            (Some(port), "tcp") => {
                if routable.is_none_or(|routable| routable.port != port) {
                    ports.insert(port);
                }
            }
            (Some(_), "udp") => reader.no_effect(key, "a service", "a udp port in ports"),
            _ => {
                let quoted = reader.quote(item);
                reader.error_with_hint(
                    item,
                    format!("invalid port: {quoted}"),
                    "write PORT, PORT/tcp or PORT/udp with a port from 1 to 65535",
                );
            }
        }
    }
    ports.into_iter().collect()
}

fn in_range(number: i128) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}
