//! What a service is when the manifest says nothing, and what each key says when it says something.

use std::collections::BTreeMap;

use manifest::{
    Build, Concurrency, Deployment, Health, Lifecycle, Liveness, Scale, Security, Service,
};

use crate::support::{load, web, web_error};

#[test]
fn a_service_of_which_nothing_is_said() {
    for text in [
        "services:\n  web:\n",
        "services: {web: {}}",
        "services: {web: ~}",
    ] {
        let loaded = load(text);
        assert_eq!(loaded.warnings, [], "{text}");
        assert_eq!(
            loaded.manifest.services["web"],
            Service {
                name: "web".to_owned(),
                build: Build {
                    path: ".".to_owned(),
                    dockerfile: "Dockerfile".to_owned(),
                    args: Vec::new(),
                },
                image: None,
                command: None,
                environment: Vec::new(),
                port: None,
                ports: Vec::new(),
                nlb: Vec::new(),
                health: Health {
                    path: "/".to_owned(),
                    grace: 5,
                    interval: 5,
                    timeout: 4,
                    disable: false,
                    port: None,
                    grpc: false,
                },
                certificate: None,
                domains: Vec::new(),
                scale: Scale {
                    min: 1,
                    max: 1,
                    cpu: 256,
                    memory: 512,
                    cpu_limit: None,
                    memory_limit: None,
                },
                resources: Vec::new(),
                links: Vec::new(),
                volumes: Vec::new(),
                deployment: Deployment {
                    minimum: 50,
                    maximum: 200,
                },
                drain: 30,
                grace: 30,
                agent: false,
                singleton: false,
                internal: false,
                internal_and_external: false,
                init: false,
                privileged: false,
                sticky: true,
                test: None,
                timeout: 60,
                redirect: false,
                liveness: None,
                whitelist: vec![],
                startup: None,
                config_mounts: Vec::new(),
                directories: Vec::new(),
                init_container: None,
                lifecycle: Lifecycle::default(),
                pull_secrets: Vec::new(),
                security: Security::default(),
                labels: BTreeMap::new(),
            }
        );
    }
}

#[test]
fn build() {
    for (body, path, dockerfile) in [
        ("build: .", ".", "Dockerfile"),
        ("build: app", "app", "Dockerfile"),
        ("build: \"\"", ".", "Dockerfile"),
        ("build: {path: app}", "app", "Dockerfile"),
        ("build: {manifest: Dockerfile.web}", ".", "Dockerfile.web"),
        ("build: {path: app, manifest: Other}", "app", "Other"),
        ("build: {}", ".", "Dockerfile"),
        ("image: httpd", "", ""),
        ("image: \"\"", ".", "Dockerfile"),
    ] {
        let service = web(body);
        assert_eq!(
            (
                service.build.path.as_str(),
                service.build.dockerfile.as_str()
            ),
            (path, dockerfile),
            "{body}"
        );
    }
    assert_eq!(web("build: {args: [A=1, B]}").build.args, ["A=1", "B"]);
}

#[test]
fn deployment() {
    for (body, minimum, maximum) in [
        ("drain: 1", 50, 200),
        ("agent: true", 0, 100),
        ("singleton: true", 0, 100),
        ("agent: false", 50, 200),
        ("deployment: {minimum: 0}", 0, 200),
        ("deployment: {minimum:}", 0, 200),
        ("deployment: {maximum: 150}", 50, 150),
        ("deployment: {maximum: 300}", 50, 300),
        ("deployment:", 50, 200),
        (
            "agent: true\ndeployment: {minimum: 25, maximum: 110}",
            25,
            110,
        ),
    ] {
        assert_eq!(
            web(body).deployment,
            Deployment { minimum, maximum },
            "{body}"
        );
    }
}

#[test]
fn health() {
    for (body, path, grace, interval, timeout) in [
        ("health: /check", "/check", 5, 5, 4),
        ("health: check", "/check", 5, 5, 4),
        ("health: \"\"", "/", 5, 5, 4),
        ("health:", "/", 5, 5, 4),
        ("health: {}", "/", 5, 5, 4),
        ("health: {path: /x}", "/x", 5, 5, 4),
        ("health: {interval: 10}", "/", 10, 10, 9),
        ("health: {interval: 10, grace: 0}", "/", 10, 10, 9),
        ("health: {interval: 0}", "/", 5, 5, 4),
        ("health: {interval: 2}", "/", 2, 2, 1),
        ("health: {interval: 1}", "/", 1, 1, 1),
        ("health: {grace: 60}", "/", 60, 5, 4),
        ("health: {timeout: 30}", "/", 5, 5, 30),
        ("health: {interval: \"10\"}", "/", 5, 5, 4),
        ("health: {path: 5}", "/", 5, 5, 4),
    ] {
        let health = web(&format!("port: 80\n{body}")).health;
        assert_eq!(
            (
                health.path.as_str(),
                health.grace,
                health.interval,
                health.timeout
            ),
            (path, grace, interval, timeout),
            "{body}"
        );
        assert!(!health.disable, "{body}");
    }
    assert!(web("port: 80\nhealth: {disable: true}").health.disable);
}

