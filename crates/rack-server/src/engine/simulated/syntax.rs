//! The grammar of the small shell: words with quotes and variables, commands,
//! pipelines, `;` `&&` `||`. Dockerfiles use its words too.

use std::iter::Peekable;
use std::str::Chars;

/// A word before its variables are put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text {
        text: String,
        quoted: bool,
    },
    Variable {
        name: String,
        fallback: Option<Fallback>,
        quoted: bool,
    },
}

/// `${NAME:-word}` or `${NAME:+word}`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fallback {
    when_set: bool,
    word: Word,
}

impl Word {
    /// The text of a word without quotes and variables.
    fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [
                Piece::Text {
                    text,
                    quoted: false,
                },
            ] => Some(text),
            _ => None,
        }
    }

    /// Puts variables in, as one string.
    pub(super) fn text(&self, lookup: &dyn Fn(&str) -> Option<String>) -> String {
        self.0.iter().map(|piece| piece.text(lookup)).collect()
    }

    /// Puts variables in; what came from an unquoted variable is split at blanks.
    pub(super) fn fields(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let mut fields = Vec::new();
        let mut current: Option<String> = None;
        for piece in &self.0 {
            let text = piece.text(lookup);
            if !matches!(piece, Piece::Variable { quoted: false, .. }) {
                current.get_or_insert_default().push_str(&text);
                continue;
            }
            if text.starts_with(char::is_whitespace) {
                fields.extend(current.take());
            }
            for (index, part) in text.split_whitespace().enumerate() {
                if index > 0 {
                    fields.extend(current.take());
                }
                current.get_or_insert_default().push_str(part);
            }
            if text.ends_with(char::is_whitespace) {
                fields.extend(current.take());
            }
        }
        fields.extend(current);
        fields
    }

    /// Splits `NAME=value`.
    pub(super) fn assignment(&self) -> Option<(String, Self)> {
        let Some(Piece::Text {
            text,
            quoted: false,
        }) = self.0.first()
        else {
            return None;
        };
        let (name, rest) = text.split_once('=')?;
        if !is_name(name) {
            return None;
        }
        let mut pieces = vec![Piece::Text {
            text: rest.to_owned(),
            quoted: true,
        }];
        pieces.extend_from_slice(&self.0[1..]);
        Some((name.to_owned(), Self(pieces)))
    }
}

impl Piece {
    fn text(&self, lookup: &dyn Fn(&str) -> Option<String>) -> String {
        match self {
            Self::Text { text, .. } => text.clone(),
            Self::Variable { name, fallback, .. } => {
                let value = lookup(name).filter(|value| fallback.is_none() || !value.is_empty());
                match fallback {
                    Some(fallback) if fallback.when_set == value.is_some() => {
                        fallback.word.text(lookup)
                    }
                    Some(fallback) if fallback.when_set => String::new(),
                    Some(_) | None => value.unwrap_or_default(),
                }
            }
        }
    }
}

/// Whether text can name a variable.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// How a pipeline hangs on the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// Always runs.
    Then,
    /// Runs after success.
    And,
    /// Runs after failure.
    Or,
}

/// One command of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Words.
    Simple {
        /// The words, assignments included.
        words: Vec<Word>,
        /// Whether its output goes to `/dev/null`.
        silent: bool,
    },
    /// Loops, conditions and functions: more than this shell can do.
    Opaque(String),
}

/// Commands whose outputs feed the next.
pub(super) type Pipeline = Vec<Command>;

/// A whole script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script(pub(super) Vec<(Join, Pipeline)>);

/// Words that begin what this shell cannot do.
const RESERVED: [&str; 10] = [
    "while", "until", "for", "if", "case", "{", "(", "function", "!", "[[",
];

