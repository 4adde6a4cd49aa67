//! Errors: their place in the file as written, their words, and what they must not reveal.

use manifest::Manifest;

use crate::support::{error, errors, errors_with, load_with, web_error};

#[test]
fn syntax_errors_have_their_place() {
    for (text, expected) in [
        ("services:\n\tweb:\n", "2:2: tabs disallowed"),
        ("services:\n  web: {port: 'a\n", "2:15: unclosed quote"),
        ("services:\n  web: *base\n", "2:8: alias without an anchor"),
        (
            "x: &x [*x]\n",
            "1:8: an anchor cannot contain its own alias",
        ),
        (
            "services: {}\n---\nservices: {}\n",
            "3:1: a manifest is one YAML document",
        ),
        (
            "services:\n  [a]: b\n",
            "2:3: a key must be plain text, not a list",
        ),
        ("hello\n", "1:1: a manifest must be a map, not text"),
        ("- a\n", "1:1: a manifest must be a map, not a list"),
        (
            "services: [web]\n",
            "1:11: services must be a map, not a list",
        ),
        ("services: web\n", "1:11: services must be a map, not text"),
        (
            "services:\n  web: x\n",
            "2:8: service web must be a map, not text",
        ),
        ("timers: 5\n", "1:9: timers must be a map, not a number"),
    ] {
        let message = error(text);
        assert!(
            message.starts_with(&format!("convox.yml:{expected}")),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn usual_slips_come_with_what_to_do() {
    for (text, expected) in [
        (
            "services:\n\tweb:\n",
            "convox.yml:2:2: tabs disallowed within this context (block indentation) \
             (indent with spaces)",
        ),
        (
            "services:\n  web:\n    port: 80\n   scale: 2\n",
            "convox.yml:4:4: while parsing a block mapping, did not find expected key \
             (check that the line is indented like the ones above it)",
        ),
        (
            "services:\n  web:\n    command: echo: hi\n",
            "convox.yml:3:18: mapping values are not allowed in this context \
             (check the indentation, and quote text with a colon in it)",
        ),
        (
            "services:\n  web:\n    domain: *.example\n",
            "convox.yml:3:13: alias without an anchor \
             (define it above with &NAME, or quote text that starts with * or &)",
        ),
        (
            "services:\n  web:\n    environment:\n    - *\n",
            "convox.yml:4:7: while scanning an anchor or alias, did not find expected alphabetic \
             or numeric character (quote text that starts with * or &)",
        ),
        (
            "services:\n  web:\n    command: [a\n    port: 80\n",
            "(close the bracket above, or quote text with a colon in it)",
        ),
        (
            "services:\n  web:\n    scale: {count: 2\n  api:\n    port: 80\n",
            "(close the bracket, or add a comma)",
        ),
        (
            "services:\n  web:\n    command: 'a' b\n",
            "(quote all of the text)",
        ),
        (
            "services:\n  web:\n    command: \"a\n",
            "convox.yml:3:14: unclosed quote (close it, or quote all of the text)",
        ),
        (
            "services:\n  web:\n    command: @a\n",
            "(quote text that starts with it)",
        ),
        (
            "services:\n  web:\n    links: - api\n",
            "(put the first dash on a line of its own)",
        ),
    ] {
        let message = error(text);
        assert!(message.contains(expected), "{expected}\nnot in {message}");
    }
}

#[test]
fn columns_count_characters_and_lines_count_as_editors_do() {
    for text in [
        "services:\n  web: {test: é, port: ö}\n",
        "services:\r\n  web: {test: é, port: ö}\r\n",
        "\u{feff}services:\n  web: {test: é, port: ö}\n",
    ] {
        let errors = errors(text);
        let error = errors.iter().next().expect("an error");
        assert_eq!((error.line, error.column), (2, 24), "{text:?}");
        assert_eq!(error.message, "invalid port: ö");
    }
}

#[test]
fn all_errors_are_reported_in_file_order() {
    let text = "
services:
  web:
    port: x
    scale: y
  api:
    agent: z
timers: []
";
    let lines: Vec<_> = errors(text).iter().map(|error| error.line).collect();
    assert_eq!(lines, [4, 5, 7, 8]);
    assert_eq!(errors(text).to_string().lines().count(), 4);
}

#[test]
fn errors_inside_an_anchor_show_the_anchored_text_once() {
    let text = "
x-base: &base
  port: x
services:
  web: *base
  api: *base
";
    assert!(error(text).starts_with("convox.yml:3:9: invalid port: x"));
}

#[test]
fn places_behind_interpolated_text_are_places_in_the_file() {
    let text = "services:\n  ${NAME}: {test: \"${LONG}\", port: x}\n  api:\n    port: y\n";
    let long = "l".repeat(500);
    let errors = errors_with(text, &[("NAME", "web"), ("LONG", &long)]);
    let places: Vec<_> = errors.iter().map(|e| (e.line, e.column)).collect();
    assert_eq!(places, [(2, 36), (4, 11)]);
}

#[test]
fn what_begins_with_an_empty_value_begins_where_it_is_written() {
    assert_eq!(
        web_error("port: ${A}${B}x"),
        "convox.yml:3:11: invalid port: ${A}${B}x (A is not set)"
    );
}

#[test]
fn a_value_with_line_breaks_does_not_move_the_lines_behind_it() {
    let text = "services:\n  web:\n    ${LINES}\n  api:\n    port: y\n";
    let errors = errors_with(text, &[("LINES", "port: 80\n    drain: 5\n    test: x")]);
    let error = errors.iter().next().expect("an error");
    assert_eq!((error.line, error.column), (5, 11));
}

#[test]
fn values_of_variables_are_never_quoted() {
    let secret = "hunter2-hunter2";
    for body in [
        "port: ${X}",
        "port: http:${X}",
        "port: \"${X}\"",
        "scale: ${X}",
        "scale: {count: {min: ${X}}}",
        "scale: {cpu: ${X}}",
        "agent: ${X}",
        "init: ${X}",
        "drain: ${X}",
        "volumes: [\"${X}\"]",
        "resources: [\"${X}\"]",
        "links: [\"${X}\"]",
        "command: [[\"${X}\"]]",
        "${X}: &${X} *${X}",
        "nlb: [{port: ${X}}]",
        "nlb: [{port: 1, protocol: ${X}}]",
        "nlb: [{port: 1, scheme: ${X}}]",
        "nlb: [{port: 1, allow_cidr: [\"${X}\"]}]",
        "nlb: [{port: 1, protocol: tls, certificate: ${X}}]",
        "port: 'a${X}",
        "port: !!int ${X}",
        "port: !${X}!a 5",
    ] {
        let text = crate::support::manifest_of_web(body);
        let errors = errors_with(&text, &[("X", secret)]);
        let shown = format!("{errors}{errors:?}");
        assert!(!shown.contains("hunter2"), "{body}: {shown}");
    }
    let errors = errors_with("services:\n  \"${X}\": {}\n", &[("X", "Hunter2")]);
    assert!(
        errors.to_string().contains("service name ${X} invalid"),
        "{errors}"
    );
}

#[test]
fn warnings_do_not_quote_values_of_variables_either() {
    let text = "
${X}: 1
resources:
  db: {type: redis, options: {version: ${N}}}
services:
  web:
    ${X}: 1
    environment: [\"${X}=\", ${N}, {a: \"${X}\"}, \" ${X}\"]
    port: http:80:${X}
    health: {interval: \"${X}\"}
    volumes: [\"a:/b:${X}\"]
";
    let pairs = [("X", "hunter2"), ("N", "12.340"), (" hunter2", "")];
    let loaded = load_with(text, &pairs);
    assert!(loaded.warnings.len() > 6);
    for warning in &loaded.warnings {
        let shown = warning.to_string();
        assert!(
            !shown.contains("hunter2") && !shown.contains("12.34"),
            "{shown}"
        );
    }
}

#[test]
fn references_must_exist() {
    let text = "
resources:
  cache: {type: redis}
services:
  web:
    resources: [cache, db, 'gone:URL']
    links: [web, api]
timers:
  tick: {command: x, schedule: '* * * * *', service: job}
";
    assert_eq!(
        errors(text).to_string(),
        "convox.yml:6:24: service web references a resource that does not exist: db \
         (resources are cache)\n\
         convox.yml:6:28: service web references a resource that does not exist: gone \
         (resources are cache)\n\
         convox.yml:7:18: service web links to a service that does not exist: api \
         (services are web)\n\
         convox.yml:9:54: timer tick references a service that does not exist: job \
         (services are web)"
    );
}

#[test]
fn names() {
    for kind in ["services", "resources", "timers"] {
        for name in [
            "Web", "web_1", "1web", "-web", "wéb", "web.x", "'web x'", "''",
        ] {
            let text =
                format!("{kind}:\n  {name}: {{type: x, command: x, schedule: '* * * * *'}}\n");
            let errors = errors(&text).to_string();
            let expected = format!("convox.yml:2:3: {} name ", kind.trim_end_matches('s'));
            assert!(
                errors.starts_with(&expected)
                    && errors
                        .contains("invalid, must contain only lowercase alphanumeric and dashes"),
                "{errors}"
            );
        }
    }
}

#[test]
fn resource_types() {
    for body in ["", "{}", "{type: }", "{type: '  '}", "{options: {a: b}}"] {
        let message = error(&format!("resources:\n  db: {body}\n"));
        assert!(
            message.contains(": resource type can not be blank"),
            "{message}"
        );
    }
}

#[test]
fn timers() {
    let timer = |body: &str| {
        error(&format!(
            "services: {{web: }}\ntimers:\n  tick: {{{body}}}\n"
        ))
    };
    assert!(
        timer("command: x, service: web")
            .starts_with("convox.yml:3:3: invalid schedule expression: (timer tick needs")
            || timer("command: x, service: web")
                .starts_with("convox.yml:3:3: invalid schedule expression:  (timer tick needs")
    );
    assert!(timer("schedule: '* * * * *', service: web").contains("timer tick has no command"));
    assert!(timer("schedule: '* * * * *', command: x").contains("timer tick has no service"));
    let ok = crate::support::load(
        "services: {web: }\ntimers: {tick: {schedule: \"0 3 * * ? *\", command: x, service: web}}",
    );
    let timer = &ok.manifest.timers["tick"];
    assert_eq!(
        (
            timer.schedule.as_str(),
            timer.command.as_str(),
            timer.service.as_str()
        ),
        ("0 3 * * ? *", "x", "web")
    );
}

#[test]
fn deployment_percentages_that_cannot_work() {
    assert!(
        web_error("deployment: {minimum: 101}")
            .contains("service web deployment minimum can not be greater than 100")
    );
    assert!(
        web_error("deployment: {maximum: 99}")
            .contains("service web deployment maximum can not be less than 100")
    );
    assert!(web_error("deployment: {minimum: -1}").contains("must be a whole number from 0"));
}

#[test]
fn generation_1_is_refused_in_one_sentence_before_all_others() {
    for text in [
        "web:\n  build: .\n  ports: [80:3000]\n",
        "# a comment\nweb:\n  image: httpd\ndb:\n  image: postgres\n",
        "version: '2'\nservices:\n  web:\n    build: .\n",
        "version: \"2.1\"\nservices:\n  web:\n    image: httpd\n    ports: [80]\n",
        "version: 3\nservices: {web: {image: httpd}}\n",
        "version: '2'\n",
    ] {
        let errors = crate::support::errors(text);
        let first = errors.iter().next().expect("never empty").to_string();
        assert!(
            first.contains("this is a generation 1 manifest (docker-compose.yml)"),
            "{first}"
        );
        for step in errors.iter().skip(1) {
            assert!(step.message.starts_with("to move it: "), "{step}");
        }
    }
}

#[test]
fn generation_1_names_the_steps_of_what_is_in_the_file() {
    let text = "\
version: '2'
services:
  web_app:
    build:
      context: .
      dockerfile: Dockerfile.web
    entrypoint: /init
    environment:
      RACK_ENV: production
    ports:
      - 80:3000
      - 443:3001
      - ${PORT}:${PORT}
    links:
      - db
      - api
    labels:
      - convox.port.443.protocol=tls
      - convox.health.path=/check
      - convox.cron.clean_up=0 3 * * ? bin/clean
      - unrelated=x
    mem_limit: 512000000
    networks: [front]
  api:
    image: httpd
    dockerfile: Dockerfile.api
    labels: {convox.draining.timeout: 60}
  db:
    image: registry.example/convox/postgres:9
networks: {front: {}}
";
    let errors = Manifest::generation1_steps(text);
    let shown = errors.in_file("docker-compose.yml").to_string();
    let expected = "\
docker-compose.yml:1:1: this is a generation 1 manifest (docker-compose.yml), which does not run here (describe the app in a convox.yml with services:)
docker-compose.yml:1:1: to move it: leave version out
docker-compose.yml:3:3: to move it: web_app: names have dashes now: web-app
docker-compose.yml:4:5: to move it: web_app: in build write path for context and manifest for dockerfile
docker-compose.yml:7:5: to move it: web_app: put entrypoint into the Dockerfile, or in front of command
docker-compose.yml:8:5: to move it: web_app: write environment as a list: - KEY=default, or - KEY for one that must be set
docker-compose.yml:11:9: to move it: web_app: write port: 3000 for 80:3000
docker-compose.yml:12:9: to move it: web_app: write ports: [3001] for 443:3001, one routable port is all there is
docker-compose.yml:13:9: to move it: web_app: write the port of the process for ${PORT}:${PORT} as port: PORT
docker-compose.yml:15:9: to move it: web_app: list db in resources in place of links
docker-compose.yml:16:9: to move it: web_app: of the link to api the variable API_URL stays, the others go
docker-compose.yml:18:9: to move it: web_app: label convox.port.443.protocol=tls: write the port of the process and its protocol as port: SCHEME:PORT
docker-compose.yml:19:9: to move it: web_app: label convox.health.path=/check: write it as health: PATH, or as path of health
docker-compose.yml:20:9: to move it: web_app: write label convox.cron.clean_up=0 3 * * ? bin/clean as a timer clean-up with service: web-app, schedule: 0 3 * * ? and its command
docker-compose.yml:22:5: to move it: web_app: write mem_limit as scale: {memory: N}, a number of megabytes
docker-compose.yml:23:5: to move it: web_app: leave networks out: there is no such key
docker-compose.yml:26:5: to move it: api: write dockerfile as build: {manifest: Dockerfile.api}
docker-compose.yml:27:14: to move it: api: label convox.draining.timeout: write it as drain: N
docker-compose.yml:28:3: to move it: db runs postgres: write it as a resource, resources: {db: {type: postgres}}, and list it in resources of the services that use it
docker-compose.yml:30:1: to move it: leave networks out: all of an app see each other, and services name volumes";
    assert_eq!(shown, expected);
    // The same from the loader, which knows values and shows none.
    let env = crate::support::env(&[("PORT", "5432")]);
    let loaded = Manifest::load(text, &env).expect_err("generation 1");
    assert_eq!(loaded.in_file("docker-compose.yml").to_string(), expected);
}

#[test]
fn yaml_that_lacks_a_variable_says_which() {
    for text in [
        "services:\n  web:\n    image: box/web:${TAG}\n",
        "services:\n  web:\n    image: box/web:${TAG}\n    port: 80\n",
    ] {
        let message = error(text);
        assert!(message.ends_with(" (TAG is not set)"), "{message}");
    }
    let message = error("x: ${TAG}\n\n\nservices: [\n");
    assert!(!message.contains("TAG"), "{message}");
}

#[test]
fn any_text_can_be_asked_for_its_steps() {
    for text in ["", "text", "- a\n", "services: {web: {port: 80}}\n"] {
        let shown = Manifest::generation1_steps(text).to_string();
        assert!(shown.contains("this is a generation 1 manifest"), "{shown}");
    }
    let broken = Manifest::generation1_steps("a: [").to_string();
    assert!(broken.starts_with("convox.yml:"), "{broken}");
}

#[test]
fn errors_and_warnings_name_their_file() {
    let errors = crate::support::errors("services: {web: {port: x}}\n");
    assert!(
        errors
            .in_file("other.yml")
            .to_string()
            .starts_with("other.yml:1:24: invalid port: x"),
        "{errors}"
    );
    let loaded = crate::support::load("services: {web: {prot: 1}}\n");
    assert!(
        loaded.warnings[0]
            .in_file("a/b.yml")
            .to_string()
            .starts_with("a/b.yml:1:18: unknown key prot"),
        "{}",
        loaded.warnings[0]
    );
}

#[test]
fn generation_2_is_not_taken_for_generation_1() {
    for text in [
        "version: 2\nservices:\n  web:\n    port: 80\n",
        "version: latest\nservices: {web: }\n",
        "servicess:\n  web:\n    build: .\n",
        "x-web:\n  image: httpd\n",
        "resources:\n  db: {type: postgres}\nweb:\n  image: httpd\n",
    ] {
        crate::support::load(text);
    }
}
