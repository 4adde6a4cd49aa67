//! YAML text → a tree of located nodes.
//!
//! The tree keeps what typed decoding would lose and our rules need: where each value stands, how
//! it was spelled, and which keys are literally present. Anchors are expanded, merge keys (`<<`,
//! quoted or not) applied, duplicate keys refused. Hostile input (alias bombs, deep nesting, huge
//! documents) is refused in bounded time, memory and stack.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy, Spanned};

use crate::error::Error;
use crate::interpolate::Source;
use crate::syntax::{TOO_COMPLEX, syntax_error};

/// Deepest nesting accepted, aliases expanded. Real manifests stay below ten; an unoptimised build
/// takes some 30 KiB of stack for each.
const MAX_DEPTH: usize = 24;
/// Most nodes accepted, aliases expanded.
const MAX_NODES: usize = 20_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Byte range in the interpolated text.
    pub(crate) range: Range<usize>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Nothing, or `null`, or `~`.
    Null,
    /// One value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map, in file order, merge keys applied, keys unique.
    Map(Map),
}

/// One value: its meaning in YAML 1.1 and its spelling.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    /// What YAML takes it for.
    pub(crate) value: Value,
    /// The text as spelled; without quotes for quoted text.
    pub(crate) text: String,
}

/// What YAML takes a scalar for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// `true`, `yes`, `on`, `y` and their opposites, unquoted.
    Bool(bool),
    /// A whole number, unquoted.
    Integer(i128),
    /// A number with a fraction or exponent, unquoted.
    Float(f64),
    /// Anything else.
    Text,
}

/// A map's entries in file order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map(pub(crate) Vec<(Node, Node)>);

impl Map {
    /// A key and its value, be it `null`.
    pub(crate) fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        self.0.iter().find(|(name, _)| name.text() == Some(key))
    }

    /// The value of a key, be it `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Whether the key is written down, be it with nothing behind it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

