//! The conformance cases that were verified against v2 racks, one test per row.

use manifest::{Manifest, Variable};

use crate::support::{env, error, errors, load, load_with, web, web_with};

#[test]
fn a_global_default_does_not_satisfy_a_bare_key_of_a_service() {
    let text = "
environment: [FOO, BAR=1]
services:
  web:
    environment: [FOO, BAR]
";
    assert_eq!(errors(text).to_string(), "required env: BAR, FOO, FOO");
}

#[test]
fn a_wildcard_gives_everything_to_one_service_only() {
    let text = "
services:
  all:
    environment: ['*', ZED=9]
  one:
    environment: [FOO]
";
    let pairs = [("FOO", "1"), ("BAR", "2")];
    let manifest = load_with(text, &pairs).manifest;
    assert_eq!(
        manifest.services["all"].environment_for(&env(&pairs)),
        env(&[("BAR", "2"), ("FOO", "1"), ("ZED", "9")])
    );
    assert_eq!(
        manifest.services["one"].environment_for(&env(&pairs)),
        env(&[("FOO", "1")])
    );
}

#[test]
fn nested_lists_are_flattened_and_what_is_not_text_is_dropped() {
    let service = web("environment: [[X=1, Y=2], 12, {PORT: 3000}]");
    assert_eq!(
        service.environment,
        [
            Variable::Default("X".to_owned(), "1".to_owned()),
            Variable::Default("Y".to_owned(), "2".to_owned()),
        ]
    );
}

#[test]
fn scale_depends_on_what_is_literally_present() {
    for (body, count) in [
        ("port: 80", 1),
        ("scale:", 0),
        ("scale: ~", 0),
        ("scale: {}", 0),
        ("scale: {count: 2}", 2),
        ("scale: {cpu: 512}", 1),
        ("scale: {cooldown: 30}", 1),
        ("scale: 0", 0),
    ] {
        let scale = web(body).scale;
        assert_eq!((scale.min, scale.max), (count, count), "{body}");
    }
}

#[test]
fn an_explicit_deployment_minimum_of_zero_is_kept() {
    let deployment = web("deployment: {minimum: 0}").deployment;
    assert_eq!((deployment.minimum, deployment.maximum), (0, 200));
}

#[test]
fn a_drain_of_zero_is_the_default_but_a_grace_of_zero_is_kept() {
    let service = web("drain: 0\ntermination: {grace: 0}");
    assert_eq!((service.drain, service.grace), (30, 0));
}

#[test]
fn a_health_timeout_is_at_least_one_second() {
    let health = web("port: 80\nhealth: {interval: 1}").health;
    assert_eq!((health.interval, health.grace, health.timeout), (1, 1, 1));
}

#[test]
fn an_agent_that_is_switched_off_stays_off_with_a_warning() {
    let loaded = load("services:\n  web:\n    agent: {enabled: false}\n");
    assert!(!loaded.manifest.services["web"].agent);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "convox.yml:3:12: agent is off here, as written; v2 racks switch it on for any map"
    );
}

#[test]
fn an_unset_quoted_command_is_empty_and_an_unset_bare_one_is_the_image_s() {
    assert_eq!(
        web("command: \"${X}\"").command.expect("a command"),
        ["sh", "-c", ""]
    );
    assert_eq!(web("command: ${X}").command, None);
    assert_eq!(
        web_with("command: ${X}", &[("X", "bin/web")])
            .command
            .expect("a command"),
        ["sh", "-c", "bin/web"]
    );
}

#[test]
fn options_keep_the_spelling_of_numbers() {
    let manifest = load("resources: {db: {type: postgres, options: {version: 10.0}}}").manifest;
    assert_eq!(
        manifest.resources["db"].options,
        env(&[("version", "10.0")])
    );
}

#[test]
fn two_services_of_one_name_are_refused() {
    assert_eq!(
        error("services:\n  web: {port: 1}\n  api:\n  web: {port: 2}\n"),
        "convox.yml:4:3: duplicate key web (the first one is on line 2; keep one of them)"
    );
}

#[test]
fn a_boolean_key_of_a_service_is_refused() {
    for key in ["true", "yes", "on", "n", "y"] {
        assert_eq!(
            error(&format!("services:\n  {key}:\n    port: 80\n")),
            format!(
                "convox.yml:2:3: unknown key type: bool (YAML reads {key} as a boolean; quote it)"
            )
        );
    }
    assert!(
        load("services: {'y': {}}")
            .manifest
            .services
            .contains_key("y")
    );
}

#[test]
fn a_line_break_interpolated_into_a_comment_is_an_error() {
    let text = "services:\n  web:\n    port: 80 # ${NOTE}\n    scale: 1\n";
    let errors = crate::support::errors_with(text, &[("NOTE", "a\nb")]);
    let error = errors.iter().next().expect("an error");
    assert_eq!(
        error.hint.as_deref(),
        Some("the value of NOTE on line 3 may be what breaks the YAML")
    );
}

