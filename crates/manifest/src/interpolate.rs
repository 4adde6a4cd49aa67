//! `${NAME}` over the raw text, before YAML sees it, and the way back from a place in the result
//! to the place in the file.
//!
//! There is no default syntax and no escape: whatever stands between `${` and the next `}` is the
//! name, and a name that is not set becomes nothing. Values are pasted raw, so a value can break
//! the YAML; that is why places are mapped back and why messages quote the file, never the value.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Error;

/// Largest manifest read, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// Largest text after interpolation, in bytes: values may be large, and be pasted many times.
const MAX_INTERPOLATED: usize = 4 << 20;

/// The file and what became of it by interpolation.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a str,
    text: String,
    splices: Vec<Splice>,
    /// Byte offset of the start of each line of the file.
    lines: Vec<usize>,
}

/// One `${…}` and where its value stands in the interpolated text.
#[derive(Debug)]
struct Splice {
    file: Range<usize>,
    text: Range<usize>,
    /// Whether the variable has a value, be it empty.
    set: bool,
}

impl<'a> Source<'a> {
    /// The file as it is: nothing is replaced.
    pub(crate) fn as_is(file: &'a str) -> Result<Self, Error> {
        Self::read(file, None)
    }

    /// Replaces every `${NAME}` by its value in `env`.
    pub(crate) fn interpolate(
        file: &'a str,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        Self::read(file, Some(env))
    }

    fn read(file: &'a str, env: Option<&BTreeMap<String, String>>) -> Result<Self, Error> {
        if file.len() > MAX_TEXT {
            return Err(too_large(&format!(
                "the manifest is larger than {MAX_TEXT} bytes"
            )));
        }
        // A byte order mark is not text; without it offsets start at 0 for the parser and for us.
        let file = file.strip_prefix('\u{feff}').unwrap_or(file);
        let lines = std::iter::once(0)
            .chain(file.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let mut text = String::with_capacity(file.len());
        let mut splices = Vec::new();
        let mut done = 0;
        while let Some(env) = env
            && let Some(open) = file[done..].find("${").map(|at| at + done)
        {
            let Some(close) = file[open..].find('}').map(|at| at + open) else {
                break;
            };
            text.push_str(&file[done..open]);
            let start = text.len();
            let value = env.get(&file[open + 2..close]);
            let set = value.is_some();
            let value = value.map_or("", String::as_str);
            if text.len() + value.len() > MAX_INTERPOLATED {
                return Err(too_large(&format!(
                    "the manifest is larger than {MAX_INTERPOLATED} bytes after interpolation"
                )));
            }
            text.push_str(value);
            splices.push(Splice {
                file: open..close + 1,
                text: start..text.len(),
                set,
            });
            done = close + 1;
        }
        text.push_str(&file[done..]);
        Ok(Self {
            file,
            text,
            splices,
            lines,
        })
    }

    /// The interpolated text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column, both from 1, in the file of a byte offset in the interpolated text.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        self.file_position(self.file_offset(offset, Side::Start))
    }

    /// Names between `${` and `}` that are no names, with their position: most often an attempt at
    /// a default or a forgotten brace. Comment lines are left out.
    pub(crate) fn odd_names(&self) -> impl Iterator<Item = (usize, usize, &'a str)> {
        self.splices.iter().filter_map(|splice| {
            let name = self.name(splice);
            let plain =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if plain {
                return None;
            }
            let (line, column) = self.file_position(splice.file.start);
            let comment = self.file[self.lines[line - 1]..]
                .trim_start_matches([' ', '\t'])
                .starts_with('#');
            (!comment).then_some((line, column, name))
        })
    }

