//! `nlb` of a service: listeners that pass bytes through.

use std::net::Ipv4Addr;

use indexmap::IndexSet;

use crate::keys;
use crate::reader::Reader;
use crate::service::{Listener, ListenerProtocol, ListenerScheme};
use crate::yaml::{Kind, Map, Node, Value};

/// Where to look up certificates, as racks say it.
const CERTIFICATES: &str = "run 'convox certs list' to see available ARNs";

/// Reads `nlb`. Listeners with errors are left out.
pub(super) fn read(
    reader: &mut Reader<'_>,
    service: &str,
    entry: Option<&(Node, Node)>,
) -> Vec<Listener> {
    let Some((_, node)) = entry else {
        return Vec::new();
    };
    let items = match &node.kind {
        Kind::Null => return Vec::new(),
        Kind::List(items) => items,
        Kind::Map(_) | Kind::Scalar(_) => {
            reader.error_with_hint(
                node,
                format!("nlb must be a list, not {}", node.describe()),
                "start each entry with a dash",
            );
            return Vec::new();
        }
    };
    let mut listeners: Vec<Listener> = Vec::new();
    for item in items {
        let Some(map) = item.as_map() else {
            reader.error_with_hint(
                item,
                format!("an entry of nlb must be a map, not {}", item.describe()),
                "write - port: PORT",
            );
            continue;
        };
        reader.check_keys(map, &keys::LISTENER);
        for (name, node) in ["cross_zone", "preserve_client_ip"].map(|key| (key, map.get(key))) {
            if let Some(node) = node.filter(|node| !node.is_null()) {
                reader.no_effect(node, "an nlb port", name);
            }
        }
        if let Some(listener) = listener(reader, service, item, map) {
            if let Some(problem) = conflict(&listeners, &listener) {
                reader.error(item, format!("service {service}: {problem}"));
            }
            listeners.push(listener);
        }
    }
    listeners
}

fn conflict(earlier: &[Listener], listener: &Listener) -> Option<String> {
    let Listener {
        port,
        container_port,
        ..
    } = listener;
    if let Some(same) = earlier.iter().find(|other| other.port == *port) {
        return Some(if same.container_port == *container_port {
            format!("duplicate nlb port {port}")
        } else {
            format!("nlb port {port} declared with conflicting containerPort values")
        });
    }
    earlier
        .iter()
        .any(|other| other.container_port == *container_port)
        .then(|| format!("nlb containerPort {container_port} used by multiple nlb listeners"))
}

fn listener(reader: &mut Reader<'_>, service: &str, item: &Node, map: &Map) -> Option<Listener> {
    let before = reader.errors.len();
    let port = number(reader, service, item, map.get("port"), "port");
    let container_port = match map.get("containerPort").filter(|node| !is_zero(node)) {
        None => port,
        Some(node) => number(reader, service, item, Some(node), "containerPort"),
    };
    let (port, container_port) = (port?, container_port?);
    let context = format!("service {service} nlb port {port}: ");

    let protocol = word(reader, map.get("protocol"), "tcp");
    let certificate = reader
        .text(map.get("certificate"), "the certificate of an nlb port")
        .map(|certificate| certificate.trim().to_owned());
    let protocol = match protocol.as_str() {
        "tcp" => ListenerProtocol::Tcp,
        "tls" => ListenerProtocol::Tls,
        _ => {
            let node = map.get("protocol").unwrap_or(item);
            let quoted = reader.quote(node);
            reader.error(
                node,
                format!("{context}protocol must be tcp or tls, got \"{quoted}\""),
            );
            return None;
        }
    };
    let node = map.get("certificate").unwrap_or(item);
    match (protocol, &certificate) {
        (ListenerProtocol::Tls, None) => reader.error(
            node,
            format!(
                "{context}protocol tls requires a certificate (provide an ACM ARN; {CERTIFICATES})"
            ),
        ),
        (ListenerProtocol::Tcp, Some(_)) => reader.error(
            node,
            format!("{context}certificate is only valid with protocol: tls"),
        ),
        (ListenerProtocol::Tls, Some(arn)) if !is_certificate(arn) => {
            let quoted = reader.quote(node);
            reader.error(
                node,
                format!(
                    "{context}certificate must be a full ACM or IAM server-certificate ARN, \
                     got \"{quoted}\" ({CERTIFICATES})"
                ),
            );
        }
        _ => {}
    }
    let scheme = match word(reader, map.get("scheme"), "public").as_str() {
        "internal" => ListenerScheme::Internal,
        "public" => ListenerScheme::Public,
        _ => {
            let node = map.get("scheme").unwrap_or(item);
            let quoted = reader.quote(node);
            reader.error(
                node,
                format!("{context}scheme must be public or internal, got \"{quoted}\""),
            );
            ListenerScheme::Public
        }
    };
    let listener = Listener {
        port,
        container_port,
        protocol,
        scheme,
        certificate,
        allow_cidr: networks(reader, &context, map.get("allow_cidr")),
        cross_zone: reader.boolean(map.get("cross_zone"), "cross_zone"),
        preserve_client_ip: reader.boolean(map.get("preserve_client_ip"), "preserve_client_ip"),
    };
    (reader.errors.len() == before).then_some(listener)
}

