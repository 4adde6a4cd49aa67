//! `nlb`: listeners that pass bytes through.

use manifest::{Listener, ListenerProtocol, ListenerScheme};

use crate::support::{error, errors, load, warnings, web, web_error};

const ACM: &str = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d";
const IAM: &str = "arn:aws-us-gov:iam::123456789012:server-certificate/mine";

fn plain(port: u16) -> Listener {
    Listener {
        port,
        container_port: port,
        protocol: ListenerProtocol::Tcp,
        scheme: ListenerScheme::Public,
        certificate: None,
        allow_cidr: Vec::new(),
        cross_zone: None,
        preserve_client_ip: None,
    }
}

#[test]
fn defaults() {
    assert_eq!(web("nlb: [{port: 8443}]").nlb, [plain(8443)]);
    assert_eq!(
        web("nlb: [{port: 8443, containerPort: 0}]").nlb,
        [plain(8443)]
    );
}

#[test]
fn a_different_container_port() {
    let expected = Listener {
        container_port: 5000,
        ..plain(8443)
    };
    assert_eq!(
        web("nlb: [{port: 8443, containerPort: 5000}]").nlb,
        [expected]
    );
}

#[test]
fn tls_with_either_kind_of_certificate() {
    for arn in [ACM, IAM] {
        let expected = Listener {
            protocol: ListenerProtocol::Tls,
            certificate: Some(arn.to_owned()),
            ..plain(443)
        };
        let body = format!("nlb: [{{port: 443, protocol: tls, certificate: \"{arn}\"}}]");
        assert_eq!(web(&body).nlb, [expected]);
    }
}

#[test]
fn internal_tls_beside_public_tcp() {
    let body = format!(
        "nlb:\n- port: 443\n  protocol: tls\n  scheme: internal\n  certificate: {ACM}\n- port: 80\n"
    );
    let found: Vec<_> = web(&body)
        .nlb
        .iter()
        .map(|listener| (listener.port, listener.protocol, listener.scheme))
        .collect();
    assert_eq!(
        found,
        [
            (443, ListenerProtocol::Tls, ListenerScheme::Internal),
            (80, ListenerProtocol::Tcp, ListenerScheme::Public),
        ]
    );
}

#[test]
fn words_in_any_case() {
    let body = format!(
        "nlb: [{{port: 443, protocol: \" TLS \", scheme: Internal, certificate: \"{ACM}\"}}]"
    );
    let listener = &web(&body).nlb[0];
    assert_eq!(listener.protocol, ListenerProtocol::Tls);
    assert_eq!(listener.scheme, ListenerScheme::Internal);
}

#[test]
fn nothing_and_an_empty_list() {
    for body in ["nlb:", "nlb: []", "nlb: ~"] {
        assert_eq!(web(body).nlb, [], "{body}");
    }
}

#[test]
fn switches_have_three_states() {
    let listener = &web("nlb: [{port: 1, cross_zone: true, preserve_client_ip: no}]").nlb[0];
    assert_eq!(listener.cross_zone, Some(true));
    assert_eq!(listener.preserve_client_ip, Some(false));
}

#[test]
fn the_routable_port_may_be_a_listener_too() {
    let service = web("port: 3000\nnlb: [{port: 3000}]");
    assert_eq!(service.port.expect("a port").port, 3000);
    assert_eq!(service.nlb, [plain(3000)]);
}

#[test]
fn what_means_nothing_on_one_machine_says_so() {
    assert_eq!(
        warnings("services:\n  web:\n    nlb: [{port: 1}]\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings(
            "services:\n  web:\n    nlb:\n      - {port: 1, cross_zone: true}\n      - {port: 2, cross_zone: no}\n"
        ),
        ["convox.yml:4:31: cross_zone of an nlb port has no effect here"]
    );
    assert_eq!(load("services: {web: {nlb: []}}").warnings, []);
}

