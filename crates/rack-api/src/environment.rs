//! Environment text: `KEY=VALUE` lines (`rack-api.md` §4.5).

use std::collections::BTreeMap;
use std::fmt;

/// An app's variables. `Debug` shows names only, for values are secrets;
/// `Display` is the wire text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the wire text: split at the first `=`, key trimmed, value verbatim;
    /// lines without `=` or with an empty key are skipped; the last duplicate wins.
    pub fn parse(text: &str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
                .filter(|(key, _)| !key.is_empty())
                .collect(),
        )
    }

    /// Looks a variable up.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a variable.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Removes a variable.
    pub fn unset(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The variables by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The variables as a map.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// Names what it takes to get from `old` to `self`: additions, changes and
    /// removals, each sorted, as `add:K change:K remove:K`.
    pub fn diff(&self, old: &Self) -> String {
        let added = self.0.keys().filter(|key| !old.0.contains_key(*key));
        let changed = self
            .0
            .iter()
            .filter(|(key, value)| old.0.get(*key).is_some_and(|before| before != *value))
            .map(|(key, _)| key);
        let removed = old.0.keys().filter(|key| !self.0.contains_key(*key));
        added
            .map(|key| format!("add:{key}"))
            .chain(changed.map(|key| format!("change:{key}")))
            .chain(removed.map(|key| format!("remove:{key}")))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        // By whole line, so `A1=` comes before `A=`.
        lines.sort();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_read_like_the_originals() {
        let env = Environment::parse("FOO=bar=baz\n BAR = x\nnothing\n=y\nFOO=last\nEMPTY=");
        assert_eq!(env.to_string(), "BAR= x\nEMPTY=\nFOO=last");
    }

    #[test]
    fn lines_sort_whole() {
        assert_eq!(Environment::parse("A=1\nA1=2").to_string(), "A1=2\nA=1");
    }

    #[test]
    fn diff_orders_by_kind() {
        let old = Environment::parse("B=1\nC=1");
        let new = Environment::parse("A=1\nB=2");
        assert_eq!(new.diff(&old), "add:A change:B remove:C");
        assert_eq!(old.diff(&old), "");
    }

    #[test]
    fn debug_hides_values() {
        assert_eq!(format!("{:?}", Environment::parse("A=secret")), "{\"A\"}");
    }

    proptest! {
        #[test]
        fn text_survives(text in ".*") {
            let env = Environment::parse(&text);
            prop_assert_eq!(Environment::parse(&env.to_string()), env);
        }
    }
}
