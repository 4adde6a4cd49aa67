//! Reads Dockerfiles: continuations, comments, here-documents, flags, stages.
//! Knows nothing of contexts and images; errors carry the line.

use super::syntax;

/// A Dockerfile, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// `ARG`s before the first `FROM`.
    pub(super) arguments: Vec<Instruction>,
    /// The stages in order.
    pub(super) stages: Vec<Stage>,
}

/// One `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    /// Name given with `AS`, lower case.
    pub(super) name: Option<String>,
    /// Image or stage it starts from, variables not put in.
    pub(super) base: String,
    /// The instructions.
    pub(super) instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Line it begins on.
    pub(super) line: usize,
    /// Its name.
    pub(super) keyword: Keyword,
    /// `--name=value` flags.
    pub(super) flags: Vec<(String, String)>,
    /// The rest, on one line.
    pub(super) rest: String,
    /// Bodies of here-documents.
    pub(super) documents: Vec<Document>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// The word that ends it.
    pub(super) name: String,
    /// Its lines.
    pub(super) body: String,
}

/// Names of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Label,
    Run,
    User,
    Workdir,
    /// Changes nothing that is simulated.
    Other(&'static str),
}

impl Keyword {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "ADD" => Self::Add,
            "ARG" => Self::Arg,
            "CMD" => Self::Cmd,
            "COPY" => Self::Copy,
            "ENTRYPOINT" => Self::Entrypoint,
            "ENV" => Self::Env,
            "EXPOSE" => Self::Expose,
            "FROM" => Self::From,
            "LABEL" => Self::Label,
            "RUN" => Self::Run,
            "USER" => Self::User,
            "WORKDIR" => Self::Workdir,
            "HEALTHCHECK" => Self::Other("HEALTHCHECK"),
            "MAINTAINER" => Self::Other("MAINTAINER"),
            "ONBUILD" => Self::Other("ONBUILD"),
            "SHELL" => Self::Other("SHELL"),
            "STOPSIGNAL" => Self::Other("STOPSIGNAL"),
            "VOLUME" => Self::Other("VOLUME"),
            _ => return None,
        })
    }

    /// The name in capitals.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Label => "LABEL",
            Self::Run => "RUN",
            Self::User => "USER",
            Self::Workdir => "WORKDIR",
            Self::Other(name) => name,
        }
    }

    /// Whether the instruction is a step of its own in a build log.
    pub(super) fn is_step(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run | Self::Workdir)
    }
}

impl Instruction {
    /// Value of a flag.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// The instruction on one line, as logs show it.
    pub(super) fn text(&self) -> String {
        let flags: String = self
            .flags
            .iter()
            .map(|(name, value)| {
                if value.is_empty() {
                    format!(" --{name}")
                } else {
                    format!(" --{name}={value}")
                }
            })
            .collect();
        format!("{}{flags} {}", self.keyword.name(), self.rest)
    }

    /// The words of the JSON form, if that is what it has.
    pub(super) fn json(&self) -> Option<Vec<String>> {
        if self.rest.starts_with('[') {
            serde_json::from_str(&self.rest).ok()
        } else {
            None
        }
    }

    /// The words to start: the JSON form as it is, the other one by a shell.
    pub(super) fn program(&self) -> Vec<String> {
        self.json()
            .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), self.rest.clone()])
    }
}

/// Reads a Dockerfile. Errors are phrased as BuildKit does.
pub(super) fn parse(text: &str) -> Result<Dockerfile, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().enumerate();
    let mut file = Dockerfile {
        arguments: Vec::new(),
        stages: Vec::new(),
    };
    let mut any = false;
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        any = true;
        let mut joined = String::new();
        let mut part = line;
        while let Some(before) = part.trim_end().strip_suffix('\\') {
            joined.push_str(before);
            // Comments and blank lines between continued lines do not count.
            let next = lines
                .by_ref()
                .map(|(_, line)| line)
                .find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            part = next.unwrap_or("");
        }
        joined.push_str(part);
        let mut instruction = instruction(number, joined.trim())?;
        if matches!(
            instruction.keyword,
            Keyword::Run | Keyword::Copy | Keyword::Add
        ) {
            for (name, strip_tabs) in document_names(&instruction.rest) {
                let mut body = String::new();
                loop {
                    let Some((_, line)) = lines.next() else {
                        return Err(format!(
                            "dockerfile parse error on line {number}: unterminated heredoc"
                        ));
                    };
                    let line = if strip_tabs {
                        line.trim_start_matches('\t')
                    } else {
                        line
                    };
                    if line.trim_end() == name {
                        break;
                    }
                    body.push_str(line);
                    body.push('\n');
                }
                instruction.documents.push(Document { name, body });
            }
        }
        place(&mut file, instruction)?;
    }
    match (any, file.stages.is_empty()) {
        (false, _) => Err("the Dockerfile cannot be empty".to_owned()),
        (true, true) => Err("no build stage in current context".to_owned()),
        (true, false) => Ok(file),
    }
}

