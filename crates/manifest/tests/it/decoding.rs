//! Keys with more than one shape: every shape they take, and what they refuse.

use manifest::resource_variable_prefix;

use crate::support::{env, load, web, web_error};

#[test]
fn port() {
    for (body, expected) in [
        ("port: 3000", Some(("http", 3000))),
        ("port: \"3000\"", Some(("http", 3000))),
        ("port: https:3000", Some(("https", 3000))),
        ("port: HTTPS:443", Some(("https", 443))),
        ("port: grpc:50051", Some(("grpc", 50051))),
        ("port: secure-grpc:50051", Some(("secure-grpc", 50051))),
        ("port: http:3000:4000", Some(("http", 3000))),
        ("port: :3000", Some(("http", 3000))),
        ("port: {port: 3000}", Some(("http", 3000))),
        ("port: {port: 3000, scheme: https}", Some(("https", 3000))),
        ("port: {port: https:3000}", Some(("https", 3000))),
        ("port: {port: \"3000\"}", Some(("http", 3000))),
        ("port: 65535", Some(("http", 65535))),
        ("port: 0", None),
        ("port:", None),
        ("port: ${UNSET}", None),
    ] {
        let port = web(body).port;
        let found = port.as_ref().map(|port| (port.scheme.as_str(), port.port));
        assert_eq!(found, expected, "{body}");
    }
    for (body, message) in [
        ("port: 3000/http", "3:11: invalid port: 3000/http"),
        ("port: 65536", "3:11: invalid port: 65536"),
        ("port: -1", "3:11: invalid port: -1"),
        ("port: 80.5", "3:11: invalid port: 80.5"),
        ("port: true", "3:11: invalid port: true"),
        ("port: [80]", "3:11: invalid port: a list"),
        ("port: http:web", "3:11: invalid port: http:web"),
        ("port: \"\"", "3:11: invalid port: "),
        (
            "port: {scheme: https}",
            "3:11: could not parse port: the map has no port",
        ),
        ("port: {port: [1]}", "3:18: invalid port: a list"),
    ] {
        let error = web_error(body);
        assert!(
            error.starts_with(&format!("convox.yml:{message}")),
            "{body}: {error}"
        );
    }
}

#[test]
fn further_ports() {
    assert_eq!(
        web("ports: [5001, 5002/tcp, \"5003\"]").ports,
        [5001, 5002, 5003]
    );
    assert_eq!(web("port: 80\nports: [80, 81, 81, 82/udp]").ports, [81]);
    for body in [
        "ports: [x]",
        "ports: [0]",
        "ports: [1/sctp]",
        "ports: [70000]",
    ] {
        assert!(web_error(body).contains("invalid port: "), "{body}");
    }
    assert!(web_error("ports: 80").contains("ports must be a list, not a number"));
}

#[test]
fn command() {
    for (body, expected) in [
        (
            "command: bin/web -p 80",
            Some(vec!["sh", "-c", "bin/web -p 80"]),
        ),
        ("command: \"\"", Some(vec!["sh", "-c", ""])),
        (
            "command: [bin/web, -p, \"80\"]",
            Some(vec!["bin/web", "-p", "80"]),
        ),
        ("command:\n- bin/web\n", Some(vec!["bin/web"])),
        ("command: []", None),
        ("command:", None),
        ("command: >-\n  a\n  b", Some(vec!["sh", "-c", "a b"])),
    ] {
        let command = web(body).command;
        let found = command
            .as_ref()
            .map(|words| words.iter().map(String::as_str).collect());
        assert_eq!(found, expected, "{body}");
    }
    assert_eq!(
        web_error("command: [bin/web, 80]"),
        "convox.yml:3:24: unknown type for service command: a number (quote it: \"80\")"
    );
    assert_eq!(
        web_error("command: true"),
        "convox.yml:3:14: unknown type for service command: a boolean (quote it: \"true\")"
    );
    assert!(web_error("command: {a: b}").contains("unknown type for service command: a map"));
    assert!(web_error("command: [[a]]").contains("unknown type for service command: a list"));
}

