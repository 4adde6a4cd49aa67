//! Entries of `balancers`.

use crate::balancer::{Balancer, BalancerPort, BalancerProtocol};
use crate::keys;
use crate::reader::{Reader, whole_number};
use crate::yaml::{Kind, Map, Node};

/// Reads a balancer.
pub(super) fn read(reader: &mut Reader<'_>, key: &Node, node: &Node) -> Balancer {
    let map = super::body(reader, key, node, "balancer");
    if let Some(map) = map {
        reader.check_keys(map, &keys::BALANCER);
    }
    let get = |name| map.and_then(|map| map.get(name));
    let name = reader.quote(key);
    Balancer {
        name: key.text().unwrap_or_default().to_owned(),
        service: reader
            .text(get("service"), "the service of a balancer")
            .unwrap_or_default(),
        ports: ports(reader, &name, get("ports")),
        whitelist: super::networks(reader, get("whitelist"), "the whitelist of a balancer"),
    }
}

fn ports(reader: &mut Reader<'_>, balancer: &str, node: Option<&Node>) -> Vec<BalancerPort> {
    let Some(map) = reader.map(node, "the ports of a balancer") else {
        return Vec::new();
    };
    let mut ports: Vec<BalancerPort> = Vec::new();
    for (key, value) in &map.0 {
        let source = port(reader, balancer, key);
        let read = match &value.kind {
            Kind::Map(map) => {
                reader.check_keys(map, &keys::BALANCER_PORT);
                target(reader, balancer, value, map)
            }
            Kind::Null | Kind::Scalar(_) | Kind::List(_) => {
                port(reader, balancer, value).map(|target| (target, BalancerProtocol::Tcp))
            }
        };
        let (Some(source), Some((target, protocol))) = (source, read) else {
            continue;
        };
        ports.push(BalancerPort {
            source,
            target,
            protocol,
        });
    }
    ports
}

fn target(
    reader: &mut Reader<'_>,
    balancer: &str,
    at: &Node,
    map: &Map,
) -> Option<(u16, BalancerProtocol)> {
    let target = port(reader, balancer, map.get("port").unwrap_or(at));
    let node = map.get("protocol");
    let word = reader.text(node, "the protocol of a balancer port");
    let protocol = match word.map(|word| word.to_ascii_uppercase()).as_deref() {
        None | Some("TCP") => Some(BalancerProtocol::Tcp),
        Some("UDP") => {
            reader.warn(
                node.unwrap_or(at),
                format!("a UDP port of balancer {balancer} is not opened here: only TCP is"),
            );
            Some(BalancerProtocol::Udp)
        }
        Some(_) => {
            let node = node.unwrap_or(at);
            let quoted = reader.quote(node);
            reader.error(
                node,
                format!("balancer {balancer} protocol must be TCP or UDP, not {quoted}"),
            );
            None
        }
    };
    target.zip(protocol)
}

fn port(reader: &mut Reader<'_>, balancer: &str, node: &Node) -> Option<u16> {
    let port = whole_number(node)
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port > 0);
    if port.is_none() {
        let what = match &node.kind {
            Kind::Scalar(_) => reader.quote(node),
            Kind::Null | Kind::List(_) | Kind::Map(_) => node.describe().to_owned(),
        };
        reader.error(
            node,
            format!("balancer {balancer} has a port that is no number from 1 to 65535: {what}"),
        );
    }
    port
}
