//! The entrance for `make fuzz`; no part of the crate's interface.

use std::collections::BTreeMap;

use crate::{Errors, Loaded, Manifest};

/// Loads a manifest: the first line is the value of the variable `X`, the rest is the text. It
/// must neither panic nor take long; every message is one line at a place inside the text, and
/// what loads can be written out.
pub fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (value, text) = text.split_once('\n').unwrap_or(("", &text));
    let variables = BTreeMap::from([("X".to_owned(), value.to_owned())]);
    for loaded in [
        Manifest::load(text, &variables),
        Manifest::load_without_environment(text, &variables),
    ] {
        check(text, &loaded);
    }
    check(text, &Err(Manifest::generation1_steps(text)));
}

fn check(text: &str, loaded: &Result<Loaded, Errors>) {
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n');
    let lines: Vec<_> = lines.collect();
    let inside = |line: usize, column: usize| {
        let found = line.checked_sub(1).and_then(|line| lines.get(line));
        line == 0 || found.is_some_and(|line| (1..=line.chars().count() + 1).contains(&column))
    };
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                assert!(inside(warning.line, warning.column), "{warning}");
                assert!(!warning.to_string().contains('\n'), "{warning:?}");
            }
            let resolved = loaded.manifest.resolved().to_string();
            assert!(resolved.ends_with('\n'), "{resolved:?}");
            let missing = loaded.manifest.missing_environment(&BTreeMap::new());
            assert!(missing.is_sorted(), "{missing:?}");
        }
        Err(errors) => {
            assert!(errors.iter().next().is_some(), "no error");
            for error in errors {
                assert!(inside(error.line, error.column), "{error}");
                assert!(!error.to_string().contains('\n'), "{error:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    /// What the fuzzer begins with, and small changes of it.
    #[test]
    fn seeds_and_edits_of_them_hold() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/manifest");
        let mut seeds = 0;
        for entry in std::fs::read_dir(corpus).expect("the corpus") {
            let bytes = std::fs::read(entry.expect("an entry").path()).expect("a seed");
            super::manifest(&bytes);
            for at in (0..bytes.len()).step_by(7) {
                let mut changed = bytes.clone();
                changed[at] ^= 0x15;
                super::manifest(&changed);
                super::manifest(&bytes[..at]);
            }
            seeds += 1;
        }
        assert!(seeds >= 4, "{seeds} seeds");
    }
}