#[test]
fn refused_listeners() {
    let tls = |certificate: &str| format!("nlb: [{{port: 8443, protocol: tls{certificate}}}]");
    for (body, message) in [
        (
            "agent: true\nnlb: [{port: 8443}]".to_owned(),
            "service web: agent mode is incompatible with nlb ports",
        ),
        (
            "nlb: [{port: 8443, protocol: udp}]".to_owned(),
            "service web nlb port 8443: protocol must be tcp or tls, got \"udp\"",
        ),
        (
            "nlb: [{port: 8443, protocol: tcp_udp}]".to_owned(),
            "protocol must be tcp or tls, got \"tcp_udp\"",
        ),
        (
            "nlb: [{port: 8443, scheme: private}]".to_owned(),
            "service web nlb port 8443: scheme must be public or internal, got \"private\"",
        ),
        (
            "nlb: [{port: 0}]".to_owned(),
            "service web: nlb port 0 out of range",
        ),
        (
            "nlb: [{}]".to_owned(),
            "service web: nlb port 0 out of range",
        ),
        (
            "nlb: [{port: -1}]".to_owned(),
            "service web: nlb port -1 out of range",
        ),
        (
            "nlb: [{port: 65536}]".to_owned(),
            "service web: nlb port 65536 out of range",
        ),
        (
            "nlb: [{port: 1, containerPort: 65536}]".to_owned(),
            "service web: nlb containerPort 65536 out of range",
        ),
        (
            "nlb: [{port: x}]".to_owned(),
            "service web: nlb port must be a number, not x",
        ),
        (
            "nlb: [{port: 8443}, {port: 8443}]".to_owned(),
            "service web: duplicate nlb port 8443",
        ),
        (
            "nlb: [{port: 8443, containerPort: 1}, {port: 8443, containerPort: 2}]".to_owned(),
            "service web: nlb port 8443 declared with conflicting containerPort values",
        ),
        (
            "nlb: [{port: 1, containerPort: 5}, {port: 2, containerPort: 5}]".to_owned(),
            "service web: nlb containerPort 5 used by multiple nlb listeners",
        ),
        (
            tls(""),
            "service web nlb port 8443: protocol tls requires a certificate (provide an ACM ARN; \
             run 'convox certs list' to see available ARNs)",
        ),
        (
            tls(", certificate: mine"),
            "service web nlb port 8443: certificate must be a full ACM or IAM server-certificate \
             ARN, got \"mine\" (run 'convox certs list' to see available ARNs)",
        ),
        (
            tls(", certificate: \"arn:aws:s3:us-east-1:123456789012:certificate/x\""),
            "certificate must be a full ACM or IAM server-certificate ARN",
        ),
        (
            format!("nlb: [{{port: 8443, certificate: \"{ACM}\"}}]"),
            "service web nlb port 8443: certificate is only valid with protocol: tls",
        ),
        // The protocol is judged before the certificate.
        (
            format!("nlb: [{{port: 8443, protocol: udp, certificate: \"{ACM}\"}}]"),
            "protocol must be tcp or tls",
        ),
        ("nlb: {port: 1}".to_owned(), "nlb must be a list, not a map"),
        (
            "nlb: [8443]".to_owned(),
            "an entry of nlb must be a map, not a number",
        ),
    ] {
        let found = web_error(&body);
        assert!(found.contains(message), "{message}\nnot in {found}");
    }
}

#[test]
fn one_listener_port_for_the_whole_app() {
    let text = "
services:
  web: {nlb: [{port: 8443}]}
  api: {nlb: [{port: 8443, containerPort: 1}]}
";
    assert!(error(text).ends_with(
        "nlb port 8443 declared by services web and api; rack NLB listener is shared, \
         each port must be unique across services"
    ));
}

#[test]
fn networks() {
    assert_eq!(
        web("nlb: [{port: 1, allow_cidr: [10.0.0.0/8, 0.0.0.0/0, 1.2.3.4/32]}]").nlb[0].allow_cidr,
        ["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32"]
    );
    let context = "service web nlb port 1: allow_cidr ";
    for (networks, message) in [
        (
            "x",
            "entry \"x\" is not a valid IPv4 CIDR (e.g. 10.0.0.0/16)",
        ),
        (
            "10.0.0.0",
            "entry \"10.0.0.0\" is not a valid IPv4 CIDR (e.g. 10.0.0.0/16)",
        ),
        (
            "256.0.0.0/8",
            "entry \"256.0.0.0/8\" is not a valid IPv4 CIDR (e.g. 10.0.0.0/16)",
        ),
        (
            "10.0.0.0/33",
            "entry \"10.0.0.0/33\" is not a valid IPv4 CIDR (e.g. 10.0.0.0/16)",
        ),
        (
            "10.0.0.0/+8",
            "entry \"10.0.0.0/+8\" is not a valid IPv4 CIDR (e.g. 10.0.0.0/16)",
        ),
        (
            "'fd00::/8'",
            "entry \"fd00::/8\" is not a valid IPv4 CIDR (IPv6 not supported)",
        ),
        (
            "10.1.2.3/8",
            "entry \"10.1.2.3/8\" is not canonical; use \"10.0.0.0/8\" instead",
        ),
        (
            "10.0.0.0/8, 10.0.0.0/8",
            "contains duplicate entry: 10.0.0.0/8",
        ),
    ] {
        let found = web_error(&format!("nlb: [{{port: 1, allow_cidr: [{networks}]}}]"));
        assert!(
            found.ends_with(&format!("{context}{message}")),
            "{message}\nnot in {found}"
        );
    }
    assert!(
        errors("services: {web: {nlb: [{port: 1, allow_cidr: x}]}}")
            .to_string()
            .contains("allow_cidr must be a list, not text")
    );
}
