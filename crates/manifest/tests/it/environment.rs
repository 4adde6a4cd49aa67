//! Declared variables and what a release makes of them.

use manifest::{Manifest, Variable};

use crate::support::{env, errors_with, load_with, web};

#[test]
fn forms_of_a_declaration() {
    let service = web("environment: [KEY=, 'EQ=a=b', '*', \"SPACE= x \"]");
    let variable = |name: &str, value: &str| Variable::Default(name.to_owned(), value.to_owned());
    assert_eq!(
        service.environment,
        [
            variable("KEY", ""),
            variable("EQ", "a=b"),
            Variable::All,
            variable("SPACE", " x "),
        ]
    );
}

#[test]
fn a_release_value_wins_over_a_default_and_a_later_default_over_an_earlier() {
    let text = "
environment: [A=global, B=global, C=global]
services:
  web:
    environment: [B=service, C=service]
";
    let service = &load_with(text, &[]).manifest.services["web"];
    assert_eq!(
        service.environment_for(&env(&[("C", "release"), ("UNDECLARED", "x")])),
        env(&[("A", "global"), ("B", "service"), ("C", "release")])
    );
    assert_eq!(
        service.default_environment(),
        env(&[("A", "global"), ("B", "service"), ("C", "service")])
    );
    assert_eq!(service.environment_names(), ["A", "B", "C"]);
}

#[test]
fn a_later_bare_key_takes_no_earlier_default_over() {
    let text = "
environment: [A=global]
services:
  web:
    environment: [A]
";
    let loaded = Manifest::load_without_environment(text, &env(&[])).expect("loads");
    let service = &loaded.manifest.services["web"];
    assert_eq!(service.environment_for(&env(&[])), env(&[]));
    assert_eq!(
        service.environment_for(&env(&[("A", "1")])),
        env(&[("A", "1")])
    );
    assert_eq!(service.default_environment(), env(&[("A", "global")]));
}

#[test]
fn an_empty_release_value_is_a_value() {
    let text = "services: {web: {environment: [KEY, OTHER=default]}}";
    let release = [("KEY", ""), ("OTHER", "")];
    let service = &load_with(text, &release).manifest.services["web"];
    assert_eq!(service.environment_for(&env(&release)), env(&release));
}

#[test]
fn the_first_service_that_lacks_variables_gives_the_list() {
    let text = "
services:
  web:
    environment: [ZED, ALPHA]
  worker:
    environment: [OTHER]
";
    let errors = errors_with(text, &[]);
    assert_eq!(errors.to_string(), "required env: ALPHA, ZED");
    assert!(errors.is_missing_environment());
    let error = errors.iter().next().expect("an error");
    assert_eq!((error.line, error.column), (3, 3));
    assert_eq!(
        error.hint.as_deref(),
        Some("service web needs ALPHA, ZED; service worker needs OTHER")
    );
    assert_eq!(
        errors_with(text, &[("ZED", ""), ("ALPHA", "")]).to_string(),
        "required env: OTHER"
    );
}

#[test]
fn missing_variables_of_all_services_once_each() {
    let text = "
environment: [SHARED]
services:
  web: {environment: [B, A]}
  worker: {environment: [B, C=1]}
";
    let loaded = Manifest::load_without_environment(text, &env(&[])).expect("loads");
    assert_eq!(
        loaded.manifest.missing_environment(&env(&[])),
        ["A", "B", "SHARED"]
    );
    assert_eq!(
        loaded
            .manifest
            .missing_environment(&env(&[("A", "1"), ("SHARED", "1")])),
        ["B"]
    );
    assert_eq!(
        loaded.manifest.services["web"].environment_for(&env(&[("A", "1")])),
        env(&[("A", "1")])
    );
}

#[test]
fn globals_are_required_only_where_there_is_a_service() {
    assert!(
        load_with("environment: [KEY]\n", &[])
            .manifest
            .services
            .is_empty()
    );
}

#[test]
fn only_a_list_declares_variables() {
    for (value, what) in [("{A: 1}", "a map"), ("A=1", "text"), ("5", "a number")] {
        let errors = errors_with(&format!("environment: {value}\nservices: {{web: }}\n"), &[]);
        assert_eq!(
            errors.to_string(),
            format!(
                "convox.yml:1:14: environment must be a list, not {what} \
                 (write each variable as - KEY or - KEY=default)"
            )
        );
    }
}

#[test]
fn interpolation_reads_variables_that_are_not_declared() {
    let text = "
# ${IGNORED}
services:
  web:
    domain: ${HOST}
    command: make ${TARGET} test
    ${KEY}: 3000
";
    let pairs = [("HOST", "a.example"), ("KEY", "port")];
    let service = &load_with(text, &pairs).manifest.services["web"];
    assert_eq!(service.domains, ["a.example"]);
    assert_eq!(
        service.command.as_deref().expect("a command")[2],
        "make  test"
    );
    assert_eq!(service.port.as_ref().expect("a port").port, 3000);
    assert!(service.environment_for(&env(&pairs)).is_empty());
}

#[test]
fn interpolation_knows_one_form_only() {
    let service = web("command: '$A $$ ${A:-x}y $${A}z ${open'");
    assert_eq!(service.command.expect("a command")[2], "$A $$ y $z ${open");
}

#[test]
fn what_looks_like_a_default_can_be_the_name_of_a_variable() {
    let text = "services: {web: {command: \"${A:-x}\"}}";
    let service = &load_with(text, &[("A:-x", "odd")]).manifest.services["web"];
    assert_eq!(service.command.as_deref().expect("a command")[2], "odd");
}
