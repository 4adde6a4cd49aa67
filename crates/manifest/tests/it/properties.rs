//! Properties that hold for any text, any manifest and any variables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use manifest::{Manifest, Variable};
use proptest::prelude::*;

use crate::support::env;

/// `times` as many cases as `PROPTEST_CASES` says, or as is usual.
fn cases(times: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: times * usual.cases,
        // Failing cases become tests with a name instead of files beside the source.
        failure_persistence: None,
        ..usual
    }
}

/// What the language is made of, so that random text reaches deep into it.
const TOKENS: &[&str] = &[
    "services:",
    "resources:",
    "timers:",
    "environment:",
    "web:",
    "api:",
    "db:",
    "port:",
    "scale:",
    "count:",
    "min:",
    "max:",
    "health:",
    "path:",
    "interval:",
    "build:",
    "command:",
    "domain:",
    "agent:",
    "enabled:",
    "nlb:",
    "protocol:",
    "allow_cidr:",
    "volumes:",
    "links:",
    "type:",
    "options:",
    "schedule:",
    "service:",
    "deployment:",
    "termination:",
    "grace:",
    "tls:",
    "redirect:",
    "version:",
    "<<:",
    "\"<<\":",
    "&a ",
    "*a",
    "- ",
    "? ",
    "!!str ",
    "!!int ",
    "[",
    "]",
    "{",
    "}",
    ",",
    ": ",
    "#",
    "'",
    "\"",
    "|",
    ">",
    "~",
    "true",
    "no",
    "y",
    "0",
    "1",
    "-1",
    "012",
    "1.5",
    "1e3",
    "65536",
    "1-5",
    "1+",
    "https:3000",
    "5000/udp",
    "KEY",
    "KEY=1",
    "*",
    "${X}",
    "${Y}",
    "${",
    "}",
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    "\n- ",
    "\n---\n",
    "\t",
    "\r\n",
    "é",
    "\u{feff}",
    "\0",
    "postgres",
    "* * * * *",
    "10.0.0.0/8",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(TOKENS), 0..60).prop_map(|tokens| tokens.concat())
}

