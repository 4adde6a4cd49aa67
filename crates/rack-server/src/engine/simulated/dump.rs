//! Reads dumps as the programs of databases would, as far as that shows whether they are
//! any: SQL is cut into statements by the rules of `psql`, each of which must begin like
//! one; an RDB file has a head, an end and a checksum. What statements and keys mean is
//! not understood.

/// Where the part of a restore is that is kept, and what is said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// First byte.
    pub(super) offset: u64,
    /// Number of bytes.
    pub(super) size: u64,
    /// Output of the program.
    pub(super) said: String,
}

/// Reads a dump piece by piece.
pub(super) trait Dump: Send {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);

    /// What is kept at the end: nothing of what was never committed. An error is what
    /// the program says.
    fn end(self: Box<Self>) -> Result<Option<Part>, String>;
}

/// What statements of PostgreSQL begin with.
const COMMANDS: &[&str] = &[
    "ABORT",
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "GRANT",
    "IMPORT",
    "INSERT",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "PREPARE",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SECURITY",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "VACUUM",
    "VALUES",
    "WITH",
];
/// Longest word that is looked at; longer ones are no commands.
const LONGEST_WORD: usize = 32;
/// Words of a statement that are remembered: enough to know what it copies from where.
const FIRST_WORDS: usize = 4;
/// Longest line of a command to `psql` itself that is remembered.
const LONGEST_LINE: usize = 512;

/// Where in SQL a byte is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In a statement, or before one.
    Plain,
    /// In a word.
    Word,
    /// In a text; with escapes a backslash takes the next byte along.
    Text { escapes: bool, escaped: bool },
    /// In a quoted name.
    Name,
    /// In a comment to the end of the line.
    LineComment,
    /// In a comment, so many deep.
    Comment(u32),
    /// Behind a dollar sign: in what may become the mark of a text.
    Mark,
    /// In a text between marks; what of its end has been seen.
    Marked(usize),
    /// In a command to `psql` itself.
    Meta,
    /// In the lines of a `COPY`.
    Rows,
}

