//! One test per fixture of the racks' own test suites, with manifests of our own that exercise the
//! same things.

use manifest::{Build, Deployment, Health, Manifest, Port, Scale, Variable, Volume};

use crate::support::{env, error, errors, errors_with, load, load_with};

/// Every shape of every key at once.
pub(crate) const FULL: &str = "
environment:
  - STAGE=dev
  - REGION
resources:
  main-db:
    type: postgres
    options:
      storage: 50
      version: 12.5
  sessions:
    type: redis
x-limits: &limits
  scale:
    count: 2
    memory: 128
services:
  front:
    build:
      path: front
      manifest: Dockerfile.front
      args: [MODE=fast]
    command: serve --log ${LEVEL} --all
    domain:
      - one.example
      - two.example
    environment:
      - STAGE=prod
      - TOKEN
    health:
      path: /up
      interval: 20
      timeout: 3
    port: https:4443
    resources:
      - main-db
      - sessions
    scale: 3-10
    sticky: false
    test: make ${WHAT} test
  back:
    \"<<\": *limits
    command: [bin/back, --fast]
    domain: three.example, four.example
    health: /ping
    image: registry.example/back:7
    internal: true
    links: [front]
    port: {port: 5000, scheme: grpc}
    volumes: [/cache, \"shared:/shared\"]
  none:
  watcher:
    agent:
      ports: [8125/udp, 9000]
    privileged: true
    scale: 0
  single:
    build: single
    scale:
      count: {min: 1, max: 4}
      cooldown: {up: 10, down: 20}
      cpu: 512
      memory: 1024
      targets:
        cpu: 60
        custom:
          AWS/SQS/Depth: {aggregate: max, value: 5}
    singleton: true
timers:
  nightly:
    command: bin/nightly
    schedule: \"0 3 * * ? *\"
    service: back
";

pub(crate) const FULL_ENV: [(&str, &str); 3] = [("REGION", "eu"), ("TOKEN", "t"), ("OTHER", "x")];

#[test]
fn full() {
    let manifest = load_with(FULL, &FULL_ENV).manifest;
    assert_eq!(
        manifest.services.keys().collect::<Vec<_>>(),
        ["front", "back", "none", "watcher", "single"]
    );
    let default = |name: &str, value: &str| Variable::Default(name.to_owned(), value.to_owned());
    let required = |name: &str| Variable::Required(name.to_owned());

    let front = &manifest.services["front"];
    assert_eq!(
        front.build,
        Build {
            path: "front".to_owned(),
            dockerfile: "Dockerfile.front".to_owned(),
            args: vec!["MODE=fast".to_owned()],
        }
    );
    assert_eq!(
        front.command.as_deref().expect("a command"),
        ["sh", "-c", "serve --log  --all"]
    );
    assert_eq!(front.domains, ["one.example", "two.example"]);
    assert_eq!(
        front.environment,
        [
            default("STAGE", "dev"),
            required("REGION"),
            default("STAGE", "prod"),
            required("TOKEN"),
        ]
    );
    assert_eq!(
        front.environment_for(&env(&FULL_ENV)),
        env(&[("REGION", "eu"), ("STAGE", "prod"), ("TOKEN", "t")])
    );
    assert_eq!(
        front.health,
        Health {
            path: "/up".to_owned(),
            grace: 20,
            interval: 20,
            timeout: 3,
            disable: false,
            port: None,
            grpc: false,
        }
    );
    let port = |scheme: &str, port| {
        Some(Port {
            scheme: scheme.to_owned(),
            port,
        })
    };
    assert_eq!(front.port, port("https", 4443));
    assert_eq!(front.resources.len(), 2);
    let scale = |min, max, cpu, memory| Scale {
        min,
        max,
        cpu,
        memory,
        cpu_limit: None,
        memory_limit: None,
    };
    assert_eq!(front.scale, scale(3, 10, 256, 512));
    assert!(!front.sticky);
    assert_eq!(front.test.as_deref(), Some("make  test"));

    let back = &manifest.services["back"];
    assert_eq!(back.build, Build::default());
    assert_eq!(back.image.as_deref(), Some("registry.example/back:7"));
    assert_eq!(
        back.command.as_deref().expect("a command"),
        ["bin/back", "--fast"]
    );
    assert_eq!(back.domains, ["three.example", "four.example"]);
    assert_eq!(back.health.path, "/ping");
    assert!(back.internal && back.sticky);
    assert_eq!(back.links, ["front"]);
    assert_eq!(back.port, port("grpc", 5000));
    assert_eq!(back.scale, scale(2, 2, 256, 128));
    let volume = |source: &str, path: &str| Volume {
        source: source.to_owned(),
        path: path.to_owned(),
    };
    assert_eq!(
        back.volumes,
        [volume("/cache", "/cache"), volume("shared", "/shared")]
    );

    let none = &manifest.services["none"];
    assert_eq!(none.build.path, ".");
    assert_eq!(none.scale, scale(1, 1, 256, 512));
    assert_eq!(
        none.environment,
        [default("STAGE", "dev"), required("REGION")]
    );

    let watcher = &manifest.services["watcher"];
    assert!(watcher.agent && watcher.privileged);
    assert_eq!(watcher.scale, scale(0, 0, 256, 512));
    let stop_first = Deployment {
        minimum: 0,
        maximum: 100,
    };
    assert_eq!(watcher.deployment, stop_first);

    let single = &manifest.services["single"];
    assert_eq!(single.scale, scale(1, 4, 512, 1024));
    assert_eq!(single.deployment, stop_first);

    let database = &manifest.resources["main-db"];
    assert_eq!(database.kind, "postgres");
    assert_eq!(
        database.options,
        env(&[("storage", "50"), ("version", "12.5")])
    );
    assert_eq!(manifest.timers["nightly"].service, "back");
}

#[test]
fn full_without_environment_names_what_is_required() {
    assert_eq!(errors(FULL).to_string(), "required env: REGION, TOKEN");
}

#[test]
fn simple() {
    let text = "services:\n  web:\n    build: .\n    environment:\n      - MUST\n      - MAY=1\n";
    assert_eq!(errors(text).to_string(), "required env: MUST");
    let web = &load_with(text, &[("MUST", "x")]).manifest.services["web"];
    assert_eq!(
        web.environment_for(&env(&[("MUST", "x")])),
        env(&[("MAY", "1"), ("MUST", "x")])
    );
}

#[test]
fn the_caller_s_variables_are_not_touched() {
    let text = "services:\n  web:\n    environment: [MUST]\n";
    let before = env(&[("MUST", "x"), ("OTHER", "y")]);
    let given = before.clone();
    Manifest::load(text, &given).expect("loads");
    assert_eq!(given, before);
}

#[test]
fn defaults_do_not_leak_between_services() {
    let text = "
environment:
  - LEVEL=info
services:
  in:
    environment: [QUEUE=${PREFIX}in]
  out:
    environment: [QUEUE=${PREFIX}out]
";
    let services = load(text).manifest.services;
    for (name, queue) in [("in", "in"), ("out", "out")] {
        assert_eq!(
            services[name].environment_for(&env(&[])),
            env(&[("LEVEL", "info"), ("QUEUE", queue)])
        );
    }
}

#[test]
fn invalid_1_a_scalar_document() {
    assert!(error("notamanifest\n").contains("a manifest must be a map, not text"));
}

#[test]
fn invalid_2_a_misspelt_top_level_key_loads_with_no_services() {
    let loaded = load("servics:\n  web:\n    build: .\n");
    assert!(loaded.manifest.services.is_empty());
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("did you mean services?"))
    );
}