impl Node {
    /// The spelling of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The node as a map; `None` for anything else.
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Whether nothing is written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// The value as an error should quote it: as written, never an interpolated value.
    pub(crate) fn quoted(&self, source: &Source<'_>) -> String {
        if let Some(written) = source.as_written(self.range.clone()) {
            return shorten(unquote(written));
        }
        match &self.kind {
            Kind::Null => "null".to_owned(),
            Kind::Scalar(scalar) => shorten(&scalar.text),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }

    /// What kind of value it is, for "X must be …, not …".
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Scalar(scalar) => match scalar.value {
                Value::Bool(_) => "a boolean",
                Value::Integer(_) | Value::Float(_) => "a number",
                Value::Text => "text",
            },
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// The text without the YAML quotes around it.
fn unquote(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// One line of at most 80 characters, control characters escaped.
pub(crate) fn shorten(text: &str) -> String {
    const MAX: usize = 80;
    let line: String = text
        .chars()
        .take(MAX)
        .flat_map(|c| {
            let escape = c.is_control();
            let escaped = escape.then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!escape).then_some(c))
        })
        .collect();
    if text.chars().nth(MAX).is_some() {
        format!("{line}…")
    } else {
        line
    }
}

/// Parses the interpolated text into a tree.
pub(crate) fn parse(source: &Source<'_>) -> Result<Node, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            flow_nesting_limit: MAX_DEPTH,
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_aliases: MAX_NODES,
            max_anchors: MAX_NODES,
            max_recorded_anchor_events: 8 * MAX_NODES,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2 * MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        // Both are applied below: the parser knows neither the quoted merge key nor the place of
        // the first of two equal keys.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        legacy_octal_numbers: true,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    };
    let raw = serde_saphyr::from_str_with_options::<Spanned<Raw>>(source.text(), options)
        .map_err(|error| syntax_error(&error, source))?;
    build(raw, source)
}

/// A node as the parser delivers it: spelling of typed scalars still missing, merges not applied.
enum Raw {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

thread_local! {
    /// How deep the running [`Raw::deserialize`] is nested. Expanded aliases nest deeper than the
    /// text does, so the parser's own limit on the text does not bound our stack.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One level of nesting, given back on drop.
struct Level;

impl Level {
    fn enter() -> Option<Self> {
        DEPTH.with(|depth| {
            (depth.get() < MAX_DEPTH).then(|| {
                depth.set(depth.get() + 1);
                Self
            })
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _level = Level::enter().ok_or_else(|| serde::de::Error::custom(TOO_COMPLEX))?;
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Restores spellings, applies merges, refuses duplicates. As deep as the tree, so bounded.
fn build(raw: Spanned<Raw>, source: &Source<'_>) -> Result<Node, Error> {
    let range = text_range(&raw.defined, source);
    let scalar = |value, text| Kind::Scalar(Scalar { value, text });
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Bool(value) => scalar(
            Value::Bool(value),
            spelling(source, &range, || value.to_string()),
        ),
        Raw::Integer(value) => scalar(
            Value::Integer(value),
            spelling(source, &range, || value.to_string()),
        ),
        Raw::Float(value) => scalar(
            Value::Float(value),
            spelling(source, &range, || value.to_string()),
        ),
        Raw::Text(text) => scalar(Value::Text, text),
        Raw::List(items) => Kind::List(
            items
                .into_iter()
                .map(|item| build(item, source))
                .collect::<Result<_, _>>()?,
        ),
        Raw::Map(entries) => Kind::Map(build_map(entries, source)?),
    };
    Ok(Node { range, kind })
}

/// The source text of an unquoted scalar; the canonical text where the source has an explicit tag
/// or quotes around it.
fn spelling(
    source: &Source<'_>,
    range: &Range<usize>,
    canonical: impl FnOnce() -> String,
) -> String {
    source
        .text()
        .get(range.clone())
        .map(str::trim)
        .filter(|text| !text.is_empty() && !text.contains(['!', '"', '\'', '&', '\n']))
        .map_or_else(canonical, str::to_owned)
}

fn build_map(
    entries: Vec<(Spanned<Raw>, Spanned<Raw>)>,
    source: &Source<'_>,
) -> Result<Map, Error> {
    let mut map = Map::default();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut merges = Vec::new();
    for (key, value) in entries {
        let key = build(key, source)?;
        let value = build(value, source)?;
        let Some(name) = key.text() else {
            return Err(error_at(
                source,
                &key,
                format!("a key must be plain text, not {}", key.describe()),
                None,
            ));
        };
        if name == "<<" {
            merges.push(value);
            continue;
        }
        if let Some(first) = seen.insert(name.to_owned(), key.range.start) {
            let (line, _) = source.position(first);
            return Err(error_at(
                source,
                &key,
                format!("duplicate key {}", key.quoted(source)),
                Some(format!("the first one is on line {line}; keep one of them")),
            ));
        }
        map.0.push((key, value));
    }
    // Written keys win over merged ones, earlier merges over later ones.
    for value in merges {
        let sources = match value.kind {
            Kind::Map(_) | Kind::Scalar(_) => vec![value],
            Kind::List(items) => items,
            Kind::Null => Vec::new(),
        };
        for merged in sources {
            let Kind::Map(Map(entries)) = merged.kind else {
                return Err(error_at(
                    source,
                    &merged,
                    format!("<< merges maps only, not {}", merged.describe()),
                    Some("give it the alias of a map, as in <<: *defaults".to_owned()),
                ));
            };
            for (key, value) in entries {
                let name = key.text().unwrap_or_default();
                if !seen.contains_key(name) {
                    seen.insert(name.to_owned(), key.range.start);
                    map.0.push((key, value));
                }
            }
        }
    }
    Ok(map)
}

/// Where the parser says something stands, in the interpolated text.
pub(crate) fn text_range(location: &serde_saphyr::Location, source: &Source<'_>) -> Range<usize> {
    let span = location.span();
    let length = source.text().len();
    let start = match span.byte_offset() {
        Some(offset) => usize::try_from(offset).unwrap_or(length).min(length),
        None => source.text_offset(location.line() as usize, location.column() as usize),
    };
    let size = span
        .byte_len()
        .map_or(0, |size| usize::try_from(size).unwrap_or(0));
    start..start.saturating_add(size).min(length)
}

fn error_at(source: &Source<'_>, node: &Node, message: String, hint: Option<String>) -> Error {
    let (line, column) = source.position(node.range.start);
    Error {
        line,
        column,
        message,
        hint,
    }
}