    /// What stands in the file at a range of the interpolated text, when a value was pasted into
    /// it; `None` when the range is untouched.
    pub(crate) fn as_written(&self, range: Range<usize>) -> Option<&'a str> {
        let touched = self.near(&range).any(|splice| {
            let overlaps = splice.text.start < range.end && range.start < splice.text.end;
            overlaps || splice.text.is_empty() && range.contains(&splice.text.start)
        });
        touched.then(|| {
            let start = self.file_offset(range.start, Side::Start);
            let end = self.file_offset(range.end, Side::End).max(start);
            // Whatever the parser's places are worth, the value itself is never shown.
            self.file.get(start..end).unwrap_or("${…}")
        })
    }

    /// A variable without a value that was to be pasted into a range of the interpolated text.
    pub(crate) fn unset(&self, range: &Range<usize>) -> Option<&'a str> {
        // Where nothing is left of a value, the parser's place for it is the indicator before it.
        let blank = self.text.as_bytes()[range.start..]
            .iter()
            .take_while(|byte| matches!(byte, b':' | b'-' | b' ' | b'\t' | b'"' | b'\''))
            .count();
        let range = range.start..range.end.max(range.start + blank);
        self.near(&range)
            .find(|splice| !splice.set)
            .map(|splice| self.name(splice))
    }

    /// The splices that touch a range or its ends.
    fn near(&self, range: &Range<usize>) -> impl Iterator<Item = &Splice> {
        let end = range.end;
        let first = self
            .splices
            .partition_point(|splice| splice.text.end < range.start);
        self.splices[first..]
            .iter()
            .take_while(move |splice| splice.text.start <= end)
    }

    /// The variable, and its line, whose value most likely broke the YAML at or before an offset:
    /// the last one that was pasted with characters YAML gives a meaning.
    pub(crate) fn suspect(&self, offset: usize) -> Option<(&'a str, usize)> {
        let before = self
            .splices
            .partition_point(|splice| splice.text.start <= offset);
        self.splices[..before]
            .iter()
            .rev()
            .find(|splice| {
                self.text[splice.text.clone()].contains(|c: char| {
                    c.is_control()
                        || matches!(
                            c,
                            ':' | '#'
                                | '"'
                                | '\''
                                | '{'
                                | '}'
                                | '['
                                | ']'
                                | '&'
                                | '*'
                                | '|'
                                | '>'
                                | '%'
                                | '@'
                                | '`'
                        )
                })
            })
            .map(|splice| (self.name(splice), self.file_position(splice.file.start).0))
    }

    /// The last variable without a value on the line of an offset, or on the one before: what is
    /// left of the line may be no YAML without it.
    pub(crate) fn unset_before(&self, offset: usize) -> Option<&'a str> {
        let (line, _) = self.position(offset);
        self.splices
            .iter()
            .rev()
            .filter(|splice| !splice.set)
            .find(|splice| {
                let (at, _) = self.file_position(splice.file.start);
                at <= line && line <= at + 1
            })
            .map(|splice| self.name(splice))
    }

    fn name(&self, splice: &Splice) -> &'a str {
        &self.file[splice.file.start + 2..splice.file.end - 1]
    }

    fn file_offset(&self, offset: usize, side: Side) -> usize {
        // The last splice that starts at or before the offset decides.
        let after = self
            .splices
            .partition_point(|splice| splice.text.start <= offset);
        let Some(splice) = after.checked_sub(1).map(|index| &self.splices[index]) else {
            return offset.min(self.file.len());
        };
        if offset < splice.text.end {
            return match side {
                Side::Start => splice.file.start,
                Side::End => splice.file.end,
            };
        }
        if let (Side::Start, true) = (side, splice.text == (offset..offset)) {
            // What begins where nothing was pasted begins with the `${…}` in the file.
            let first = self
                .splices
                .partition_point(|splice| splice.text.end < offset);
            let first = self.splices[first..after]
                .iter()
                .find(|splice| splice.text.is_empty());
            return first.unwrap_or(splice).file.start;
        }
        (splice.file.end + (offset - splice.text.end)).min(self.file.len())
    }

    fn file_position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        let column = self
            .file
            .get(start..offset)
            .map_or(0, |text| text.chars().count());
        (line, column + 1)
    }

    /// Byte offset of a line and column, both from 1, of the interpolated text.
    pub(crate) fn text_offset(&self, line: usize, column: usize) -> usize {
        let start = self
            .text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum::<usize>();
        let rest = &self.text[start..];
        let within = rest
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(rest.len(), |(at, _)| at);
        start + within
    }
}

/// Which end of a range is looked for.
#[derive(Clone, Copy)]
enum Side {
    Start,
    End,
}

fn too_large(message: &str) -> Error {
    Error {
        line: 0,
        column: 0,
        message: message.to_owned(),
        hint: None,
    }
}