/// SQL, as `psql` takes it inside a transaction that ends with `COMMIT` and an `\echo`.
pub(super) struct Sql {
    at: At,
    before: u8,
    read: u64,
    zero: bool,
    wrong: Option<String>,
    /// Where the statement began, if one has.
    began: Option<u64>,
    word: Vec<u8>,
    words: Vec<String>,
    last: String,
    /// The statement is a `COPY` of the lines behind it.
    copies: bool,
    /// The last text was one with escapes.
    escapes: bool,
    parentheses: u32,
    /// Bodies of functions that are open.
    bodies: u32,
    mark: Vec<u8>,
    line: Vec<u8>,
    first: Option<u64>,
    committed: Option<u64>,
    said: String,
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            at: At::Plain,
            before: b'\n',
            read: 0,
            zero: false,
            wrong: None,
            began: None,
            word: Vec::new(),
            words: Vec::new(),
            last: String::new(),
            copies: false,
            escapes: false,
            parentheses: 0,
            bodies: 0,
            mark: Vec::new(),
            line: Vec::new(),
            first: None,
            committed: None,
            said: String::new(),
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Sql {
    fn refuse(&mut self, near: &str) {
        if self.wrong.is_none() {
            self.wrong = Some(format!("ERROR:  syntax error at or near \"{near}\""));
        }
    }

    /// A word has ended.
    fn word_ended(&mut self) {
        let word = String::from_utf8_lossy(&self.word).into_owned();
        self.word.clear();
        let upper = word.to_ascii_uppercase();
        if self.words.is_empty() && !COMMANDS.contains(&upper.as_str()) {
            self.refuse(&word);
        }
        // The statements of a body end like all others, and do not end it.
        let first = |at: usize| self.words.get(at).map_or("", String::as_str);
        let makes = ["FUNCTION", "PROCEDURE"];
        if first(0) == "CREATE" && (makes.contains(&first(1)) || makes.contains(&first(3))) {
            match upper.as_str() {
                "BEGIN" => self.bodies += 1,
                "CASE" if self.bodies > 0 => self.bodies += 1,
                "END" => self.bodies = self.bodies.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < FIRST_WORDS {
            self.words.push(upper.clone());
        }
        self.copies |= self.last == "FROM" && upper == "STDIN";
        self.last = upper;
    }

    /// A statement has ended.
    fn statement_ended(&mut self) {
        let began = self.began.take();
        let words = std::mem::take(&mut self.words);
        let copies = std::mem::take(&mut self.copies);
        self.last.clear();
        match words.first().map(String::as_str) {
            Some("BEGIN") if self.first.is_none() => self.first = Some(self.read),
            Some("COMMIT" | "END") => self.committed = began,
            Some("ROLLBACK" | "ABORT") => self.committed = None,
            Some("COPY") if copies => {
                self.line.clear();
                self.at = At::Rows;
            }
            _ => {}
        }
    }

    fn meta_ended(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if let Some(said) = line.strip_prefix("echo ") {
            self.said.push_str(said.trim());
            self.said.push('\n');
        }
    }

    fn text(&mut self, escapes: bool) {
        self.escapes = escapes;
        self.at = At::Text {
            escapes,
            escaped: false,
        };
    }

    fn plain(&mut self, byte: u8, before: u8) {
        let fresh = self.began.is_none();
        match byte {
            b'-' if before == b'-' => {
                self.at = At::LineComment;
                // A first dash alone would have begun a statement.
                if self.began == Some(self.read - 2) {
                    self.began = None;
                }
                return;
            }
            b'*' if before == b'/' => {
                self.at = At::Comment(1);
                self.before = 0;
                if self.began == Some(self.read - 2) {
                    self.began = None;
                }
                return;
            }
            b'\\' if fresh => {
                self.line.clear();
                self.at = At::Meta;
                return;
            }
            _ if byte.is_ascii_whitespace() => return,
            b';' if self.parentheses == 0 && self.bodies == 0 => {
                self.statement_ended();
                return;
            }
            b'\'' => {
                // Right behind another text it is the same text.
                let escapes = before == b'\'' && self.escapes;
                self.text(escapes);
            }
            b'"' => self.at = At::Name,
            b'$' if !is_word(before) => {
                self.mark = vec![b'$'];
                self.at = At::Mark;
            }
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ if is_word(byte) => {
                self.word.push(byte);
                self.at = At::Word;
            }
            _ => {}
        }
        self.began.get_or_insert(self.read - 1);
        // A statement begins with a word, or a parenthesis around a query.
        if self.words.is_empty() && self.at != At::Word && !b"(-/".contains(&byte) {
            self.refuse(&String::from(char::from(byte)));
        }
    }

    fn byte(&mut self, byte: u8) {
        self.read += 1;
        self.zero |= byte == 0;
        let before = std::mem::replace(&mut self.before, byte);
        match &mut self.at {
            At::Plain => self.plain(byte, before),
            At::Word if is_word(byte) || byte == b'$' => {
                if self.word.len() < LONGEST_WORD {
                    self.word.push(byte);
                }
            }
            At::Word => {
                self.at = At::Plain;
                if byte == b'\'' && self.word.eq_ignore_ascii_case(b"e") {
                    // The letter of a text with escapes.
                    self.word.clear();
                    self.text(true);
                } else {
                    self.word_ended();
                    self.plain(byte, before);
                }
            }
            At::Text { escapes, escaped } => match byte {
                _ if *escaped => *escaped = false,
                b'\\' if *escapes => *escaped = true,
                // Two of them are one: the text goes on as another.
                b'\'' => self.at = At::Plain,
                _ => {}
            },
            At::Name if byte == b'"' => self.at = At::Plain,
            At::LineComment if byte == b'\n' => self.at = At::Plain,
            At::Comment(depth) => {
                let change = match (before, byte) {
                    (b'/', b'*') => Some(*depth + 1),
                    (b'*', b'/') => Some(*depth - 1),
                    _ => None,
                };
                if let Some(depth) = change {
                    self.at = if depth == 0 {
                        At::Plain
                    } else {
                        At::Comment(depth)
                    };
                    // No byte is part of two marks.
                    self.before = 0;
                }
            }
            At::Mark if byte == b'$' => {
                self.mark.push(byte);
                self.at = At::Marked(0);
            }
            At::Mark if is_word(byte) && self.mark.len() < LONGEST_WORD => self.mark.push(byte),
            At::Mark => {
                // A parameter, or nothing.
                self.at = At::Plain;
                self.plain(byte, before);
            }
            At::Marked(seen) => {
                *seen = match byte {
                    _ if byte == self.mark[*seen] => *seen + 1,
                    b'$' => 1,
                    _ => 0,
                };
                if *seen == self.mark.len() {
                    self.at = At::Plain;
                }
            }
            At::Meta if byte == b'\n' => {
                self.at = At::Plain;
                self.meta_ended();
            }
            At::Rows if byte == b'\n' => {
                let end = self.line == b"\\.";
                self.line.clear();
                if end {
                    self.at = At::Plain;
                }
            }
            At::Meta | At::Rows => {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(byte);
                }
            }
            At::Name | At::LineComment => {}
        }
    }
}

impl Dump for Sql {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    fn end(self: Box<Self>) -> Result<Option<Part>, String> {
        if self.zero {
            return Err("ERROR:  invalid byte sequence for encoding \"UTF8\": 0x00".into());
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let (Some(first), Some(committed)) = (self.first, self.committed) else {
            return Ok(None);
        };
        // Each is followed by the end of its line, which is none of the dump's.
        let offset = first + 1;
        Ok(Some(Part {
            offset,
            size: (committed - 1).saturating_sub(offset),
            said: self.said,
        }))
    }
}

/// An RDB file.
#[derive(Default)]
pub(super) struct Rdb {
    head: Vec<u8>,
    /// The last bytes, which are not in the sum yet.
    tail: Vec<u8>,
    before: u8,
    sum: u64,
    size: u64,
}

/// Bytes of a checksum.
const SUM: usize = 8;
/// Bytes of the signature and the version.
const HEAD: usize = 9;

impl Rdb {
    fn add(&mut self, byte: u8) {
        /// CRC-64 with the polynomial of Jones, bits reversed.
        const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
        const TABLE: [u64; 256] = {
            let mut table = [0; 256];
            let mut at = 0;
            while at < 256 {
                let mut sum = at as u64;
                let mut bit = 0;
                while bit < 8 {
                    sum = if sum & 1 == 1 {
                        (sum >> 1) ^ POLYNOMIAL
                    } else {
                        sum >> 1
                    };
                    bit += 1;
                }
                table[at] = sum;
                at += 1;
            }
            table
        };
        self.before = byte;
        self.sum = TABLE[usize::from(self.sum.to_le_bytes()[0] ^ byte)] ^ (self.sum >> 8);
    }
}

impl Dump for Rdb {
    fn take(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.head
            .extend(bytes.iter().take(HEAD.saturating_sub(self.head.len())));
        let mut tail = std::mem::take(&mut self.tail);
        tail.extend_from_slice(bytes);
        let summed = tail.len().saturating_sub(SUM);
        for byte in tail.drain(..summed) {
            self.add(byte);
        }
        self.tail = tail;
    }

    fn end(self: Box<Self>) -> Result<Option<Part>, String> {
        let version = self.head.strip_prefix(b"REDIS").unwrap_or_default();
        if version.len() != 4 || !version.iter().all(u8::is_ascii_digit) {
            return Err("Wrong signature trying to load DB from file".into());
        }
        let sum = <[u8; SUM]>::try_from(self.tail.as_slice());
        let (Ok(sum), 0xff) = (sum, self.before) else {
            return Err("Unexpected EOF reading RDB file".into());
        };
        // Zero says that none was made.
        if !matches!(u64::from_le_bytes(sum), 0) && u64::from_le_bytes(sum) != self.sum {
            return Err("RDB CRC error".into());
        }
        Ok(Some(Part {
            offset: 0,
            size: self.size,
            said: String::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read as a whole and byte by byte.
    fn read<D: Dump + Default>(bytes: &[u8]) -> Result<Option<Part>, String> {
        let mut whole = Box::new(D::default());
        whole.take(bytes);
        let mut pieces = Box::new(D::default());
        for byte in bytes {
            pieces.take(std::slice::from_ref(byte));
        }
        let read = whole.end();
        assert_eq!(read, pieces.end());
        read
    }

    /// What is kept of SQL that is restored.
    fn restored(sql: &str) -> Result<Option<String>, String> {
        let sent = format!("BEGIN;\n{sql}\nCOMMIT;\n\\echo word\n");
        Ok(read::<Sql>(sent.as_bytes())?.map(|part| {
            let at = usize::try_from(part.offset).expect("small");
            let size = usize::try_from(part.size).expect("small");
            assert_eq!(part.said, "word\n");
            sent[at..at + size].to_owned()
        }))
    }

    #[test]
    fn only_a_whole_transaction_counts() {
        let part = read::<Sql>(b"BEGIN;\ninsert;\nCOMMIT;\n\\echo done\n");
        let part = part.expect("SQL").expect("whole");
        assert_eq!((part.offset, part.size), (7, 7));
        assert_eq!(part.said, "done\n");
        assert_eq!(read::<Sql>(b"BEGIN;\ninsert;\n"), Ok(None));
        assert_eq!(read::<Sql>(b""), Ok(None));
        assert_eq!(restored(""), Ok(Some(String::new())));
        let zero = restored("insert into a values ('\0');").expect_err("zero");
        assert!(zero.contains("0x00"), "{zero}");
    }

    #[test]
    fn statements_are_cut_as_psql_does() {
        for sql in [
            "SELECT 'a;''b;', E'it\\'s;', \"odd;name\" FROM t; -- not; this\nSELECT 1;",
            "/* one /* two; */ no; */ select $$ ; ' $$, $body$ $ ; $b$ ; $body$;",
            "create rule r as on insert to t do (select 1; select 2);",
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; no; END;",
            "COPY t (id, body) FROM stdin;\n1\tit's; \"open\nno words\n\\.\nSELECT 1;",
            "\\connect app\n(SELECT 1) UNION (SELECT 2);\n;\n",
            "COPY t FROM STDIN WITH (FORMAT csv);\n1,\"no\n\\.\n/**/select 1/*/ ; */;",
            "select E'a''b\\';', date'x\\';",
            "select $1;\nselect a$b from t;\nselect 5 - -3, 8/2;",
            "-- only a comment",
            "-- no\n",
        ] {
            assert_eq!(restored(sql), Ok(Some(sql.to_owned())), "{sql}");
        }
    }

    #[test]
    fn what_is_no_sql_is_refused_and_what_is_cut_not_kept() {
        for (sql, near) in [
            ("no dump at all", "no"),
            ("SELECT 1;\nnonsense;", "nonsense"),
            ("PGDMP\u{1}", "PGDMP"),
            ("{\"json\": true}", "{"),
            ("CREATE TABLE a (b text); 'text';", "'"),
        ] {
            let text = format!("ERROR:  syntax error at or near \"{near}\"");
            assert_eq!(restored(sql), Err(text), "{sql}");
        }
        for cut in [
            "CREATE TABLE other (a text);\nINSERT INTO other VALUES ('abc",
            "INSERT INTO other VALUES (1",
            "COPY t FROM stdin;\n1\tone",
            "SELECT 1; /* and then",
            "SELECT $$ and then",
            "SELECT \"and then",
        ] {
            assert_eq!(restored(cut), Ok(None), "{cut}");
        }
    }

    #[test]
    fn an_rdb_file_has_head_end_and_sum() {
        let whole = |sum: &[u8]| [b"REDIS0011\xfa\x01a\x01b\xff".as_slice(), sum].concat();
        let mut summed = Box::new(Rdb::default());
        for byte in whole(b"") {
            summed.add(byte);
        }
        let right = summed.sum.to_le_bytes();
        for good in [whole(&[0; 8]), whole(&right)] {
            let part = read::<Rdb>(&good).expect("a file").expect("whole");
            assert_eq!((part.offset, part.size), (0, good.len() as u64));
        }
        let mut wrong = right;
        wrong[0] ^= 1;
        let mut damaged = whole(&right);
        damaged[11] ^= 0x40;
        for (bytes, text) in [
            (whole(&wrong), "RDB CRC error"),
            (damaged, "RDB CRC error"),
            (whole(&right[..7]), "Unexpected EOF reading RDB file"),
            (
                b"RUBBISH11\xff12345678".to_vec(),
                "Wrong signature trying to load DB from file",
            ),
            (
                b"REDIS".to_vec(),
                "Wrong signature trying to load DB from file",
            ),
            (Vec::new(), "Wrong signature trying to load DB from file"),
        ] {
            assert_eq!(read::<Rdb>(&bytes), Err(text.to_owned()), "{bytes:?}");
        }
        // The known sum of these digits.
        let mut check = Rdb::default();
        for byte in b"123456789" {
            check.add(*byte);
        }
        assert_eq!(check.sum, 0xe9c6_d914_c4b8_d9ca);
    }
}