#[test]
fn build() {
    for (body, what) in [
        ("build: [.]", "a list"),
        ("build: true", "a boolean"),
        ("build: 1", "a number"),
    ] {
        let error = web_error(body);
        assert!(
            error.starts_with(&format!(
                "convox.yml:3:12: unknown type for service build: {what}"
            )),
            "{error}"
        );
    }
    assert!(web_error("build: {args: A=1}").contains("build.args must be a list, not text"));
}

#[test]
fn health() {
    for (body, what) in [("health: [/]", "a list"), ("health: 5", "a number")] {
        let error = web_error(&format!("port: 80\n{body}"));
        assert!(
            error.starts_with(&format!(
                "convox.yml:4:13: unknown type for service health: {what}"
            )),
            "{error}"
        );
    }
}

#[test]
fn domain() {
    for (body, expected) in [
        ("domain: a.example", vec!["a.example"]),
        (
            "domain: a.example,b.example",
            vec!["a.example", "b.example"],
        ),
        (
            "domain: [a.example, \" B.example \", \"\"]",
            vec!["a.example", "b.example"],
        ),
        ("domain:\n- a.example", vec!["a.example"]),
        ("domain: ${HOST}", vec![]),
        ("domain: \"${HOST}\"", vec![]),
    ] {
        assert_eq!(web(body).domains, expected, "{body}");
    }
    assert!(web_error("domain: 5").contains("unknown type for service domain: a number"));
    assert!(web_error("domain: [5]").contains("unknown type for service domain: a number"));
    assert!(web_error("domain: {a: b}").contains("unknown type for service domain: a map"));
}

#[test]
fn agent() {
    for (body, expected) in [
        ("agent: true", true),
        ("agent: yes", true),
        ("agent: off", false),
        ("agent:", false),
        ("agent: {}", true),
        ("agent: {ports: [5000, 5001/udp]}", true),
        ("agent: {enabled: true}", true),
        ("agent: {enabled: false}", false),
    ] {
        assert_eq!(web(body).agent, expected, "{body}");
    }
    for (body, quoted) in [
        ("agent: \"yes\"", "yes"),
        ("agent: 1", "1"),
        ("agent: [a]", "a list"),
    ] {
        assert_eq!(
            web_error(body),
            format!("convox.yml:3:12: could not parse agent: {quoted} (write true or false)")
        );
    }
}

#[test]
fn scale() {
    for (body, min, max) in [
        ("scale: 3", 3, 3),
        ("scale: \"3\"", 3, 3),
        ("scale: 1-5", 1, 5),
        ("scale: {count: 3}", 3, 3),
        ("scale: {count: 3-10}", 3, 10),
        ("scale: {count: \"3\"}", 3, 3),
        ("scale: {count: {min: 1, max: 5}}", 1, 5),
        ("scale: {count: {min: \"1\", max: \"5\"}}", 1, 5),
        ("scale: {count: {min: 2}}", 2, 2),
        ("scale: {count: {max: 4}}", 1, 4),
        ("scale: {count: {}}", 0, 0),
        ("scale: {count:}", 0, 0),
        ("scale: {count: 0, cpu: 512}", 0, 0),
        ("scale: {min: 2, max: 4}", 2, 4),
        ("scale: {min: 2}", 2, 2),
        ("scale: {count: 1, min: 2, max: 4}", 1, 1),
        ("scale: {memory: 64}", 1, 1),
        ("scale: {cooldown: \"30\"}", 1, 1),
        ("scale: {cooldown: {up: 10}}", 1, 1),
        ("scale: {targets: {custom: {A/B: {aggregate: sum}}}}", 1, 1),
    ] {
        let scale = web(body).scale;
        assert_eq!((scale.min, scale.max), (min, max), "{body}");
    }
    for (body, message) in [
        ("scale: {count: x}", "3:20: invalid scale: x"),
        ("scale: {count: [1]}", "3:20: invalid scale: a list"),
        ("scale: {count: {min: x}}", "3:26: invalid scale: x"),
        (
            "scale: {count: {min: 5, max: 1}}",
            "3:20: invalid scale: 5-1",
        ),
        ("scale: {min: 5, max: 1}", "3:18: invalid scale: 5-1"),
        (
            "scale: {cpu: \"256\"}",
            "3:18: scale.cpu must be a whole number from 0, not 256",
        ),
        (
            "scale: {memory: -1}",
            "3:21: scale.memory must be a whole number from 0, not -1",
        ),
        ("scale: {cooldown: x}", "3:23: invalid cooldown: x"),
        (
            "scale: {cooldown: {up: [1]}}",
            "3:28: invalid cooldown: a list",
        ),
        (
            "scale: {targets: {custom: {A/B: {aggregate: median}}}}",
            "3:49: unknown metric statistic: median",
        ),
        ("scale: 99999999999", "3:12: invalid scale: 99999999999"),
    ] {
        let error = web_error(body);
        assert!(
            error.starts_with(&format!("convox.yml:{message}")),
            "{body}: {error}"
        );
    }
}