/// A manifest's skeleton with soup where values go, so that most cases get past the YAML.
fn shaped_soup() -> impl Strategy<Value = String> {
    let value = prop::collection::vec(prop::sample::select(TOKENS), 1..4)
        .prop_map(|tokens| tokens.concat().replace(['\n', '\r'], " "));
    let keys = prop::sample::select(
        &[
            "port",
            "scale",
            "health",
            "build",
            "command",
            "domain",
            "agent",
            "nlb",
            "volumes",
            "environment",
            "resources",
            "deployment",
            "termination",
            "tls",
            "drain",
            "init",
            "ports",
        ][..],
    );
    prop::collection::vec((keys, value), 0..6).prop_map(|entries| {
        let mut text = "services:\n  web:\n".to_owned();
        for (key, value) in entries {
            writeln!(text, "    {key}: {value}").expect("writes to memory");
        }
        text
    })
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn any_text_comes_back_with_places_inside_the_text(
        text in prop_oneof![soup(), shaped_soup(), any::<String>()],
        value in prop_oneof![soup(), any::<String>()],
    ) {
        let lines = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines: Vec<_> = lines.split('\n').collect();
        let inside = |line: usize, column: usize| {
            line == 0
                || lines
                    .get(line - 1)
                    .is_some_and(|text| (1..=text.chars().count() + 1).contains(&column))
        };
        match Manifest::load(&text, &env(&[("X", &value)])) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    prop_assert!(inside(warning.line, warning.column), "{warning}");
                    prop_assert!(!warning.to_string().contains('\n'));
                }
            }
            Err(errors) => {
                prop_assert!(errors.iter().count() > 0);
                for error in &errors {
                    prop_assert!(inside(error.line, error.column), "{error}");
                    prop_assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
    }

    #[test]
    fn no_message_contains_the_value_of_a_variable(
        text in prop_oneof![soup(), shaped_soup()],
        before in prop::sample::select(&["", "a: ", "[", "{", "\"", "'", "\n", "- ", "&", "*", "!", "1", "#"][..]),
        after in prop::sample::select(&["", ": b", "]", "}", "\"", "'", "\n", ",", "!x", "1"][..]),
    ) {
        let value = format!("{before}hunter2{after}");
        let variables = env(&[("X", &value), ("Y", "hunter2")]);
        let shown = match Manifest::load(&text, &variables) {
            Ok(loaded) => format!("{:?}", loaded.warnings),
            Err(errors) => format!("{errors:?}"),
        };
        // Names of required variables are shown, and a value may be pasted as such a name.
        prop_assume!(!shown.contains("required env: "));
        prop_assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn loading_is_a_function_of_text_and_variables(text in shaped_soup(), value in soup()) {
        let variables = env(&[("X", &value)]);
        prop_assert_eq!(Manifest::load(&text, &variables), Manifest::load(&text, &variables));
    }
}

/// A service as a test states it.
#[derive(Debug, Clone)]
struct Stated {
    name: String,
    port: Option<(String, u16)>,
    count: (u32, u32),
    cpu: Option<u32>,
    drain: Option<u32>,
    grace: Option<u32>,
    sticky: Option<bool>,
    singleton: bool,
    minimum: Option<u8>,
    command: Option<Result<String, Vec<String>>>,
    domains: Vec<String>,
    variables: BTreeMap<String, Option<String>>,
    volumes: Vec<(Option<String>, String)>,
}

/// Text with everything that needs quoting in YAML, but for what starts an interpolation.
fn text() -> impl Strategy<Value = String> {
    "[ -#%-~é\u{1F600}\n\t]{0,20}"
}

fn stated() -> impl Strategy<Value = Stated> {
    let first = (
        "[a-z][a-z0-9-]{0,12}",
        prop::option::of(("[a-z][a-z-]{0,8}", 1_u16..)),
        (0_u32..50, 0_u32..50),
        prop::option::of(1_u32..5_000),
        prop::option::of(1_u32..5_000),
        prop::option::of(0_u32..5_000),
        prop::option::of(any::<bool>()),
        any::<bool>(),
        prop::option::of(0_u8..=100),
    );
    let second = (
        prop::option::of(prop_oneof![
            text().prop_map(Ok),
            prop::collection::vec(text(), 1..4).prop_map(Err),
        ]),
        prop::collection::vec("[a-z]{1,8}\\.example", 0..3),
        prop::collection::btree_map("[A-Z_]{1,8}", prop::option::of(text()), 0..5),
        prop::collection::vec((prop::option::of("[a-z]{1,6}"), "/[a-z]{1,8}"), 0..3),
    );
    (first, second).prop_map(
        |(
            (name, port, (low, more), cpu, drain, grace, sticky, singleton, minimum),
            (command, domains, variables, volumes),
        )| Stated {
            name,
            port,
            count: (low, low + more),
            cpu,
            drain,
            grace,
            sticky,
            singleton,
            minimum,
            command,
            domains,
            variables,
            volumes,
        },
    )
}

/// A double-quoted YAML scalar.
fn quote(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    let items: Vec<_> = items.iter().map(show).collect();
    format!("[{}]", items.join(", "))
}

impl Stated {
    /// The service's keys, one per line, in a style chosen by `block`.
    fn lines(&self, block: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((scheme, port)) = &self.port {
            lines.push(if block {
                format!("port: {{port: {port}, scheme: {scheme}}}")
            } else {
                format!("port: {scheme}:{port}")
            });
        }
        let (min, max) = self.count;
        lines.push(match self.cpu {
            Some(cpu) => format!("scale: {{count: {{min: {min}, max: {max}}}, cpu: {cpu}}}"),
            None if block => format!("scale: {{count: {min}-{max}}}"),
            None => format!("scale: {min}-{max}"),
        });
        let mut line = |key: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{key}: {value}")));
        };
        line("drain", self.drain.map(|drain| drain.to_string()));
        line(
            "termination",
            self.grace.map(|grace| format!("{{grace: {grace}}}")),
        );
        line("sticky", self.sticky.map(|sticky| sticky.to_string()));
        line("singleton", self.singleton.then(|| "yes".to_owned()));
        line(
            "deployment",
            self.minimum
                .map(|minimum| format!("{{minimum: {minimum}}}")),
        );
        line(
            "command",
            self.command.as_ref().map(|command| match command {
                Ok(text) => quote(text),
                Err(words) => list(words, |word| quote(word)),
            }),
        );
        line(
            "domain",
            Some(if block {
                list(&self.domains, Clone::clone)
            } else {
                quote(&self.domains.join(" , "))
            }),
        );
        let variables: Vec<_> = self.variables.iter().collect();
        line(
            "environment",
            Some(list(&variables, |(name, default)| match default {
                Some(default) => quote(&format!("{name}={default}")),
                None => quote(name),
            })),
        );
        line(
            "volumes",
            Some(list(&self.volumes, |(source, path)| match source {
                Some(source) => quote(&format!("{source}:{path}")),
                None => quote(path),
            })),
        );
        lines
    }

    fn check(&self, service: &manifest::Service) -> Result<(), TestCaseError> {
        prop_assert_eq!(&service.name, &self.name);
        let port = service.port.as_ref().map(|p| (p.scheme.clone(), p.port));
        prop_assert_eq!(port, self.port.clone());
        let (min, max) = (u64::from(self.count.0), u64::from(self.count.1));
        prop_assert_eq!((service.scale.min, service.scale.max), (min, max));
        prop_assert_eq!(service.scale.cpu, self.cpu.map_or(256, u64::from));
        prop_assert_eq!(service.drain, self.drain.map_or(30, u64::from));
        prop_assert_eq!(service.grace, self.grace.map_or(30, u64::from));
        prop_assert_eq!(service.sticky, self.sticky.unwrap_or(true));
        prop_assert_eq!(service.singleton, self.singleton);
        let (minimum, maximum) = if self.singleton { (0, 100) } else { (50, 200) };
        prop_assert_eq!(
            service.deployment.minimum,
            self.minimum.map_or(minimum, u64::from)
        );
        prop_assert_eq!(service.deployment.maximum, maximum);
        let command = self.command.clone().map(|command| match command {
            Ok(text) => vec!["sh".to_owned(), "-c".to_owned(), text],
            Err(words) => words,
        });
        prop_assert_eq!(&service.command, &command);
        prop_assert_eq!(&service.domains, &self.domains);
        let variables: Vec<_> = self
            .variables
            .iter()
            .map(|(name, default)| match default {
                Some(default) => Variable::Default(name.clone(), default.clone()),
                None => Variable::Required(name.clone()),
            })
            .collect();
        prop_assert_eq!(&service.environment, &variables);
        let volumes: Vec<_> = service
            .volumes
            .iter()
            .map(|volume| (volume.source.clone(), volume.path.clone()))
            .collect();
        let expected: Vec<_> = self
            .volumes
            .iter()
            .map(|(source, path)| (source.clone().unwrap_or_else(|| path.clone()), path.clone()))
            .collect();
        prop_assert_eq!(volumes, expected);
        Ok(())
    }
}

