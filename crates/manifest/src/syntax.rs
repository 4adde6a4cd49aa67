//! What the YAML parser complains about, in words for the author of a manifest.

use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use crate::error::Error;
use crate::interpolate::Source;
use crate::yaml::{shorten, text_range};

/// Said when a limit is hit; the parser's own words count its events, which helps nobody.
pub(crate) const TOO_COMPLEX: &str =
    "the manifest is nested too deeply or expands to too many values";

/// Parts of the parser's messages, and what most often is behind them. A message that is not
/// listed is shown as it is, so this may lag behind the parser without harm.
const USUAL_CAUSES: &[(&str, &str)] = &[
    ("tabs disallowed", "indent with spaces"),
    ("tab cannot be used", "indent with spaces"),
    (
        "mapping values are not allowed",
        "check the indentation, and quote text with a colon in it",
    ),
    (
        "illegal placement of ':'",
        "close the bracket above, or quote text with a colon in it",
    ),
    (
        "did not find expected key",
        "check that the line is indented like the ones above it",
    ),
    ("scanning an anchor or alias", STAR),
    ("unexpected character", "quote text that starts with it"),
    (
        "block sequence entries are not allowed",
        "put the first dash on a line of its own",
    ),
    ("unclosed quote", "close it, or quote all of the text"),
    ("unclosed bracket", "close it, or quote the text"),
    ("expected ',' or", "close the bracket, or add a comma"),
    ("invalid trailing content after", "quote all of the text"),
];

/// The usual cause of everything about aliases.
const STAR: &str = "quote text that starts with * or &";

/// The parser's error at its place in the file.
pub(crate) fn syntax_error(error: &serde_saphyr::Error, source: &Source<'_>) -> Error {
    let error = error.without_snippet();
    let (message, hint) = explain(error);
    let Some(location) = error.location() else {
        return Error {
            line: 0,
            column: 0,
            message,
            hint,
        };
    };
    let offset = text_range(&location, source).start;
    let (line, column) = source.position(offset);
    // The place the parser stumbles at is often far behind the value that broke the text.
    let pasted = source.suspect(offset).map(|(name, line)| {
        format!(
            "the value of {} on line {line} may be what breaks the YAML",
            shorten(name)
        )
    });
    let missing = || {
        let name = source.unset_before(offset)?;
        Some(format!("{} is not set", shorten(name)))
    };
    Error {
        line,
        column,
        message,
        hint: pasted.or_else(missing).or(hint),
    }
}

/// The parser's errors in our words where its own would not help the author of a manifest.
fn explain(error: &serde_saphyr::Error) -> (String, Option<String>) {
    use serde_saphyr::Error as Yaml;
    /// The parser's word for its own limit on flow collections, which has no kind of its own.
    const FLOW_LIMIT: &str = "recursion limit exceeded";
    match error {
        Yaml::Budget { .. }
        | Yaml::AliasReplayCounterOverflow { .. }
        | Yaml::AliasReplayLimitExceeded { .. }
        | Yaml::AliasExpansionLimitExceeded { .. }
        | Yaml::AliasReplayStackDepthExceeded { .. } => (TOO_COMPLEX.to_owned(), None),
        Yaml::MultipleDocuments { .. } => (
            "a manifest is one YAML document".to_owned(),
            Some("remove everything from the second --- on".to_owned()),
        ),
        Yaml::UnknownAnchor { .. } => (
            "alias without an anchor".to_owned(),
            Some(format!("define it above with &NAME, or {STAR}")),
        ),
        Yaml::RecursiveReferencesRequireWeakTypes { .. } => {
            ("an anchor cannot contain its own alias".to_owned(), None)
        }
        Yaml::Message { msg, .. } => (msg.clone(), None),
        Yaml::AliasError { error, .. } => explain(error.without_snippet()),
        Yaml::InvalidScalar { .. } => ("the value does not fit its tag".to_owned(), None),
        _ => {
            let message = UserMessageFormatter.format_message(error);
            if message == FLOW_LIMIT {
                return (TOO_COMPLEX.to_owned(), None);
            }
            let cause = USUAL_CAUSES
                .iter()
                .find(|(part, _)| message.contains(part))
                .map(|(_, cause)| (*cause).to_owned());
            (
                message.split_whitespace().collect::<Vec<_>>().join(" "),
                cause,
            )
        }
    }
}