#[test]
fn invalid_3_a_resource_with_nothing_behind_it() {
    assert!(error("resources:\n  db:\n").contains("resource type can not be blank"));
}

#[test]
fn invalid_4_an_underscore_in_a_service_name() {
    assert_eq!(
        error("services:\n  my_web:\n    build: .\n"),
        "convox.yml:2:3: service name my_web invalid, \
         must contain only lowercase alphanumeric and dashes"
    );
}

#[test]
fn builder_an_image_beside_a_build_and_another_dockerfile() {
    let text = "
services:
  proxy: {image: httpd, port: 80}
  app: {build: {path: ., manifest: Dockerfile2}, port: 80}
";
    let services = load(text).manifest.services;
    assert_eq!(services["proxy"].image.as_deref(), Some("httpd"));
    assert_eq!(services["app"].build.dockerfile, "Dockerfile2");
}

#[test]
fn equal_recipes_are_equal() {
    let text = "
services:
  a: {build: .}
  b: {build: {path: .}}
  c: {build: {manifest: Dockerfile}}
  d:
  e: {build: {args: [A=1]}}
";
    let services = load(text).manifest.services;
    for name in ["b", "c", "d"] {
        assert_eq!(services[name].build, services["a"].build, "{name}");
    }
    assert_ne!(services["e"].build, services["a"].build);
}