fn several() -> impl Strategy<Value = Vec<Stated>> {
    prop::collection::vec(stated(), 0..5).prop_map(|services| {
        let mut names = std::collections::BTreeSet::new();
        services
            .into_iter()
            .filter(|service| names.insert(service.name.clone()))
            // One letter of these is a boolean in YAML 1.1, and so are two words.
            .filter(|service| {
                !["y", "n", "no", "on", "yes", "off", "true", "false"]
                    .contains(&service.name.as_str())
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn what_is_stated_is_loaded(services in several(), block in any::<bool>()) {
        let mut text = "services:\n".to_owned();
        for service in &services {
            writeln!(text, "  {}:", service.name).expect("writes to memory");
            for line in service.lines(block) {
                writeln!(text, "    {line}").expect("writes to memory");
            }
        }
        let loaded = Manifest::load_without_environment(&text, &BTreeMap::new());
        let manifest = loaded.map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?.manifest;
        prop_assert_eq!(manifest.services.len(), services.len());
        for (stated, loaded) in services.iter().zip(manifest.services.values()) {
            stated.check(loaded)?;
        }
    }

    #[test]
    fn what_is_resolved_means_the_same(services in several()) {
        let mut text = "services:\n".to_owned();
        for service in &services {
            writeln!(text, "  {}:", service.name).expect("writes to memory");
            for line in service.lines(true) {
                writeln!(text, "    {line}").expect("writes to memory");
            }
        }
        let load = |text: &str| {
            Manifest::load_without_environment(text, &BTreeMap::new())
                .map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))
        };
        let manifest = load(&text)?.manifest;
        let resolved = manifest.resolved().to_string();
        let again = load(&resolved)?;
        prop_assert_eq!(&again.manifest, &manifest, "{}", resolved);
        prop_assert_eq!(again.manifest.resolved().to_string(), resolved);
    }

    #[test]
    fn merging_an_anchor_is_writing_its_keys(service in stated(), split in any::<prop::sample::Index>(), quoted in any::<bool>()) {
        prop_assume!(!["y", "n", "no", "on", "yes", "off", "true", "false"].contains(&service.name.as_str()));
        let lines = service.lines(true);
        let split = split.index(lines.len() + 1);
        let block = |lines: &[String], indent: &str| -> String {
            lines.iter().map(|line| format!("{indent}{line}\n")).collect::<Vec<_>>().concat()
        };
        let key = if quoted { "\"<<\"" } else { "<<" };
        let name = &service.name;
        let merged = if split == 0 {
            format!("services:\n  {name}:\n{}", block(&lines, "    "))
        } else {
            format!(
                "x-base: &base\n{}services:\n  {name}:\n    {key}: *base\n{}",
                block(&lines[..split], "  "),
                block(&lines[split..], "    ")
            )
        };
        let loaded = Manifest::load_without_environment(&merged, &BTreeMap::new())
            .map_err(|errors| TestCaseError::fail(format!("{errors}\n{merged}")))?;
        service.check(&loaded.manifest.services[name.as_str()])?;
    }

    #[test]
    fn a_service_gets_what_it_declares(
        declared in prop::collection::vec(("[A-D]", prop::option::of("[a-z]{0,3}")), 0..6),
        all in any::<bool>(),
        release in prop::collection::btree_map("[A-F]", "[0-9]{0,3}", 0..6),
    ) {
        let mut entries: Vec<_> = declared
            .iter()
            .map(|(name, default)| match default {
                Some(default) => format!("\"{name}={default}\""),
                None => format!("\"{name}\""),
            })
            .collect();
        if all {
            entries.push("\"*\"".to_owned());
        }
        let text = format!("services: {{web: {{environment: [{}]}}}}", entries.join(", "));
        let loaded = Manifest::load_without_environment(&text, &release).expect("loads");
        let service = &loaded.manifest.services["web"];
        let given = service.environment_for(&release);
        let missing = loaded.manifest.missing_environment(&release);
        for (name, value) in &given {
            let is_declared = declared.iter().any(|(declared, _)| declared == name);
            prop_assert!(is_declared || all && release.contains_key(name), "{name}");
            match release.get(name) {
                Some(release) => prop_assert_eq!(value, release),
                None => prop_assert!(declared.contains(&(name.clone(), Some(value.clone())))),
            }
        }
        for (name, default) in &declared {
            let required = default.is_none() && !release.contains_key(name);
            prop_assert!(!required || missing.contains(name));
            if release.contains_key(name) {
                prop_assert!(given.contains_key(name));
            }
        }
        if all {
            prop_assert!(release.keys().all(|name| given.contains_key(name)));
        }
        prop_assert_eq!(missing.is_empty(), Manifest::load(&text, &release).is_ok());
    }

    #[test]
    fn places_are_places_in_the_file(
        before in prop::collection::vec("(é|a| |\\$\\{X\\}|\\$\\{Y\\}|\\$\\{UNSET\\}){0,8}", 0..4),
        same in "(é|a| |\\$\\{X\\}|\\$\\{Y\\}|\\$\\{UNSET\\}){0,8}",
        x in "[a-z: é]{0,9}",
        y in "[a-z: é]{0,9}",
    ) {
        let lines: Vec<_> = before.iter().enumerate().map(|(i, text)| format!("x-{i}: \"{text}\"\n")).collect();
        let head = format!("  web: {{test: \"{same}\", port: ");
        let text = format!("{}services:\n{head}wrong}}\n", lines.concat());
        let errors = Manifest::load(&text, &env(&[("X", &x), ("Y", &y)])).expect_err("a wrong port");
        let error = errors.iter().next().expect("an error");
        prop_assert_eq!(&error.message, "invalid port: wrong");
        prop_assert_eq!(error.line, before.len() + 2);
        prop_assert_eq!(error.column, head.chars().count() + 1);
    }

    #[test]
    fn a_value_that_is_plain_text_is_the_same_pasted_or_written(value in "[a-z][a-z0-9/-]{0,20}") {
        let pasted = Manifest::load("services: {web: {test: ${X}}}", &env(&[("X", &value)]));
        let written = Manifest::load(&format!("services: {{web: {{test: {value}}}}}"), &env(&[]));
        prop_assert_eq!(pasted, written);
    }
}