#[test]
fn lists_of_text_take_nothing_else() {
    for key in ["links", "resources", "volumes"] {
        let error = web_error(&format!("{key}: db"));
        assert!(
            error.contains(&format!("{key} must be a list, not text")),
            "{error}"
        );
        let error = web_error(&format!("{key}: [{{a: b}}]"));
        assert!(
            error.contains(&format!("entries of {key} must be text, not a map")),
            "{error}"
        );
    }
}

#[test]
fn flags_take_booleans_only() {
    for key in [
        "init",
        "internal",
        "internalAndExternal",
        "privileged",
        "singleton",
        "sticky",
    ] {
        for value in ["\"yes\"", "1", "maybe", "[true]"] {
            let error = web_error(&format!("{key}: {value}"));
            assert!(
                error.contains(&format!("{key} must be true or false, not ")),
                "{error}"
            );
        }
    }
}

#[test]
fn volumes() {
    let volumes =
        web("volumes: [/data, 'cache:/var/cache', '/run/x.sock:/x.sock', 'a:/b:ro']").volumes;
    let found: Vec<_> = volumes
        .iter()
        .map(|volume| (volume.source.as_str(), volume.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("/data", "/data"),
            ("cache", "/var/cache"),
            ("/run/x.sock", "/x.sock"),
            ("a", "/b")
        ]
    );
    let text = "services:\n  web:\n    image: x\n    volumes: ['/var/run/docker.sock:/var/run/docker.sock', /proc/, '/data']\n";
    let loaded = load(text);
    let warned: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warned,
        [
            "convox.yml:4:15: volume /var/run/docker.sock:/var/run/docker.sock is left out: files of the host are not mounted here",
            "convox.yml:4:60: volume /proc/ is left out: files of the host are not mounted here",
        ]
    );
    let volumes = &loaded.manifest.services["web"].volumes;
    assert_eq!(volumes.len(), 1, "{volumes:?}");
    for body in [
        "volumes: [data]",
        "volumes: ['a:b']",
        "volumes: [':/b']",
        "volumes: [\"\"]",
    ] {
        assert!(web_error(body).contains("invalid volume: "), "{body}");
    }
}

#[test]
fn resources_of_a_service() {
    let manifest = load(
        "
resources:
  db: {type: postgres}
  my-cache: {type: redis}
services:
  web:
    resources: [db, 'my-cache:CACHE_URL']
",
    )
    .manifest;
    let links: Vec<_> = manifest.services["web"]
        .resources
        .iter()
        .map(|link| (link.name.as_str(), link.variable.as_deref()))
        .collect();
    assert_eq!(links, [("db", None), ("my-cache", Some("CACHE_URL"))]);
    assert_eq!(resource_variable_prefix("my-cache"), "MY_CACHE");
    assert_eq!(resource_variable_prefix("db"), "DB");
}