#[test]
fn a_service_named_by_a_number_has_a_wrong_name() {
    let message = error("services:\n  1:\n    port: 80\n");
    assert!(
        message.starts_with(
            "convox.yml:2:3: service name 1 invalid, \
             must contain only lowercase alphanumeric and dashes"
        ),
        "{message}"
    );
}

#[test]
fn a_schedule_that_is_none_is_refused_in_the_words_of_a_promote() {
    let text = "
services:
  web:
timers:
  tick:
    command: bin/tick
    schedule: bad
    service: web
";
    assert_eq!(
        error(text),
        "convox.yml:7:15: invalid schedule expression: bad \
         (timer tick needs five cron fields, as in */5 * * * *)"
    );
}

#[test]
fn a_port_in_a_port_map_may_carry_the_scheme() {
    let port = web("port: {port: https:3000}").port.expect("a port");
    assert_eq!((port.scheme.as_str(), port.port), ("https", 3000));
}

#[test]
fn a_singleton_is_stopped_before_it_is_started() {
    let deployment = web("singleton: true").deployment;
    assert_eq!((deployment.minimum, deployment.maximum), (0, 100));
}

#[test]
fn internal_and_external_is_internal_yet_reachable() {
    let service = web("port: 80\ninternalAndExternal: true");
    assert!(service.internal);
    assert!(service.reachable_from_outside());
    assert!(!web("port: 80\ninternal: true").reachable_from_outside());
    assert!(web("port: 80").reachable_from_outside());
    assert!(!web("drain: 5").reachable_from_outside());
}

#[test]
fn domains_are_split_trimmed_and_never_empty() {
    assert_eq!(
        web("port: 80\ndomain: \" a.example , ,b.example \"").domains,
        ["a.example", "b.example"]
    );
}

#[test]
fn an_open_range_fails_as_on_racks() {
    for scale in [
        "1+", "1-2-3", "1.5", "5-1", "true", "-1", "\"-\"", "[1]", "\"\"",
    ] {
        let message = crate::support::web_error(&format!("scale: {scale}"));
        assert!(
            message.starts_with("convox.yml:3:12: invalid scale: "),
            "{scale}: {message}"
        );
    }
}

#[test]
fn without_environment_a_value_that_is_wrong_for_want_of_a_variable_is_no_error() {
    let text = "
resources:
  db:
    type: ${TYPE}
services:
  web:
    port: \"${PORT}\"
    scale: \"${COUNT}\"
    volumes: [\"${DATA}\"]
    resources: [\"${DB}\", db]
timers:
  tick:
    command: ${COMMAND}
    schedule: ${SCHEDULE}
    service: ${SERVICE}
";
    let refused = errors(text);
    let places: Vec<_> = refused.iter().map(|error| error.line).collect();
    assert_eq!(places, [7, 8, 9], "{refused}");
    for error in &refused {
        let hint = error.hint.as_deref().unwrap_or_default();
        assert!(hint.ends_with(" is not set"), "{error}");
    }

    let loaded = Manifest::load_without_environment(text, &env(&[])).expect("loads");
    assert_eq!(loaded.manifest.services["web"].resources.len(), 2);
    let shown: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    for expected in [
        "convox.yml:4:9: resource type can not be blank: TYPE is not set",
        "convox.yml:7:11: invalid port: ${PORT}: PORT is not set",
        "convox.yml:8:12: invalid scale: ${COUNT}: COUNT is not set",
    ] {
        assert!(
            shown.iter().any(|warning| warning == expected),
            "{expected}\nnot in {shown:#?}"
        );
    }

    // A name is needed in any case, and a value that is set is judged as ever.
    for (text, pairs) in [
        ("services: {\"${NAME}\": {}}", vec![]),
        (
            "services: {web: {scale: \"${COUNT}\"}}",
            vec![("COUNT", "")],
        ),
        (
            "services: {web: {scale: \"${COUNT}\"}}",
            vec![("COUNT", "x")],
        ),
    ] {
        let loaded = Manifest::load_without_environment(text, &env(&pairs));
        assert!(loaded.is_err(), "{text}");
    }
}

#[test]
fn without_environment_everything_else_is_still_checked() {
    let text = "services:\n  web:\n    environment: [KEY]\n";
    let loaded = Manifest::load_without_environment(text, &env(&[])).expect("loads");
    assert_eq!(loaded.manifest.missing_environment(&env(&[])), ["KEY"]);
    let bad = "services:\n  web:\n    environment: [KEY]\n    resources: [db]\n";
    let errors = Manifest::load_without_environment(bad, &env(&[])).expect_err("no such resource");
    assert!(!errors.is_missing_environment());
}
