//! What every part of the decoder needs: collecting errors and warnings with their place, and
//! reading the simple shapes (text, numbers, booleans, lists of text).
//!
//! A reader never stops at the first error; it reports, hands back what the language would have
//! without the bad value, and the caller goes on, so one run shows all mistakes.

use std::collections::BTreeSet;

use crate::error::{Error, Warning};
use crate::interpolate::Source;
use crate::keys::{Level, Use};
use crate::load::Required;
use crate::yaml::{Kind, Map, Node, Value, shorten};

/// Most errors and most warnings kept: enough for anybody to act on, and a bound on the work that
/// text made only to be wrong can cause.
pub(crate) const MAX_REPORTS: usize = 100;

/// Collects what is wrong and what is odd while a manifest is read.
pub(crate) struct Reader<'a> {
    /// The file.
    pub(crate) source: &'a Source<'a>,
    /// What stops the load.
    pub(crate) errors: Vec<Error>,
    /// What does not.
    pub(crate) warnings: Vec<Warning>,
    /// Whether values that came out wrong for want of a variable are only warned about.
    required: Required,
    /// Keys without effect that were reported; each is reported once.
    reported: BTreeSet<(&'static str, String)>,
}

impl<'a> Reader<'a> {
    /// A reader with nothing to report yet.
    pub(crate) fn new(source: &'a Source<'a>, required: Required) -> Self {
        Self {
            source,
            required,
            errors: Vec::new(),
            warnings: Vec::new(),
            reported: BTreeSet::new(),
        }
    }