/// Lower-case text without blanks around it; the default when there is none.
fn word(reader: &mut Reader<'_>, node: Option<&Node>, default: &str) -> String {
    match reader.text(node, "protocol and scheme of an nlb port") {
        Some(text) => text.trim().to_lowercase(),
        None => default.to_owned(),
    }
}

fn is_zero(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => true,
        Kind::Scalar(scalar) => scalar.value == Value::Integer(0),
        Kind::List(_) | Kind::Map(_) => false,
    }
}

fn number(
    reader: &mut Reader<'_>,
    service: &str,
    item: &Node,
    node: Option<&Node>,
    key: &str,
) -> Option<u16> {
    let value = match node.map(|node| &node.kind) {
        None | Some(Kind::Null) => Some(0),
        Some(Kind::Scalar(scalar)) => match scalar.value {
            Value::Integer(value) => Some(value),
            _ => None,
        },
        Some(Kind::List(_) | Kind::Map(_)) => None,
    };
    let at = node.unwrap_or(item);
    let quoted = match node {
        Some(node) if !node.is_null() => reader.quote(node),
        _ => "0".to_owned(),
    };
    let Some(value) = value else {
        reader.error(
            at,
            format!("service {service}: nlb {key} must be a number, not {quoted}"),
        );
        return None;
    };
    let port = u16::try_from(value).ok().filter(|port| *port > 0);
    if port.is_none() {
        reader.error(
            at,
            format!("service {service}: nlb {key} {quoted} out of range"),
        );
    }
    port
}

/// Whether a text names a certificate: `arn:PARTITION:acm:REGION:ACCOUNT:certificate/ID` or
/// `arn:PARTITION:iam::ACCOUNT:server-certificate/NAME`.
fn is_certificate(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = parts.as_slice() else {
        return false;
    };
    let named = |prefix| {
        resource
            .strip_prefix(prefix)
            .is_some_and(|name: &str| !name.is_empty())
    };
    let known = match *service {
        "acm" => !region.is_empty() && named("certificate/"),
        "iam" => region.is_empty() && named("server-certificate/"),
        _ => false,
    };
    known
        && partition.starts_with("aws")
        && !account.is_empty()
        && account.chars().all(|c| c.is_ascii_digit())
}

fn networks(reader: &mut Reader<'_>, context: &str, node: Option<&Node>) -> Vec<String> {
    let mut networks = IndexSet::new();
    for (item, text) in reader.texts(node, "allow_cidr") {
        let quoted = reader.quote(item);
        match canonical_network(text) {
            None => {
                let why = if text.contains("::") || text.matches(':').count() > 1 {
                    "IPv6 not supported"
                } else {
                    "e.g. 10.0.0.0/16"
                };
                reader.error(
                    item,
                    format!(
                        "{context}allow_cidr entry \"{quoted}\" is not a valid IPv4 CIDR ({why})"
                    ),
                );
            }
            Some(canonical) if canonical != text => {
                let instead = if quoted == text {
                    &canonical
                } else {
                    "the network address"
                };
                reader.error(
                    item,
                    format!(
                        "{context}allow_cidr entry \"{quoted}\" is not canonical; \
                         use \"{instead}\" instead"
                    ),
                );
            }
            Some(canonical) => {
                if !networks.insert(canonical) {
                    reader.error(
                        item,
                        format!("{context}allow_cidr contains duplicate entry: {quoted}"),
                    );
                }
            }
        }
    }
    networks.into_iter().collect()
}

/// An IPv4 network with the host bits cleared; `None` when the text is none.
fn canonical_network(text: &str) -> Option<String> {
    let (address, bits) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let digits = !bits.is_empty() && bits.chars().all(|c| c.is_ascii_digit());
    let bits: u32 = bits.parse().ok().filter(|bits| digits && *bits <= 32)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let network = Ipv4Addr::from(address.to_bits() & mask);
    Some(format!("{network}/{bits}"))
}
