//! What version 3 says of containers: configs, directories, init containers, hooks, logins,
//! rights, startup probes, labels (`convox-yml.md` §9.2, §16).

use manifest::{
    ConfigMount, EmptyDirectory, PullPassword, Security, StartupCheck, StartupProbe, Volume,
};

use crate::support::{error, errors, load, manifest_of_web, warnings, web, web_error};

/// The message of the one error of a service `web`, without its place and hint.
fn message(body: &str) -> String {
    let errors = errors(&manifest_of_web(body));
    assert_eq!(errors.iter().count(), 1, "{errors}\nin {body}");
    errors.iter().next().expect("one").message.clone()
}

#[test]
fn configs_are_mounted_by_their_id() {
    let text = "
configs:
  - {id: app, value: 'a: 1'}
  - {id: set, name: cfg-elsewhere}
  - {id: empty, value: ''}
services:
  web:
    configMounts:
      - {id: app, dir: /etc/app/, filename: app.yml}
      - {id: set, dir: /, filename: set}
";
    let loaded = load(text);
    assert_eq!(loaded.warnings, []);
    let configs = &loaded.manifest.configs;
    let keys: Vec<_> = configs.iter().map(manifest::Config::key).collect();
    assert_eq!(keys, ["app", "elsewhere", "empty"]);
    let values: Vec<_> = configs
        .iter()
        .map(|config| config.value.as_deref())
        .collect();
    assert_eq!(values, [Some("a: 1"), None, Some("")]);
    let mounts = &loaded.manifest.services["web"].config_mounts;
    assert_eq!(
        mounts[0],
        ConfigMount {
            id: "app".into(),
            directory: "/etc/app".into(),
            file: "app.yml".into(),
        }
    );
    let paths: Vec<_> = mounts.iter().map(ConfigMount::path).collect();
    assert_eq!(paths, ["/etc/app/app.yml", "/set"]);

    for (text, expected) in [
        ("configs: [{value: x}]", "configs[*].id is required"),
        (
            "configs: [{id: a}, {id: a}]",
            "config id: 'a' is there twice",
        ),
        ("configs: {a: b}", "configs must be a list, not a map"),
        (
            "configs: [a]",
            "an entry of configs must be a map, not text",
        ),
    ] {
        let found = error(&format!("{text}\nservices: {{web: {{}}}}"));
        assert!(found.contains(expected), "{found}");
    }
    let mounts = |text: &str| {
        error(&format!(
            "configs: [{{id: a}}]\nservices: {{web: {{configMounts: [{text}]}}}}"
        ))
    };
    for (text, expected) in [
        ("{dir: /x, filename: y}", "configMounts[*].id is required"),
        ("{id: a, filename: y}", "configMounts[*].dir is required"),
        ("{id: a, dir: /x}", "configMounts[*].filename is required"),
        ("{id: b, dir: /x, filename: y}", "config id: 'b' not found"),
        (
            "{id: a, dir: x, filename: y}",
            "configMounts[*].dir is no absolute path: x",
        ),
        (
            "{id: a, dir: /x/../y, filename: y}",
            "configMounts[*].dir is no absolute path: /x/../y",
        ),
        (
            "{id: a, dir: /x, filename: y/z}",
            "configMounts[*].filename is no file name: y/z",
        ),
    ] {
        let found = mounts(text);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn directories_go_with_their_process_and_volumes_of_clouds_stay() {
    let service = web(
        "volumes: [/data]\nvolumeOptions:\n- emptyDir: {id: tmp, mountPath: /tmp/x/, medium: Memory, sizeLimit: 64Mi}\n\
         - emptyDir: {id: disk, mountPath: /disk}\n- awsEfs: {id: shared, mountPath: /efs, accessMode: ReadWriteMany}",
    );
    assert_eq!(
        service.directories,
        [
            EmptyDirectory {
                id: "tmp".into(),
                path: "/tmp/x".into(),
                memory: true,
                size: Some(64 << 20),
            },
            EmptyDirectory {
                id: "disk".into(),
                path: "/disk".into(),
                memory: false,
                size: None,
            },
        ]
    );
    let volume = |source: &str, path: &str| Volume {
        source: source.into(),
        path: path.into(),
    };
    assert_eq!(
        service.volumes,
        [volume("/data", "/data"), volume("awsefs-shared", "/efs")]
    );
    for (text, expected) in [
        ("emptyDir: {mountPath: /x}", "emptyDir.id is required"),
        ("emptyDir: {id: a}", "emptyDir.mountPath is required"),
        (
            "emptyDir: {id: a, mountPath: /}",
            "emptyDir.mountPath can not be /",
        ),
        (
            "emptyDir: {id: a, mountPath: /x, medium: Disk}",
            "emptyDir.medium's allowed values: Memory",
        ),
        (
            "emptyDir: {id: a, mountPath: /x, medium: Memory, sizeLimit: big}",
            "emptyDir.sizeLimit is not a valid quantity: big",
        ),
        (
            "emptyDir: {id: a, mountPath: /x, medium: Memory, sizeLimit: 99999999999Ti}",
            "emptyDir.sizeLimit is not a valid quantity: 99999999999Ti",
        ),
        (
            "awsEfs: {id: a, mountPath: /x, accessMode: All}",
            "awsEfs.accessMode must be one of these values: ReadOnlyMany, ReadWriteMany, ReadWriteOnce",
        ),
        ("azureFiles: {id: a}", "azureFiles.mountPath is required"),
        (
            "other: {id: a}",
            "an entry of volumeOptions names no kind of volume",
        ),
    ] {
        assert_eq!(message(&format!("volumeOptions: [{{{text}}}]")), expected);
    }
}

#[test]
fn logins_have_one_password() {
    let service = web(
        "image: a\nimagePullSecrets:\n- {registry: box.example, username: u, passwordEnv: PW}\n\
         - {registry: other.example, username: v, password: hunter2}",
    );
    assert_eq!(
        service.pull_secrets[0].password,
        PullPassword::Variable("PW".into())
    );
    assert!(!format!("{service:?}").contains("hunter2"));
    for (text, expected) in [
        (
            "{registry: a, username: u}",
            "service web imagePullSecrets[0]: one of password and passwordEnv is required",
        ),
        (
            "{registry: a, username: u, password: p, passwordEnv: P}",
            "service web imagePullSecrets[0]: only one of password and passwordEnv is required",
        ),
        (
            "{username: u, password: p}",
            "service web imagePullSecrets[0]: registry and username are required",
        ),
        (
            "{registry: a, username: u, password: p}, {registry: A, username: u, password: p}",
            "service web imagePullSecrets[1]: duplicate registry \"A\"; each registry may be declared \
             at most once per service",
        ),
    ] {
        assert_eq!(message(&format!("imagePullSecrets: [{text}]")), expected);
    }
}

#[test]
fn rights_are_what_racks_allow() {
    let service = web(
        "securityContext: {runAsUser: 1000, runAsGroup: 50, readOnlyRootFilesystem: true, \
         allowPrivilegeEscalation: false, capabilities: {add: [NET_ADMIN], drop: [ALL]}}",
    );
    assert_eq!(
        service.security,
        Security {
            user: Some(1000),
            group: Some(50),
            non_root: false,
            read_only: true,
            no_escalation: true,
            add: vec!["NET_ADMIN".into()],
            drop: vec!["ALL".into()],
            unconfined: false,
        }
    );
    assert_eq!(web("securityContext: {}").security, Security::default());
    for (text, expected) in [
        (
            "runAsNonRoot: true, runAsUser: 0",
            "service web: securityContext: runAsNonRoot=true is incompatible with runAsUser=0",
        ),
        (
            "seccompProfile: Localhost",
            "service web: securityContext.seccompProfile: \"Localhost\" is not a supported value; \
             allowed: RuntimeDefault, Unconfined",
        ),
        (
            "capabilities: {add: [CAP_CHOWN]}",
            "service web: securityContext.capabilities.add: \"CAP_CHOWN\" must not include CAP_ prefix",
        ),
        (
            "capabilities: {drop: [chown]}",
            "service web: securityContext.capabilities.drop: \"chown\" is not a valid capability name \
             (expected uppercase letters, digits, underscores)",
        ),
        (
            "runAsUser: me",
            "securityContext.runAsUser must be a whole number from 0, not me",
        ),
    ] {
        assert_eq!(message(&format!("securityContext: {{{text}}}")), expected);
    }
}

#[test]
fn startup_probes_inherit_from_the_liveness_check() {
    let startup = |text: &str| web(&format!("port: 80\n{text}")).startup;
    assert_eq!(
        startup("startupProbe: {path: up, interval: 3}"),
        Some(StartupProbe {
            check: StartupCheck::Path("/up".into()),
            grace: 0,
            interval: 3,
            timeout: 5,
            failures: 3,
        })
    );
    assert_eq!(
        startup(
            "liveness: {path: /live, grace: 7, interval: 8, timeout: 9, failureThreshold: 10}\n\
             startupProbe: {tcpSocketPort: '9000', failureThreshold: 4}"
        ),
        Some(StartupProbe {
            check: StartupCheck::Port(9000),
            grace: 7,
            interval: 8,
            timeout: 9,
            failures: 4,
        })
    );
    assert_eq!(startup("startupProbe: {interval: 3}"), None);
    assert!(web_error("port: 80\nstartupProbe: {tcpSocketPort: x}").contains("invalid port: x"));
    let service = web(
        "port: 80\nports: [81, 80]\nhealth: {port: 90}\nliveness: {path: /, port: 'https:91'}\n\
         startupProbe: {tcpSocketPort: 92}",
    );
    assert_eq!(service.reached_ports(), [80, 81, 90, 91, 92]);
    assert_eq!(
        service
            .liveness
            .and_then(|check| check.port)
            .map(|port| port.scheme),
        Some("https".into())
    );
}

#[test]
fn checks_may_have_a_port_of_three_forms() {
    for form in ["9000", "http:9000", "{port: 9000, scheme: http}"] {
        let service = web(&format!("port: 80\nhealth: {{path: /up, port: {form}}}"));
        let port = service.health.port.expect("a port");
        assert_eq!((port.scheme.as_str(), port.port), ("http", 9000), "{form}");
    }
    assert!(web_error("port: 80\nhealth: {port: x}").contains("invalid port: x"));
}

#[test]
fn labels_of_a_service_win_and_those_of_racks_are_reserved() {
    let loaded = load(
        "labels: {team: core, stage: dev}\nservices: {web: {labels: {team: web, n: 7, on: yes, none: }}, api: {}}",
    );
    let labels = |service: &str| -> Vec<String> {
        let labels = &loaded.manifest.services[service].labels;
        labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    };
    assert_eq!(labels("api"), ["stage=dev", "team=core"]);
    assert_eq!(
        labels("web"),
        ["n=7", "none=", "on=true", "stage=dev", "team=web"]
    );
    for key in [
        "system",
        "rack",
        "app",
        "name",
        "service",
        "release",
        "type",
        "twinrack.app",
    ] {
        for text in [
            format!("labels: {{{key}: x}}\nservices: {{web: {{}}}}"),
            format!("services: {{web: {{labels: {{{key}: x}}}}}}"),
        ] {
            let found = error(&text);
            assert!(
                found.contains(&format!("reserved label key '{key}' is not allowed")),
                "{found}"
            );
        }
    }
    assert!(web_error("labels: {a: [b]}").contains("label a must be text, not a list"));
}

#[test]
fn scaling_by_itself_is_checked_though_nothing_scales_here() {
    let message = |scale: &str| message(&format!("scale: {{{scale}}}"));
    for (scale, expected) in [
        (
            "min: 2, max: 2, autoscale: {queueDepth: {threshold: 5}}",
            "service web: scale.max must be > scale.min when autoscale is enabled (ScaledObject would be a no-op)",
        ),
        (
            "min: 0, max: 0, autoscale: {queueDepth: {threshold: 5}}",
            "service web: scale.max must be >= 1 when autoscale is enabled",
        ),
        (
            "min: 1, max: 5, autoscale: {cpu: {threshold: 101}}",
            "service web: scale.autoscale.cpu.threshold must be between 1 and 100",
        ),
        (
            "min: 1, max: 5, autoscale: {memory: {}}",
            "service web: scale.autoscale.memory.threshold must be between 1 and 100",
        ),
        (
            "min: 1, max: 5, autoscale: {queueDepth: {threshold: 0}}",
            "service web: scale.autoscale.queueDepth.threshold must be > 0",
        ),
        (
            "min: 1, max: 5, autoscale: {gpuUtilization: {threshold: 70}}",
            "service web: scale.autoscale.gpuUtilization requires scale.gpu.count >= 1",
        ),
        (
            "min: 0, max: 5, autoscale: {cpu: {threshold: 50}, custom: [{type: cron}]}",
            "service web: scale.min: 0 combined with only always-active autoscale triggers \
             (cpu/memory/cron) will never scale to zero",
        ),
    ] {
        assert_eq!(message(scale), expected, "{scale}");
    }
    for fine in [
        "{min: 0, max: 5, autoscale: {cpu: {threshold: 50}, custom: [{type: kafka}]}}",
        "{min: 1, max: 5, gpu: {count: 1, vendor: nvidia}, autoscale: {gpuUtilization: {threshold: 70.5}}}",
        "{min: 1, max: 5, gpu: 2, autoscale: {gpuUtilization: {threshold: 70}}}",
        "{min: 2, max: 2, autoscale: {}}",
    ] {
        web(&format!("scale: {fine}"));
    }
    let found = warnings(&manifest_of_web(
        "agent: true\nscale: {count: 1, autoscale: {cpu: {threshold: 500}}}",
    ));
    assert!(
        found
            .iter()
            .any(|line| line.ends_with("service web: an agent is not scaled")),
        "{found:?}"
    );
}

#[test]
fn what_else_racks_refuse() {
    assert_eq!(
        message("port: 80\ninternal: true\ninternalRouter: true"),
        "service web can not have both internal and internalRouter set as true"
    );
    web("port: 80\ninternal: true\ninternalRouter: false");
    assert_eq!(
        message("annotations: [a=b, nothing]"),
        "invalid annotation format: nothing"
    );
    web("annotations: [a=b=c, {d: e}]");
    assert_eq!(
        message("lifecycle: [a]"),
        "lifecycle must be a map, not a list"
    );
}

#[test]
fn forms_of_version_2_that_are_easily_lost() {
    assert_eq!(web("scale: 012").scale.min, 10);
    assert_eq!(web("port: 0o12").port.map(|port| port.port), Some(10));
    let text = "x: &x {type: redis}\ny: &y {command: c, schedule: '* * * * *', service: web}\n\
                resources: {a: {\"<<\": *x}}\nservices: {web: {}}\ntimers: {t: {\"<<\": *y}}\n";
    let manifest = load(text).manifest;
    assert_eq!(manifest.resources["a"].kind, "redis");
    assert_eq!(manifest.timers["t"].command, "c");
    assert_eq!(web("scale: ${N}").scale.min, 0);
}