#[test]
fn options_of_a_resource() {
    let loaded = load(
        "
resources:
  db:
    type: postgres
    image: postgres:16
    options:
      version: 9.60
      storage: 200
      durable: yes
      encrypted: no
      y: 012
      text: \"10.0\"
      tagged: !!str 10.0
      empty:
",
    );
    let resource = &loaded.manifest.resources["db"];
    assert_eq!(resource.image.as_deref(), Some("postgres:16"));
    assert_eq!(
        resource.options,
        env(&[
            ("version", "9.60"),
            ("storage", "200"),
            ("durable", "true"),
            ("encrypted", "false"),
            ("y", "012"),
            ("text", "10.0"),
            ("tagged", "10.0"),
            ("empty", ""),
        ])
    );
    let messages: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert!(messages.contains(&"racks read the option 9.60 as 9.6; quote it"));
    assert!(messages.contains(&"racks read the option 012 as 10; quote it"));
    let error = crate::support::error("resources: {db: {type: postgres, options: {a: [b]}}}");
    assert!(
        error.contains("option a must be text, not a list"),
        "{error}"
    );
}

#[test]
fn texts_of_other_types_are_their_spelling() {
    let service = web("image: 1.50\ntest: 5");
    assert_eq!(service.image.as_deref(), Some("1.50"));
    assert_eq!(service.test.as_deref(), Some("5"));
}

#[test]
fn order_is_the_order_of_the_file() {
    let manifest = load(
        "
services: {zeta: , alpha: , mid: }
resources: {z: {type: redis}, a: {type: redis}}
",
    )
    .manifest;
    assert_eq!(
        manifest.services.keys().collect::<Vec<_>>(),
        ["zeta", "alpha", "mid"]
    );
    assert_eq!(manifest.resources.keys().collect::<Vec<_>>(), ["z", "a"]);
}

#[test]
fn merge_keys_plain_and_quoted() {
    for key in ["<<", "\"<<\"", "'<<'"] {
        let text = format!(
            "
x-base: &base
  port: 80
  scale: 3
x-more: &more
  scale: 4
  drain: 9
services:
  one:
    {key}: *base
  two:
    scale: 2
    {key}: *base
  three:
    {key}: [*base, *more]
"
        );
        let services = load(&text).manifest.services;
        let found: Vec<_> = services
            .values()
            .map(|s| (s.port.as_ref().map(|p| p.port), s.scale.min, s.drain))
            .collect();
        assert_eq!(
            found,
            [(Some(80), 3, 30), (Some(80), 2, 30), (Some(80), 3, 9)],
            "{key}"
        );
    }
    let error = crate::support::error("services:\n  web:\n    <<: 5\n");
    assert!(
        error.starts_with("convox.yml:3:9: << merges maps only, not a number"),
        "{error}"
    );
}

#[test]
fn written_keys_win_over_merged_ones_at_every_level() {
    let text = "
x-options: &options {version: 1, storage: 1}
x-services: &services
  web: {port: 1}
  api: {port: 1}
services:
  <<: *services
  web: {port: 2}
resources:
  db:
    type: postgres
    options:
      version: 2
      <<: [*options, {storage: 3}]
";
    let manifest = load(text).manifest;
    let ports: Vec<_> = manifest
        .services
        .values()
        .map(|service| service.port.as_ref().expect("a port").port)
        .collect();
    assert_eq!(ports, [2, 1]);
    assert_eq!(
        manifest.resources["db"].options,
        env(&[("storage", "1"), ("version", "2")])
    );
}

#[test]
fn merged_presence_counts_as_presence() {
    let text = "x: &x\n  scale:\nservices:\n  web:\n    <<: *x\n";
    assert_eq!(load(text).manifest.services["web"].scale.min, 0);
}

#[test]
fn networks_that_may_come() {
    assert_eq!(
        web("whitelist: 10.0.0.0/8, ::1/128").whitelist,
        ["10.0.0.0/8", "::1/128"]
    );
    assert_eq!(web("whitelist: [10.0.0.0/8]").whitelist, ["10.0.0.0/8"]);
    let error = web_error("whitelist: 10.0.0.0");
    assert!(
        error.ends_with("service web whitelist 10.0.0.0 is not a valid cidr range"),
        "{error}"
    );
}