#[test]
fn v3_full() {
    let text = "
appSettings: {awsLogs: {cwRetention: 7}}
balancers:
  tcp:
    service: web
    ports:
      5000: 3001
      5001: {protocol: TCP, port: 3002}
    whitelist: 10.0.0.0/8
configs: [{id: c, name: c, value: v}]
labels: {team: core}
resources:
  db: {type: postgres, image: postgres:15}
services:
  web:
    annotations: [a=b=c, {d: e}]
    build: .
    certificate: {id: x}
    configMounts: [{id: c, dir: /etc, filename: c}]
    dnsConfig: {ndots: 2}
    grpcHealthEnabled: true
    health: {path: /up, port: 4000, disable: true}
    init: false
    initContainer: {command: x}
    ingressAnnotations: [a=b]
    internalRouter: true
    lifecycle: {preStop: sleep 1}
    liveness: {path: /live, interval: 3}
    nodeSelectorLabels: {a: b}
    port: grpc:3000
    ports: [2000, 3000/udp]
    resources: ['db:MAIN_URL']
    scale: {count: 1-3, gpu: {count: 1, vendor: nvidia}, limit: {cpu: 500}}
    securityContext: {runAsUser: 1}
    startupProbe: {path: /up}
    termination: {grace: 45}
    timeout: 10
    tls: {redirect: false}
    volumeOptions: [{emptyDir: {id: v, mountPath: /v}}]
    whitelist: 10.0.0.0/8
timers:
  a: {command: x, schedule: '*/1 * * * ?', service: web, concurrency: forbid, parallelCount: 2}
  b: {command: x, schedule: '*/1 * * * *', service: web, annotations: [a=b]}
  c: {command: x, schedule: '*/1 * * * ? *', service: web}
";
    let loaded = load(text);
    let web = &loaded.manifest.services["web"];
    assert_eq!(web.ports, [2000]);
    assert_eq!((web.scale.min, web.scale.max), (1, 3));
    assert_eq!(
        (web.grace, web.timeout, web.redirect, web.init),
        (45, 10, false, false)
    );
    assert!(web.health.disable);
    assert_eq!(web.resources[0].variable.as_deref(), Some("MAIN_URL"));
    assert_eq!(
        loaded.manifest.resources["db"].image.as_deref(),
        Some("postgres:15")
    );
    assert_eq!(loaded.manifest.timers.len(), 3);
    for warning in &loaded.warnings {
        assert!(warning.message.ends_with("has no effect here"), "{warning}");
    }
}

#[test]
fn v3_validate_collects_every_error() {
    let text = "
resources:
  Bad_One: {type: redis}
  blank: {}
services:
  Web: {build: .}
  api:
    deployment: {minimum: 150, maximum: 50}
    resources: [gone]
timers:
  Tick_Tock: {command: x, schedule: '* * * * *', service: api}
  lost: {command: x, schedule: '* * * * *', service: nowhere}
";
    let messages: Vec<_> = errors(text).iter().map(|e| e.message.clone()).collect();
    assert_eq!(
        messages,
        [
            "resource name Bad_One invalid, must contain only lowercase alphanumeric and dashes",
            "resource type can not be blank",
            "service name Web invalid, must contain only lowercase alphanumeric and dashes",
            "service api deployment minimum can not be greater than 100",
            "service api deployment maximum can not be less than 100",
            "service api references a resource that does not exist: gone",
            "timer name Tick_Tock invalid, must contain only lowercase alphanumeric and dashes",
            "timer lost references a service that does not exist: nowhere",
        ]
    );
}

#[test]
fn v3_extensions_of_scale_load() {
    for (scale, count) in [
        (
            "{min: 1, max: 5, keda: {triggers: [{type: cron, metadata: {a: b}}]}}",
            (1, 5),
        ),
        (
            "{min: 0, max: 5, autoscale: {gpuUtilization: {threshold: 70}}, gpu: 1}",
            (0, 5),
        ),
        ("{count: 1-5, autoscale: {queue: {length: 5}}}", (1, 5)),
        ("{count: 2, vpa: {updateMode: Auto}}", (2, 2)),
    ] {
        let loaded = load(&format!("services: {{web: {{scale: {scale}}}}}"));
        let web = &loaded.manifest.services["web"].scale;
        assert_eq!((web.min, web.max), count, "{scale}");
        assert!(!loaded.warnings.is_empty(), "{scale}");
    }
}

#[test]
fn v3_budgets_load() {
    let loaded =
        load("budget: {monthlyCapUsd: 5, atCapAction: auto-shutdown}\nservices: {web: }\n");
    assert_eq!(
        loaded.warnings[0].to_string(),
        "convox.yml:1:1: budget of the manifest has no effect here"
    );
}

#[test]
fn praxis_services() {
    let text = "
keys: {master: {roll: 30d}}
queues: {jobs: {timeout: 1m}}
tables: {users: {indexes: [email]}}
workflows: {change: {create: [build]}}
services:
  api:
    port: https:3000
    health: {path: /check, interval: 10, timeout: 3}
    scale: 3-10
  proxy:
    port: {port: 3000, scheme: http}
    scale: {count: 2, memory: 256}
";
    let loaded = load(text);
    assert_eq!(loaded.manifest.services["api"].scale.max, 10);
    assert_eq!(loaded.manifest.services["proxy"].scale.memory, 256);
    assert_eq!(loaded.warnings.len(), 4);
}

#[test]
fn a_pasted_value_may_add_keys() {
    let text = "services:\n  web:\n    ${MORE}\n";
    let services = load_with(text, &[("MORE", "port: 80\n    drain: 7")])
        .manifest
        .services;
    assert_eq!(services["web"].drain, 7);
    let errors = errors_with(text, &[("MORE", "port: [")]);
    assert_eq!(errors.iter().count(), 1);
}