/// Reads a script. The error is the text after `sh: `.
pub(super) fn parse(script: &str) -> Result<Script, String> {
    let mut reader = Reader {
        script,
        chars: script.chars().peekable(),
        taken: 0,
    };
    let mut pipelines = Vec::new();
    let mut join = Join::Then;
    let mut pipeline = Pipeline::new();
    loop {
        let command = reader.command()?;
        let opaque = matches!(command, Some(Command::Opaque(_)));
        let empty = command.is_none();
        pipeline.extend(command);
        if opaque {
            pipelines.push((join, pipeline));
            break;
        }
        let operator = reader.operator();
        if empty
            && (matches!(operator, "&&" | "||" | "|")
                || (operator.is_empty() && join != Join::Then))
        {
            let what = if operator.is_empty() {
                "end of file"
            } else {
                operator
            };
            return Err(format!("syntax error: \"{what}\" unexpected"));
        }
        if operator == "|" {
            continue;
        }
        if !pipeline.is_empty() {
            pipelines.push((join, std::mem::take(&mut pipeline)));
        }
        join = match operator {
            "&&" => Join::And,
            "||" => Join::Or,
            // A newline after an operator does not end the command.
            ";" if empty && join != Join::Then => join,
            _ => Join::Then,
        };
        if operator.is_empty() {
            break;
        }
    }
    Ok(Script(pipelines))
}

/// Splits text into words, as Dockerfile instructions do.
pub(super) fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut reader = Reader {
        script: text,
        chars: text.chars().peekable(),
        taken: 0,
    };
    let mut words = Vec::new();
    loop {
        reader.blanks();
        if reader.chars.peek().is_none() {
            return Ok(words);
        }
        words.push(reader.word(char::is_whitespace)?);
    }
}

/// Reads text as a single word, blanks included.
pub(super) fn template(text: &str) -> Result<Word, String> {
    Reader {
        script: text,
        chars: text.chars().peekable(),
        taken: 0,
    }
    .word(|_| false)
}

