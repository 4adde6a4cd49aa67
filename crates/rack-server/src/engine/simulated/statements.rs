//! Reads dumps of MySQL and MariaDB as their client would, as far as that shows whether they
//! are any: cut into statements, each of which must begin like one, with delimiters of the
//! dump's own. What statements mean is not understood.

use super::dump::{Dump, Part};

/// What statements begin with.
const COMMANDS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECK",
    "COMMIT",
    "CREATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DO",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "FLUSH",
    "GRANT",
    "INSERT",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "PREPARE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
];
/// What stands between the dump and the statement behind its end.
const END: u64 = "\nDELIMITER ;\n;\n".len() as u64;
/// Bytes of a statement that are remembered: enough for the one behind the end.
const LONGEST: usize = 128;

/// Where in a dump a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a statement, or before one.
    Plain,
    /// In a text or a name that ends with this byte; behind a backslash in it.
    Quoted(u8, bool),
    /// In a comment to the end of the line.
    LineComment,
    /// In a comment.
    Comment,
    /// On the line that names a delimiter.
    Delimiter,
}

/// Statements, as the client of MySQL takes them.
pub(super) struct Statements {
    at: At,
    before: u8,
    read: u64,
    /// Where the statement began, if one has.
    began: Option<u64>,
    /// The statement so far, its first bytes.
    text: Vec<u8>,
    /// Its first word.
    word: Vec<u8>,
    word_ended: bool,
    parentheses: u32,
    delimiter: Vec<u8>,
    /// The last bytes, as far as they may be a delimiter.
    tail: Vec<u8>,
    line: Vec<u8>,
    wrong: Option<String>,
    /// What the last statement selected, and where it began.
    said: Option<(String, u64)>,
}

impl Default for Statements {
    fn default() -> Self {
        Self {
            at: At::Plain,
            before: b'\n',
            read: 0,
            began: None,
            text: Vec::new(),
            word: Vec::new(),
            word_ended: false,
            parentheses: 0,
            delimiter: b";".to_vec(),
            tail: Vec::new(),
            line: Vec::new(),
            wrong: None,
            said: None,
        }
    }
}

impl Statements {
    fn refuse(&mut self, near: &str) {
        self.wrong.get_or_insert_with(|| {
            format!(
                "ERROR 1064 (42000): You have an error in your SQL syntax; check the manual near '{near}'"
            )
        });
    }

    fn begins(&mut self) {
        self.began.get_or_insert(self.read - 1);
    }

    fn word_ends(&mut self) {
        if self.word_ended || self.word.is_empty() {
            return;
        }
        self.word_ended = true;
        let word = String::from_utf8_lossy(&self.word).to_ascii_uppercase();
        if word == "DELIMITER" {
            self.clear();
            self.line.clear();
            self.at = At::Delimiter;
        } else if !COMMANDS.contains(&word.as_str()) {
            let near = String::from_utf8_lossy(&self.word).into_owned();
            self.refuse(&near);
        }
    }

    fn clear(&mut self) {
        self.began = None;
        self.text.clear();
        self.word.clear();
        self.word_ended = false;
        self.parentheses = 0;
        self.tail.clear();
    }

    fn statement_ends(&mut self) {
        self.word_ends();
        if self.parentheses > 0 {
            self.refuse("");
        }
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let selected = text
            .strip_prefix("SELECT '")
            .and_then(|text| text.split_once('\''));
        if let (Some((word, _)), Some(began)) = (selected, self.began) {
            self.said = Some((word.to_owned(), began));
        } else if self.began.is_some() {
            self.said = None;
        }
        self.clear();
    }

    fn plain(&mut self, byte: u8, before: u8) {
        match byte {
            b'-' if before == b'-' => {
                self.at = At::LineComment;
                if self.began == Some(self.read - 2) {
                    self.clear();
                }
                return;
            }
            b'#' => {
                self.word_ends();
                self.at = At::LineComment;
                return;
            }
            b'*' if before == b'/' => {
                self.at = At::Comment;
                self.before = 0;
                if self.began == Some(self.read - 2) {
                    self.clear();
                }
                return;
            }
            _ => {}
        }
        let in_word = byte.is_ascii_alphanumeric() || byte == b'_';
        if !in_word {
            self.word_ends();
            if self.at == At::Delimiter {
                // The blank before the delimiter.
                return;
            }
        }
        self.tail.push(byte);
        let surplus = self.tail.len().saturating_sub(self.delimiter.len());
        self.tail.drain(..surplus);
        if self.tail == self.delimiter {
            self.statement_ends();
            return;
        }
        if byte.is_ascii_whitespace() && self.began.is_none() {
            return;
        }
        self.begins();
        if self.text.len() < LONGEST {
            self.text.push(byte);
        }
        match byte {
            b'\'' | b'"' | b'`' => {
                if self.word.is_empty() {
                    self.refuse(&char::from(byte).to_string());
                }
                self.at = At::Quoted(byte, false);
            }
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ if in_word && !self.word_ended => self.word.push(byte),
            // A parenthesis may stand around a query, and what begins a comment is told later.
            _ if self.word.is_empty()
                && !byte.is_ascii_whitespace()
                && !b"-/".contains(&byte)
                && !self.delimiter.contains(&byte) =>
            {
                self.refuse(&char::from(byte).to_string());
            }
            _ => {}
        }
    }

