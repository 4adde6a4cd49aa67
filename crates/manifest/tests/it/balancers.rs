//! `balancers`: ports of the rack's own.

use manifest::{BalancerPort, BalancerProtocol};

use crate::support::{error, load, warnings};

fn with(balancers: &str) -> String {
    format!("services:\n  web: {{image: x}}\nbalancers:\n  lb: {balancers}\n")
}

#[test]
fn ports_are_numbers_or_maps_and_keep_their_order() {
    let text = with(
        "{service: web, ports: {5001: {protocol: udp, port: 53}, 80: 3000}, whitelist: '10.0.0.0/8, ::/0'}",
    );
    let balancer = load(&text).manifest.balancers["lb"].clone();
    let port = |source, target, protocol| BalancerPort {
        source,
        target,
        protocol,
    };
    assert_eq!(balancer.service, "web");
    assert_eq!(
        balancer.ports,
        [
            port(5001, 53, BalancerProtocol::Udp),
            port(80, 3000, BalancerProtocol::Tcp)
        ]
    );
    assert_eq!(balancer.whitelist, ["10.0.0.0/8", "::/0"]);
    let text =
        with("{service: web, ports: {80: 3000}, whitelist: [10.0.0.1/32], annotations: [a=b]}");
    assert_eq!(
        load(&text).manifest.balancers["lb"].whitelist,
        ["10.0.0.1/32"]
    );
    assert_eq!(
        warnings(&text),
        [
            "convox.yml:3:1: balancers of the manifest has no effect here",
            "convox.yml:4:67: annotations of a balancer has no effect here",
        ]
    );
}

#[test]
fn mistakes_are_reported_in_the_words_of_racks() {
    for (body, expected) in [
        ("{service: web}", "balancer lb has no ports"),
        ("{ports: {80: 80}}", "balancer lb has blank service"),
        (
            "{service: api, ports: {80: 80}}",
            "balancer lb refers to unknown service api (services are web)",
        ),
        (
            "{service: web, ports: {80: 80}, whitelist: 10.0.0.0/33}",
            "balancer lb whitelist 10.0.0.0/33 is not a valid cidr range",
        ),
        (
            "{service: web, ports: {80: 80}, whitelist: [everybody]}",
            "balancer lb whitelist entry is not a valid cidr range",
        ),
        (
            "{service: web, ports: {http: 80}}",
            "balancer lb has a port that is no number from 1 to 65535: http",
        ),
        (
            "{service: web, ports: {80: 65536}}",
            "balancer lb has a port that is no number from 1 to 65535: 65536",
        ),
        (
            "{service: web, ports: {80: [80]}}",
            "balancer lb has a port that is no number from 1 to 65535: a list",
        ),
        (
            "{service: web, ports: {80: {port: 80, protocol: sctp}}}",
            "balancer lb protocol must be TCP or UDP, not sctp",
        ),
    ] {
        let message = error(&with(body));
        assert!(message.ends_with(expected), "{message}\n{expected}");
    }
}
