//! Warnings: what a manifest says in vain.

use crate::support::{load, warnings};

#[test]
fn a_good_manifest_has_none() {
    let text = "
x-base: &base
  build: .
  x-note: anything
environment: [LOG=info]
resources:
  database: {type: postgres, options: {version: 16}}
services:
  web:
    <<: *base
    port: 3000
    health: /check
    environment: [PORT=3000]
    resources: [database]
    scale: {count: 2, cpu: 128, memory: 256}
timers:
  tick: {command: bin/tick, schedule: '*/5 * * * *', service: web}
";
    assert_eq!(load(text).warnings, []);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (text, expected) in [
        (
            "servicess: {}",
            "1:1: unknown key servicess in the manifest is ignored; did you mean services?",
        ),
        (
            "services:\n  web:\n    comand: x\n",
            "3:5: unknown key comand in a service is ignored; did you mean command?",
        ),
        (
            "services:\n  web:\n    cpu: 256\n",
            "3:5: unknown key cpu in a service is ignored; did you mean scale.cpu?",
        ),
        (
            "services:\n  web:\n    wibble: 1\n",
            "3:5: unknown key wibble in a service is ignored",
        ),
        (
            "services:\n  web:\n    build: {dockerfile: x}\n",
            "3:13: unknown key dockerfile in build is ignored; did you mean manifest?",
        ),
        (
            "services:\n  web:\n    port: 1\n    health: {pathh: /}\n",
            "4:14: unknown key pathh in health is ignored; did you mean path?",
        ),
        (
            "services:\n  web:\n    scale: {cont: 1}\n",
            "3:13: unknown key cont in scale is ignored; did you mean count?",
        ),
        (
            "resources:\n  db: {type: redis, version: 7}\n",
            "2:21: unknown key version in a resource is ignored; did you mean options.version?",
        ),
    ] {
        let found = warnings(text);
        let expected = format!("convox.yml:{expected}");
        assert!(found.contains(&expected), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn keys_without_effect_are_reported_once() {
    let text = "
balancers: {lb: {service: web, ports: {80: 3000}}}
params: {A: b}
services:
  web:
    policies: [a]
    annotations: [a=b]
  api:
    policies: [a]
    scale: {count: 1, targets: {cpu: 50}}
  job:
    scale: {count: 1, targets: {cpu: 50}}
";
    assert_eq!(
        warnings(text),
        [
            "convox.yml:2:1: balancers of the manifest has no effect here",
            "convox.yml:3:1: params of the manifest has no effect here",
            "convox.yml:6:5: policies of a service has no effect here",
            "convox.yml:7:5: annotations of a service has no effect here",
            "convox.yml:10:23: targets of scale has no effect here",
        ]
    );
}

#[test]
fn quirks_of_racks_are_reported() {
    for (body, expected) in [
        (
            "image: a\nbuild: .",
            "4:5: build is ignored: image is used instead",
        ),
        ("health: /x", "3:5: health has no effect without a port"),
        (
            "liveness: {path: /x}",
            "3:5: liveness has no effect without a port",
        ),
        (
            "port: 80\nhealth: {interval: \"10\"}",
            "4:24: health.interval 10 is ignored: it must be a number",
        ),
        (
            "port: http:80:81",
            "3:11: only the first number of port http:80:81 counts",
        ),
        (
            "volumes: ['a:/b:ro']",
            "3:15: the option of volume a:/b:ro is ignored; racks take it for path",
        ),
        ("timeout: 0", "3:14: timeout 0 is read as 60"),
        (
            "environment: [PORT: 3000]",
            "3:19: an entry of environment that is a map is ignored; write - PORT=3000",
        ),
        (
            "environment: [5]",
            "3:19: 5 in environment is ignored: only text declares a variable; quote it",
        ),
        (
            "environment: ['=x']",
            "3:19: =x in environment is ignored: it has no name",
        ),
        (
            "environment: ['A =x']",
            "3:19: A =x in environment has a space at the start or end of its name",
        ),
        (
            "ports: [53/udp]",
            "3:5: a udp port in ports of a service has no effect here",
        ),
        (
            "command: ${A:-b}",
            "3:14: ${A:-b} has no default: there is no such syntax, the whole of it is the name",
        ),
        (
            "command: ${}x",
            "3:14: ${} is not the name of a variable, so it becomes empty text",
        ),
    ] {
        let found = warnings(&crate::support::manifest_of_web(body));
        let expected = format!("convox.yml:{expected}");
        assert!(found.contains(&expected), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn a_missing_brace_that_swallows_lines_is_reported() {
    let text = "services:\n  web:\n    command: echo ${A\n    test: ${B}\n";
    let found = warnings(text);
    assert!(
        found[0].starts_with("convox.yml:3:19: ${A     test: ${B} is not the name"),
        "{found:?}"
    );
}

#[test]
fn odd_names_in_comments_are_nobody_s_business() {
    assert_eq!(
        warnings("# ${A:-b}\nservices:\n  web:\n    # ${}\n    port: 80\n"),
        [""; 0]
    );
}

#[test]
fn one_domain_of_two_services_is_reported() {
    let text = "
services:
  web: {port: 80, domain: a.example}
  api: {port: 80, domain: A.example}
";
    assert_eq!(
        warnings(text),
        ["convox.yml:4:19: services web and api have the same domain; one gets it"]
    );
}

#[test]
fn a_manifest_without_services_loads() {
    for text in [
        "",
        "# nothing\n",
        "~",
        "services:\n",
        "services: {}\n",
        "---\n",
    ] {
        let loaded = load(text);
        assert!(loaded.manifest.services.is_empty(), "{text:?}");
        assert_eq!(loaded.warnings.len(), 1, "{text:?}");
    }
}