#[test]
fn scale_sizes() {
    for (body, cpu, memory) in [
        ("scale: 2", 256, 512),
        ("scale: {cpu: 0, memory: 0}", 256, 512),
        ("scale: {cpu: 512}", 512, 512),
        ("scale: {memory: 1024}", 256, 1024),
        ("scale: {memory: 1024.0}", 256, 1024),
    ] {
        let scale = web(body).scale;
        assert_eq!((scale.cpu, scale.memory), (cpu, memory), "{body}");
    }
}

#[test]
fn flags_in_every_spelling_of_yaml_1_1() {
    for spelling in ["true", "True", "yes", "Yes", "on", "ON", "y"] {
        assert!(
            web(&format!("privileged: {spelling}")).privileged,
            "{spelling}"
        );
    }
    for spelling in ["false", "no", "No", "off", "OFF", "n", "~", ""] {
        assert!(
            !web(&format!("privileged: {spelling}")).privileged,
            "{spelling}"
        );
    }
}

#[test]
fn flags() {
    let service = web(
        "init: true\ninternal: true\nprivileged: true\nsingleton: true\nsticky: false\n\
         tls: {redirect: true}",
    );
    assert!(service.init && service.internal && service.privileged && service.singleton);
    assert!(!service.sticky);
    assert!(service.redirect);
    assert!(!web("tls: {redirect: false}").redirect);
    assert!(!web("tls:").redirect);
    assert!(web("sticky:").sticky);
}

#[test]
fn seconds() {
    for (body, drain, grace, timeout) in [
        ("drain: 5", 5, 30, 60),
        ("drain:", 30, 30, 60),
        ("termination: {grace: 5}", 30, 5, 60),
        ("termination: {grace:}", 30, 0, 60),
        ("termination: {}", 30, 30, 60),
        ("timeout: 120", 30, 30, 120),
        ("timeout: 0", 30, 30, 60),
    ] {
        let service = web(body);
        assert_eq!(
            (service.drain, service.grace, service.timeout),
            (drain, grace, timeout),
            "{body}"
        );
    }
}

#[test]
fn limits_bound_what_is_asked_for() {
    let scale = |text: &str| {
        let scale = web(&format!("scale: {{{text}}}")).scale;
        (scale.cpu, scale.memory, scale.cpu_limit, scale.memory_limit)
    };
    assert_eq!(scale("count: 1"), (256, 512, None, None));
    assert_eq!(
        scale("limit: {cpu: 500, memory: 128}"),
        (256, 128, Some(500), Some(128))
    );
    assert_eq!(
        scale("cpu: 100, memory: 64, limit: {memory: 128}"),
        (100, 64, None, Some(128))
    );
    for (text, expected) in [
        (
            "cpu: 2, limit: {cpu: 1}",
            "cpu limit can not be less cpu request",
        ),
        (
            "memory: 2, limit: {memory: 1}",
            "memory limit can not be less memory request",
        ),
    ] {
        let error = web_error(&format!("scale: {{{text}}}"));
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn timers_run_once_and_beside_each_other() {
    let timer = |more: &str| {
        let text = format!(
            "services: {{web: {{image: x}}}}\ntimers: {{t: {{command: x, schedule: '* * * * *', service: web{more}}}}}\n"
        );
        load(&text).manifest.timers["t"].clone()
    };
    assert_eq!(timer("").concurrency, Concurrency::Allow);
    assert_eq!(timer("").parallel, 1);
    assert_eq!(timer(", parallelCount: 3").parallel, 3);
    for (word, expected) in [
        ("ALLOW", Concurrency::Allow),
        ("forbid", Concurrency::Forbid),
        ("Replace", Concurrency::Replace),
    ] {
        let timer = timer(&format!(", concurrency: {word}"));
        assert_eq!(timer.concurrency, expected);
    }
}

#[test]
fn liveness_has_a_path_or_is_none() {
    let liveness = |text: &str| web(&format!("port: 80\nliveness: {text}")).liveness;
    assert_eq!(liveness("{interval: 3}"), None);
    let defaults = Liveness {
        path: "/live".into(),
        grace: 10,
        interval: 5,
        timeout: 5,
        failures: 3,
        port: None,
    };
    assert_eq!(liveness("{path: live}").as_ref(), Some(&defaults));
    let written = "{path: /up, grace: 1, interval: 2, timeout: 3, failureThreshold: 4}";
    assert_eq!(
        liveness(written),
        Some(Liveness {
            path: "/up".into(),
            grace: 1,
            interval: 2,
            timeout: 3,
            failures: 4,
            port: None,
        })
    );
}
