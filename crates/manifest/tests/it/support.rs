//! Loading in one line, with failures that show the text.

use std::collections::BTreeMap;

use manifest::{Errors, Loaded, Manifest, Service};

/// Variables of a release.
pub(crate) type Env = BTreeMap<String, String>;

/// A release's variables from pairs.
pub(crate) fn env(pairs: &[(&str, &str)]) -> Env {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Loads with no variables set.
pub(crate) fn load(text: &str) -> Loaded {
    load_with(text, &[])
}

/// Loads with variables set.
pub(crate) fn load_with(text: &str, pairs: &[(&str, &str)]) -> Loaded {
    Manifest::load(text, &env(pairs)).unwrap_or_else(|errors| panic!("{errors}\nin:\n{text}"))
}

/// The errors of a text that must not load.
pub(crate) fn errors(text: &str) -> Errors {
    errors_with(text, &[])
}

/// The errors of a text that must not load with these variables.
pub(crate) fn errors_with(text: &str, pairs: &[(&str, &str)]) -> Errors {
    match Manifest::load(text, &env(pairs)) {
        Ok(loaded) => panic!("loads, but must not:\n{text}\nas {loaded:?}"),
        Err(errors) => errors,
    }
}

/// The one error of a text that must not load.
pub(crate) fn error(text: &str) -> String {
    let errors = errors(text);
    assert_eq!(errors.iter().count(), 1, "{errors}\nin:\n{text}");
    errors.to_string()
}

/// The service `web` of a manifest that says only this about it, indented as given.
pub(crate) fn web(body: &str) -> Service {
    web_with(body, &[])
}

/// The service `web` with variables set.
pub(crate) fn web_with(body: &str, pairs: &[(&str, &str)]) -> Service {
    let loaded = load_with(&manifest_of_web(body), pairs);
    loaded.manifest.services["web"].clone()
}

/// The one error of a service `web`.
pub(crate) fn web_error(body: &str) -> String {
    error(&manifest_of_web(body))
}

/// A manifest with one service `web` whose body is one line in flow style or several in block style.
pub(crate) fn manifest_of_web(body: &str) -> String {
    let lines: Vec<_> = body.lines().map(|line| format!("    {line}\n")).collect();
    format!("services:\n  web:\n{}", lines.concat())
}

/// The warnings of a text, one per line.
pub(crate) fn warnings(text: &str) -> Vec<String> {
    load(text)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}