    fn byte(&mut self, byte: u8) {
        self.read += 1;
        let before = std::mem::replace(&mut self.before, byte);
        match self.at {
            At::Plain => self.plain(byte, before),
            At::Quoted(quote, escaped) => {
                if self.text.len() < LONGEST {
                    self.text.push(byte);
                }
                self.at = match byte {
                    _ if escaped => At::Quoted(quote, false),
                    b'\\' if quote != b'`' => At::Quoted(quote, true),
                    // Two of them are one: the text goes on as another.
                    _ if byte == quote => At::Plain,
                    _ => At::Quoted(quote, false),
                };
            }
            At::LineComment if byte == b'\n' => self.at = At::Plain,
            At::Comment if byte == b'/' && before == b'*' => {
                self.at = At::Plain;
                self.before = 0;
            }
            At::Delimiter if byte == b'\n' => {
                let line = self.line.trim_ascii().to_vec();
                if !line.is_empty() {
                    self.delimiter = line;
                }
                self.at = At::Plain;
            }
            At::Delimiter => self.line.push(byte),
            At::LineComment | At::Comment => {}
        }
    }
}

impl Dump for Statements {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    fn end(self: Box<Self>) -> Result<Option<Part>, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let whole = self.at == At::Plain && self.began.is_none();
        match self.said.filter(|_| whole) {
            Some((said, began)) if said.starts_with("restored-") => Ok(Some(Part {
                offset: 0,
                size: began.saturating_sub(END),
                said: format!("{said}\n"),
            })),
            _ => Err("ERROR: the dump ends in the middle of a statement".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of statements that are restored, read as a whole and byte by byte.
    fn restored(sql: &str) -> Result<Option<String>, String> {
        let sent = format!("{sql}\nDELIMITER ;\n;\nSELECT 'restored-1';\n");
        let mut whole = Box::new(Statements::default());
        whole.take(sent.as_bytes());
        let mut pieces = Box::new(Statements::default());
        for byte in sent.as_bytes() {
            pieces.take(std::slice::from_ref(byte));
        }
        let read = whole.end();
        assert_eq!(read, pieces.end());
        Ok(read?.map(|part| {
            assert_eq!((part.offset, part.said.as_str()), (0, "restored-1\n"));
            sent[..usize::try_from(part.size).expect("small")].to_owned()
        }))
    }

    #[test]
    fn statements_are_cut_as_the_client_does() {
        for sql in [
            "",
            "-- only a comment",
            "/*!40101 SET NAMES utf8mb4 */;\nDROP TABLE IF EXISTS `a``;b`;",
            "INSERT INTO `t` VALUES (1,'it\\'s; \\\\'),(2,\"a;b\"),(3,'it''s');\n# done; so\nUNLOCK TABLES;",
            "DELIMITER ;;\nCREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN SET @a = 1; SET @b = 2; END ;;\nDELIMITER ;\nSELECT 1;",
            "/* one; */ select 'restored-0';\nselect 5 - -3, 8/2;",
            "(SELECT 1) UNION (SELECT 2);\n;\n",
            "CREATE TABLE a (b text)",
        ] {
            assert_eq!(restored(sql), Ok(Some(sql.to_owned())), "{sql}");
        }
    }

    #[test]
    fn what_is_none_is_refused_and_so_is_what_is_cut() {
        for sql in [
            "no dump at all",
            "SELECT 1;\nnonsense;",
            "{\"json\": true}",
            "\u{1f}\u{8b} compressed",
            "CREATE TABLE a (b text); 'text';",
            "INSERT INTO other VALUES (1",
        ] {
            let error = restored(sql).expect_err(sql);
            assert!(error.starts_with("ERROR 1064"), "{sql}: {error}");
        }
        for cut in [
            "INSERT INTO other VALUES ('abc",
            "SELECT 1; /* and then",
            "SELECT `and then",
        ] {
            let error = restored(cut).expect_err(cut);
            assert!(error.contains("middle of a statement"), "{cut}: {error}");
        }
        // Input that broke off has no word behind it.
        let mut broken = Box::new(Statements::default());
        broken.take(b"CREATE TABLE a (b text);\n");
        assert!(broken.end().is_err());
    }
}
