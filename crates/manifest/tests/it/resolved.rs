//! The resolved manifest: every default filled in, and a manifest that means the same.

use manifest::Manifest;

use crate::fixtures::{FULL, FULL_ENV};
use crate::support::{env, load, load_with};

#[test]
fn every_default_is_filled_in() {
    let loaded = load_with(
        "
environment: [STAGE=dev]
resources:
  database: {type: postgres, options: {version: 10.0}}
services:
  web:
    command: bin/web --port ${PORT}
    port: 3000
    resources: [database]
timers:
  clean: {command: bin/clean, schedule: '0 3 * * ?', service: web}
balancers:
  tcp: {service: web, ports: {80: 3000}}
",
        &[("PORT", "3000")],
    );
    let expected = "\
resources:
  database:
    type: postgres
    options:
      version: \"10.0\"
services:
  web:
    build:
      path: \".\"
      manifest: Dockerfile
    command: bin/web --port 3000
    environment:
      - STAGE=dev
    resources:
      - database
    port: http:3000
    health:
      path: /
      interval: 5
      grace: 5
      timeout: 4
      disable: false
    internal: false
    internalAndExternal: false
    timeout: 60
    sticky: true
    tls:
      redirect: false
    scale:
      count: 1
      cpu: 256
      memory: 512
    deployment:
      minimum: 50
      maximum: 200
    agent: false
    singleton: false
    drain: 30
    termination:
      grace: 30
    init: false
    privileged: false
timers:
  clean:
    schedule: \"0 3 * * ?\"
    command: bin/clean
    service: web
    concurrency: allow
    parallelCount: 1
balancers:
  tcp:
    service: web
    ports:
      80:
        protocol: TCP
        port: 3000
";
    assert_eq!(loaded.manifest.resolved().to_string(), expected);
}

/// Everything the language has, in one manifest.
const EVERYTHING: &str = "
labels: {team: core, number: 12}
configs:
  - {id: app, value: 'a: ${X}'}
  - {id: other, name: cfg-elsewhere, value: \"two\\nlines\\n\"}
resources:
  db: {type: mariadb, image: 'mariadb:10.11', options: {version: '10.11', storage: 20}}
services:
  web:
    image: registry.example/web:1
    imagePullSecrets:
      - {registry: registry.example, username: u, passwordEnv: PW}
    agent: false
    certificate: {id: c}
    command: [web, '--x', '']
    configMounts: [{id: app, dir: /etc/app/, filename: app.yml}, {id: other, dir: /, filename: o}]
    deployment: {minimum: 10, maximum: 150}
    domain: a.example, b.example
    drain: 3
    environment: [A, B=, 'C=x y', '*', A=1]
    health: {path: up, port: 'https:9000', interval: 7}
    init: true
    initContainer:
      image: busybox
      command: echo hi
      volumeOptions: [{emptyDir: {id: tmp, mountPath: /tmp2}}, {awsEfs: {id: e, mountPath: /e}}]
      configMounts: [{id: app, dir: /etc, filename: x}]
    internal: true
    labels: {team: web}
    lifecycle: {preStop: sleep 1, postStart: echo up}
    links: [api]
    liveness: {path: live, port: 9001}
    nlb: [{port: 8443, containerPort: 3000, allow_cidr: [10.0.0.0/8], cross_zone: true}]
    port: https:3000
    ports: [5001, 5002/tcp]
    privileged: yes
    resources: [db, 'db:MAIN_URL']
    scale: {count: 1-3, cpu: 128, memory: 64, limit: {cpu: 500, memory: 128}}
    securityContext:
      runAsUser: 1000
      runAsGroup: 100
      runAsNonRoot: true
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {add: [NET_ADMIN], drop: [ALL]}
      seccompProfile: Unconfined
    singleton: false
    startupProbe: {tcpSocketPort: 3000, failureThreshold: 9}
    sticky: no
    termination: {grace: 0}
    test: make test
    timeout: 9
    tls: {redirect: true}
    volumeOptions:
      - emptyDir: {id: tmp, mountPath: /tmp/x, medium: Memory, sizeLimit: 64Mi}
      - awsEfs: {id: e, mountPath: /efs, accessMode: ReadWriteMany}
      - azureFiles: {id: z, mountPath: /azure, accessMode: ReadWriteMany}
    volumes: [/data, 'shared:/shared']
    whitelist: 10.0.0.0/8, 192.168.0.0/16
  api:
    build: {path: api, manifest: Dockerfile.api, args: [A=1]}
    internalAndExternal: true
    port: 80
timers:
  t: {command: 'x: y', schedule: '*/5 * * * *', service: api, concurrency: Replace, parallelCount: 3}
balancers:
  b: {service: api, ports: {53: {protocol: udp, port: 5353}, 80: 80}, whitelist: [10.0.0.0/8]}
";

#[test]
fn what_is_resolved_is_a_manifest_that_means_the_same() {
    for (text, variables) in [
        (EVERYTHING, &[("X", "${Y} \"q\""), ("A", "")][..]),
        (FULL, &FULL_ENV[..]),
    ] {
        let variables = env(variables);
        let manifest = Manifest::load_without_environment(text, &variables)
            .unwrap_or_else(|errors| panic!("{errors}"))
            .manifest;
        let resolved = manifest.resolved().to_string();
        let again = Manifest::load_without_environment(&resolved, &variables)
            .unwrap_or_else(|errors| panic!("{errors}\nin:\n{resolved}"))
            .manifest;
        assert_eq!(again, manifest, "{resolved}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let text = "services: {web: {image: x, imagePullSecrets: \
                [{registry: r, username: u, password: hunter2}]}}";
    let manifest = load(text).manifest;
    let resolved = manifest.resolved().to_string();
    assert!(!resolved.contains("hunter2"), "{resolved}");
    assert!(resolved.contains("password: \"****\""), "{resolved}");
    assert!(!format!("{manifest:?}").contains("hunter2"));
}

#[test]
fn nothing_is_an_empty_map() {
    assert_eq!(load("").manifest.resolved().to_string(), "{}\n");
}