fn place(file: &mut Dockerfile, instruction: Instruction) -> Result<(), String> {
    let line = instruction.line;
    if instruction.keyword == Keyword::From {
        let words: Vec<&str> = instruction.rest.split_whitespace().collect();
        let (base, name) = match words.as_slice() {
            [base] => (*base, None),
            [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
                (*base, Some(name.to_lowercase()))
            }
            _ => {
                return Err(format!(
                    "dockerfile parse error on line {line}: FROM requires either one or three arguments"
                ));
            }
        };
        file.stages.push(Stage {
            name,
            base: base.to_owned(),
            instructions: Vec::new(),
        });
        return Ok(());
    }
    match file.stages.last_mut() {
        Some(stage) => stage.instructions.push(instruction),
        None if instruction.keyword == Keyword::Arg => file.arguments.push(instruction),
        None => {
            return Err(format!(
                "dockerfile parse error on line {line}: no build stage in current context"
            ));
        }
    }
    Ok(())
}

fn instruction(line: usize, text: &str) -> Result<Instruction, String> {
    let (word, mut rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let keyword = Keyword::parse(word).ok_or_else(|| {
        format!("dockerfile parse error on line {line}: unknown instruction: {word}")
    })?;
    rest = rest.trim();
    let mut flags = Vec::new();
    if matches!(
        keyword,
        Keyword::Add | Keyword::Copy | Keyword::From | Keyword::Run | Keyword::Other("HEALTHCHECK")
    ) {
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            flags.push((name.to_owned(), value.to_owned()));
            rest = after.trim_start();
        }
    }
    if rest.is_empty() {
        return Err(format!(
            "dockerfile parse error on line {line}: {} requires at least one argument",
            keyword.name()
        ));
    }
    Ok(Instruction {
        line,
        keyword,
        flags,
        rest: rest.to_owned(),
        documents: Vec::new(),
    })
}

/// Names of the here-documents an instruction opens, and whether tabs go.
fn document_names(rest: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for word in rest.split_whitespace() {
        let Some(name) = word
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .strip_prefix("<<")
        else {
            continue;
        };
        let (name, strip_tabs) = name
            .strip_prefix('-')
            .map_or((name, false), |name| (name, true));
        let name = name.trim_matches(['"', '\'']);
        if syntax::is_name(name) {
            found.push((name.to_owned(), strip_tabs));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_flags_and_continuations_are_read() {
        let file = parse(
            "# syntax=docker/dockerfile:1\nARG TAG=3\nFROM --platform=linux/amd64 ruby:$TAG AS Build\n\
             RUN apt-get update && \\\n  # a comment\n  apt-get install x\n\nFROM scratch\n\
             copy --from=build --link /out /\ncmd [\"a\", \"b c\"]\n",
        )
        .expect("a Dockerfile");
        assert_eq!(file.arguments.len(), 1);
        assert_eq!(file.stages[0].name.as_deref(), Some("build"));
        assert_eq!(file.stages[0].base, "ruby:$TAG");
        assert_eq!(
            file.stages[0].instructions[0].rest,
            "apt-get update &&   apt-get install x"
        );
        let [copy, cmd] = file.stages[1].instructions.as_slice() else {
            panic!("two instructions")
        };
        assert_eq!(copy.flag("from"), Some("build"));
        assert_eq!(copy.text(), "COPY --from=build --link /out /");
        assert_eq!(cmd.program(), ["a", "b c"]);
    }

    #[test]
    fn here_documents_belong_to_their_instruction() {
        let file = parse("FROM a\nRUN <<EOF\necho x\nfalse\nEOF\nCMD b\n").expect("a Dockerfile");
        let run = &file.stages[0].instructions[0];
        assert_eq!(
            run.documents,
            [Document {
                name: "EOF".to_owned(),
                body: "echo x\nfalse\n".to_owned()
            }]
        );
        assert_eq!(
            file.stages[0].instructions[1].program(),
            ["/bin/sh", "-c", "b"]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, error) in [
            ("# nothing\n", "the Dockerfile cannot be empty"),
            ("ARG A\n", "no build stage in current context"),
            (
                "RUN a\n",
                "dockerfile parse error on line 1: no build stage in current context",
            ),
            (
                "FROM a\nFLY away\n",
                "dockerfile parse error on line 2: unknown instruction: FLY",
            ),
            (
                "FROM a b\n",
                "dockerfile parse error on line 1: FROM requires either one or three arguments",
            ),
            (
                "FROM a\nRUN\n",
                "dockerfile parse error on line 2: RUN requires at least one argument",
            ),
            (
                "FROM a\nRUN <<E\nx\n",
                "dockerfile parse error on line 2: unterminated heredoc",
            ),
        ] {
            assert_eq!(parse(text).expect_err(text), error);
        }
    }
}
