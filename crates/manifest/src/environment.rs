//! Declared variables and what a release makes of them.

use std::collections::{BTreeMap, BTreeSet};

/// A declared variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Must be set in the release.
    Required(String),
    /// Has a default.
    Default(String, String),
    /// All variables of the release.
    All,
}

impl Variable {
    /// Reads `KEY`, `KEY=default` or `*`; `None` where there is no name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let variable = match text.split_once('=') {
            Some((name, default)) => Self::Default(name.to_owned(), default.to_owned()),
            None if text == "*" => Self::All,
            None => Self::Required(text.to_owned()),
        };
        (!variable.name().is_empty()).then_some(variable)
    }

    /// Its name; `*` for [`Variable::All`].
    pub fn name(&self) -> &str {
        match self {
            Self::Required(name) | Self::Default(name, _) => name,
            Self::All => "*",
        }
    }
}

/// What a list of declarations makes of a release's variables. Later declarations win, but a
/// release's value always wins over a default, so order decides between defaults only.
pub(crate) fn resolve(
    declared: &[Variable],
    env: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut resolved = BTreeMap::new();
    for variable in declared {
        match variable {
            Variable::Required(name) => {
                // A bare key is a declaration of its own: it takes no earlier default over.
                match env.get(name) {
                    Some(value) => resolved.insert(name.clone(), value.clone()),
                    None => resolved.remove(name),
                };
            }
            Variable::Default(name, default) => {
                let value = env.get(name).unwrap_or(default);
                resolved.insert(name.clone(), value.clone());
            }
            Variable::All => resolved.extend(env.clone()),
        }
    }
    resolved
}

/// The defaults alone; the last one wins.
pub(crate) fn defaults(declared: &[Variable]) -> BTreeMap<String, String> {
    declared
        .iter()
        .filter_map(|variable| match variable {
            Variable::Default(name, default) => Some((name.clone(), default.clone())),
            Variable::Required(_) | Variable::All => None,
        })
        .collect()
}

/// Names of required variables that a release lacks, sorted; one declared twice is listed twice,
/// as racks do.
pub(crate) fn missing<'a>(
    declared: &'a [Variable],
    env: &BTreeMap<String, String>,
) -> Vec<&'a str> {
    let mut names: Vec<_> = declared
        .iter()
        .filter_map(|variable| match variable {
            Variable::Required(name) if !env.contains_key(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names
}

/// Names of the declared variables, sorted, each once.
pub(crate) fn names(declared: &[Variable]) -> Vec<&str> {
    let names: BTreeSet<_> = declared.iter().map(Variable::name).collect();
    names.into_iter().collect()
}