    /// Reports an error at a node.
    pub(crate) fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.report(node, message.into(), None);
    }

    /// Reports an error at a node and what to do about it.
    pub(crate) fn error_with_hint(
        &mut self,
        node: &Node,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(node, message.into(), Some(hint.into()));
    }

    /// Reports an error even where a missing variable may be the cause.
    pub(crate) fn error_always(&mut self, node: &Node, message: String, hint: Option<String>) {
        if self.errors.len() < MAX_REPORTS {
            let (line, column) = self.source.position(node.range.start);
            self.errors.push(Error {
                line,
                column,
                message,
                hint,
            });
        }
    }

    fn report(&mut self, node: &Node, message: String, hint: Option<String>) {
        match self.source.unset(&node.range).map(shorten) {
            Some(name) if self.required == Required::Ignored => {
                self.warn(node, format!("{message}: {name} is not set"));
            }
            Some(name) => self.error_always(node, message, Some(format!("{name} is not set"))),
            None => self.error_always(node, message, hint),
        }
    }

    /// Reports something odd at a node.
    pub(crate) fn warn(&mut self, node: &Node, message: impl Into<String>) {
        if self.warnings.len() < MAX_REPORTS {
            let (line, column) = self.source.position(node.range.start);
            self.warn_at(line, column, message.into());
        }
    }

    /// Reports something odd at a place.
    pub(crate) fn warn_at(&mut self, line: usize, column: usize, message: String) {
        if self.warnings.len() < MAX_REPORTS {
            self.warnings.push(Warning {
                line,
                column,
                message,
            });
        }
    }

    /// The value as a message may quote it.
    pub(crate) fn quote(&self, node: &Node) -> String {
        node.quoted(self.source)
    }

    /// Whether a variable's value was pasted into the node, which no message may show.
    pub(crate) fn hides(&self, node: &Node) -> bool {
        self.source.as_written(node.range.clone()).is_some()
    }

    /// Reports the keys of a map that do nothing: unknown ones each time, known ones once.
    pub(crate) fn check_keys(&mut self, map: &Map, level: &Level) {
        for (key, _) in &map.0 {
            if self.warnings.len() >= MAX_REPORTS {
                return;
            }
            let Some(name) = key.text() else { continue };
            match level.lookup(name) {
                Some(Use::Read) => {}
                Some(Use::NoEffect) => self.no_effect(key, level.name, name),
                // The usual place for anchors.
                None if name.starts_with("x-") => {}
                None => {
                    let quoted = self.quote(key);
                    let message = match level.suggestion(name) {
                        Some(meant) => format!(
                            "unknown key {quoted} in {} is ignored; did you mean {meant}?",
                            level.name
                        ),
                        None => format!("unknown key {quoted} in {} is ignored", level.name),
                    };
                    self.warn(key, message);
                }
            }
        }
    }

    /// Reports, once, a known key that does nothing here.
    pub(crate) fn no_effect(&mut self, key: &Node, level: &'static str, name: &str) {
        if self.reported.insert((level, name.to_owned())) {
            self.warn(key, format!("{name} of {level} has no effect here"));
        }
    }

    /// The entries of a map of names, `services` and the like; nothing written is an empty map.
    pub(crate) fn named<'n>(
        &mut self,
        node: Option<&'n Node>,
        what: &str,
    ) -> Vec<(&'n Node, &'n Node)> {
        let Some(node) = node else { return Vec::new() };
        match &node.kind {
            Kind::Null => Vec::new(),
            Kind::Map(map) => {
                let mut entries = Vec::new();
                for (key, value) in &map.0 {
                    if as_bool(key).is_some() {
                        self.error_with_hint(
                            key,
                            "unknown key type: bool",
                            format!("YAML reads {} as a boolean; quote it", self.quote(key)),
                        );
                    } else {
                        entries.push((key, value));
                    }
                }
                entries
            }
            Kind::Scalar(_) | Kind::List(_) => {
                self.error_with_hint(
                    node,
                    format!("{what} must be a map, not {}", node.describe()),
                    "write each name as a key of its own",
                );
                Vec::new()
            }
        }
    }

    /// The map behind a key; `None` when absent, empty or, reported, something else.
    pub(crate) fn map<'n>(&mut self, node: Option<&'n Node>, what: &str) -> Option<&'n Map> {
        let node = node?;
        match &node.kind {
            Kind::Map(map) => Some(map),
            Kind::Null => None,
            Kind::Scalar(_) | Kind::List(_) => {
                self.error(
                    node,
                    format!("{what} must be a map, not {}", node.describe()),
                );
                None
            }
        }
    }

    /// Text; numbers and booleans count as their spelling. Empty text is `None`.
    pub(crate) fn text(&mut self, node: Option<&Node>, what: &str) -> Option<String> {
        let node = node?;
        match &node.kind {
            Kind::Null => None,
            Kind::Scalar(scalar) => (!scalar.text.trim().is_empty()).then(|| scalar.text.clone()),
            Kind::List(_) | Kind::Map(_) => {
                self.error(
                    node,
                    format!("{what} must be text, not {}", node.describe()),
                );
                None
            }
        }
    }

    /// A list of texts; anything but a list is an error.
    pub(crate) fn texts<'n>(
        &mut self,
        node: Option<&'n Node>,
        what: &str,
    ) -> Vec<(&'n Node, &'n str)> {
        let Some(node) = node else { return Vec::new() };
        let items = match &node.kind {
            Kind::Null => return Vec::new(),
            Kind::List(items) => items,
            Kind::Scalar(_) | Kind::Map(_) => {
                self.error_with_hint(
                    node,
                    format!("{what} must be a list, not {}", node.describe()),
                    "start each entry with a dash",
                );
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.kind {
                Kind::Null => self.warn(item, format!("empty entry in {what} is ignored")),
                Kind::Scalar(scalar) => texts.push((item, scalar.text.as_str())),
                Kind::List(_) | Kind::Map(_) => self.error(
                    item,
                    format!("entries of {what} must be text, not {}", item.describe()),
                ),
            }
        }
        texts
    }

    /// A boolean in any spelling of YAML 1.1.
    pub(crate) fn boolean(&mut self, node: Option<&Node>, what: &str) -> Option<bool> {
        let node = node?;
        if node.is_null() {
            return None;
        }
        let value = as_bool(node);
        if value.is_none() {
            let quoted = self.quote(node);
            self.error(node, format!("{what} must be true or false, not {quoted}"));
        }
        value
    }

    /// A whole number from zero; a present key with nothing behind it is zero, as racks read it.
    pub(crate) fn number(&mut self, node: Option<&Node>, what: &str) -> Option<u64> {
        let node = node?;
        if node.is_null() {
            return Some(0);
        }
        let number = whole_number(node);
        if number.is_none() {
            let quoted = self.quote(node);
            self.error(
                node,
                format!("{what} must be a whole number from 0, not {quoted}"),
            );
        }
        number
    }
}

/// The node as a boolean; `None` when YAML takes it for anything else.
pub(crate) fn as_bool(node: &Node) -> Option<bool> {
    match &node.kind {
        Kind::Scalar(scalar) => match scalar.value {
            Value::Bool(value) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// An unquoted whole number from zero that fits.
pub(crate) fn whole_number(node: &Node) -> Option<u64> {
    /// More seconds, processes or megabytes than this is a mistake, and sums of a few still fit.
    const MAX: u64 = u32::MAX as u64;
    let Kind::Scalar(scalar) = &node.kind else {
        return None;
    };
    let number = match scalar.value {
        Value::Integer(number) => u64::try_from(number).ok()?,
        // `512.0` is what some generators make of 512.
        Value::Float(number) if number.fract() == 0.0 && (0.0..=MAX as f64).contains(&number) => {
            number as u64
        }
        _ => return None,
    };
    (number <= MAX).then_some(number)
}