struct Reader<'a> {
    script: &'a str,
    chars: Peekable<Chars<'a>>,
    taken: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.taken += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.chars.peek() == Some(&wanted);
        if found {
            self.next();
        }
        found
    }

    fn blanks(&mut self) {
        while self
            .chars
            .peek()
            .is_some_and(|c| c.is_whitespace() && *c != '\n')
        {
            self.next();
        }
    }

    /// The next command, or nothing before an operator.
    fn command(&mut self) -> Result<Option<Command>, String> {
        let mut words = Vec::new();
        let mut silent = false;
        loop {
            self.blanks();
            let start = self.taken;
            match self.chars.peek() {
                None | Some('\n' | ';' | '|') => break,
                Some('&') => {
                    // `&>file` redirects, `&` alone ends the command.
                    let mut ahead = self.chars.clone();
                    ahead.next();
                    if ahead.peek() != Some(&'>') {
                        break;
                    }
                    self.next();
                    silent |= self.redirection()?;
                }
                Some('#') => {
                    while self.chars.peek().is_some_and(|c| *c != '\n') {
                        self.next();
                    }
                }
                Some('<') => {
                    self.redirection()?;
                }
                Some('>') => silent |= self.redirection()?,
                Some('(') if words.is_empty() => {
                    return Ok(Some(Command::Opaque(self.rest(start))));
                }
                Some(_) => {
                    let word = self.word(|c| c.is_whitespace() || ";&|<>".contains(c))?;
                    let redirects = matches!(self.chars.peek(), Some('<' | '>'));
                    match word.literal() {
                        Some(digits) if redirects && digits.bytes().all(|b| b.is_ascii_digit()) => {
                            let to_null = self.redirection()?;
                            silent |= to_null && digits == "1";
                        }
                        Some(reserved) if words.is_empty() && RESERVED.contains(&reserved) => {
                            return Ok(Some(Command::Opaque(self.rest(start))));
                        }
                        _ => words.push(word),
                    }
                }
            }
        }
        Ok((!words.is_empty()).then_some(Command::Simple { words, silent }))
    }

    /// Takes everything that is left.
    fn rest(&mut self, start: usize) -> String {
        while self.next().is_some() {}
        self.script[start..].trim().to_owned()
    }

    /// Takes `>`, `>>`, `>&`, `<` … and their target. Returns whether it is `/dev/null`.
    fn redirection(&mut self) -> Result<bool, String> {
        while self.chars.peek().is_some_and(|c| "<>&".contains(*c)) {
            self.next();
        }
        self.blanks();
        let target = self.word(|c| c.is_whitespace() || ";&|<>".contains(c))?;
        if target.0.is_empty() {
            return Err("syntax error: redirection without a target".to_owned());
        }
        Ok(target.literal() == Some("/dev/null"))
    }

    fn operator(&mut self) -> &'static str {
        match self.next() {
            Some('&') if self.eat('&') => "&&",
            Some('|') if self.eat('|') => "||",
            Some('|') => "|",
            Some(_) => ";",
            None => "",
        }
    }

    /// Reads up to an unquoted character that ends the word.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<Word, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let flush = |text: &mut String, pieces: &mut Vec<Piece>| {
            if !text.is_empty() {
                pieces.push(Piece::Text {
                    text: std::mem::take(text),
                    quoted: false,
                });
            }
        };
        while let Some(&c) = self.chars.peek() {
            if ends(c) {
                break;
            }
            self.next();
            match c {
                '\\' => match self.next() {
                    Some('\n') => {}
                    Some(c) => {
                        flush(&mut text, &mut pieces);
                        pieces.push(Piece::Text {
                            text: c.to_string(),
                            quoted: true,
                        });
                    }
                    None => text.push('\\'),
                },
                '\'' => {
                    flush(&mut text, &mut pieces);
                    let mut quoted = String::new();
                    loop {
                        match self.next() {
                            Some('\'') => break,
                            Some(c) => quoted.push(c),
                            None => {
                                return Err("syntax error: unterminated quoted string".to_owned());
                            }
                        }
                    }
                    pieces.push(Piece::Text {
                        text: quoted,
                        quoted: true,
                    });
                }
                '"' => {
                    flush(&mut text, &mut pieces);
                    self.double_quoted(&mut pieces)?;
                }
                '$' => match self.variable(false)? {
                    Some(variable) => {
                        flush(&mut text, &mut pieces);
                        pieces.push(variable);
                    }
                    None => text.push('$'),
                },
                c => text.push(c),
            }
        }
        flush(&mut text, &mut pieces);
        Ok(Word(pieces))
    }

    fn double_quoted(&mut self, pieces: &mut Vec<Piece>) -> Result<(), String> {
        let mut quoted = String::new();
        loop {
            match self.next() {
                Some('"') => break,
                Some('\\') => match self.next() {
                    Some('\n') => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => quoted.push(c),
                    Some(c) => quoted.extend(['\\', c]),
                    None => return Err("syntax error: unterminated quoted string".to_owned()),
                },
                Some('$') => match self.variable(true)? {
                    Some(variable) => {
                        pieces.push(Piece::Text {
                            text: std::mem::take(&mut quoted),
                            quoted: true,
                        });
                        pieces.push(variable);
                    }
                    None => quoted.push('$'),
                },
                Some(c) => quoted.push(c),
                None => return Err("syntax error: unterminated quoted string".to_owned()),
            }
        }
        pieces.push(Piece::Text {
            text: quoted,
            quoted: true,
        });
        Ok(())
    }

    /// Reads what follows a `$`; nothing when it is just a dollar sign.
    fn variable(&mut self, quoted: bool) -> Result<Option<Piece>, String> {
        match self.chars.peek() {
            Some('{') => {
                self.next();
                let mut inner = String::new();
                let mut depth = 1;
                loop {
                    match self.next() {
                        Some('}') if depth == 1 => break,
                        Some(c) => {
                            depth += i32::from(c == '{') - i32::from(c == '}');
                            inner.push(c);
                        }
                        None => return Err("syntax error: missing \"}\"".to_owned()),
                    }
                }
                let end = inner
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(inner.len());
                let (name, rest) = inner.split_at(end);
                let fallback = match rest.trim_start_matches(':').chars().next() {
                    None if rest.is_empty() && !name.is_empty() => None,
                    Some(sign @ ('-' | '+')) if !name.is_empty() => {
                        let word = template(&rest.trim_start_matches(':')[1..])?;
                        Some(Fallback {
                            when_set: sign == '+',
                            word,
                        })
                    }
                    _ if inner == "?" || inner == "#" => {
                        return Ok(Some(Piece::Variable {
                            name: inner,
                            fallback: None,
                            quoted,
                        }));
                    }
                    _ => return Err(format!("${{{inner}}}: bad substitution")),
                };
                Ok(Some(Piece::Variable {
                    name: name.to_owned(),
                    fallback,
                    quoted,
                }))
            }
            Some('?') => {
                self.next();
                Ok(Some(Piece::Variable {
                    name: "?".to_owned(),
                    fallback: None,
                    quoted,
                }))
            }
            Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
                let mut name = String::new();
                while let Some(&c) = self.chars.peek() {
                    if !c.is_ascii_alphanumeric() && c != '_' {
                        break;
                    }
                    name.push(c);
                    self.next();
                }
                Ok(Some(Piece::Variable {
                    name,
                    fallback: None,
                    quoted,
                }))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        let lookup = |name: &str| match name {
            "TWO" => Some("a b".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        words(text)
            .expect(text)
            .iter()
            .flat_map(|word| word.fields(&lookup))
            .collect()
    }

    #[test]
    fn words_follow_quotes_and_variables() {
        assert_eq!(
            fields(r#"a 'b  c' "d $TWO" $TWO x\ y"#),
            ["a", "b  c", "d a b", "a", "b", "x y"]
        );
        assert_eq!(fields(r#"$NONE "$NONE" ''"#), ["", ""]);
        assert_eq!(
            fields("${NONE:-x} ${TWO:+y} ${EMPTY:-z} ${TWO-q}"),
            ["x", "y", "z", "a", "b"]
        );
        assert_eq!(fields("pre${TWO}post 5$"), ["prea", "bpost", "5$"]);
    }

    #[test]
    fn scripts_are_split_at_operators() {
        let script = parse("a && b || c; d | e\nf & ").expect("a script");
        let shape: Vec<_> = script
            .0
            .iter()
            .map(|(join, pipeline)| (*join, pipeline.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (Join::Then, 1),
                (Join::And, 1),
                (Join::Or, 1),
                (Join::Then, 2),
                (Join::Then, 1)
            ]
        );
    }

    #[test]
    fn redirections_are_taken_out() {
        let script = parse("echo 2 >/dev/null 2>&1 < in # no").expect("a script");
        let [(_, pipeline)] = script.0.as_slice() else {
            panic!("one pipeline")
        };
        let [Command::Simple { words, silent }] = pipeline.as_slice() else {
            panic!("one command")
        };
        assert_eq!((words.len(), *silent), (2, true));
    }

    #[test]
    fn loops_are_opaque() {
        let script = parse("echo a; while true; do sleep 1; done").expect("a script");
        assert_eq!(
            script.0[1].1,
            [Command::Opaque("while true; do sleep 1; done".to_owned())]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (script, error) in [
            ("echo 'a", "syntax error: unterminated quoted string"),
            ("&& a", "syntax error: \"&&\" unexpected"),
            ("a &&", "syntax error: \"end of file\" unexpected"),
            ("echo ${a", "syntax error: missing \"}\""),
            ("echo >", "syntax error: redirection without a target"),
        ] {
            assert_eq!(parse(script).expect_err(script), error);
        }
    }
}
