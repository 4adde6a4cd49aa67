//! What can be wrong with a manifest, and where.
//!
//! Errors stop a load, warnings never do. Both carry the line and column in the file as the
//! user wrote it, before interpolation. Neither ever quotes the value of a variable.

use std::fmt;

/// One reason a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Line in the file, from 1; 0 when the error is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 when the error is about the file as a whole.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, where the message alone does not say.
    pub hint: Option<String>,
}

/// Prefix of the one error that is shown without its position: clients and scripts compare the
/// whole text, and the cause is the release rather than the file.
const REQUIRED_ENVIRONMENT: &str = "required env: ";

impl Error {
    /// The error for variables a release lacks; `names` as listed, duplicates kept.
    pub(crate) fn required_environment(names: &[&str]) -> Self {
        Self {
            line: 0,
            column: 0,
            message: format!("{REQUIRED_ENVIRONMENT}{}", names.join(", ")),
            hint: None,
        }
    }

    /// Whether required variables are missing, which a new release can cure without a new build.
    pub fn is_missing_environment(&self) -> bool {
        self.message.starts_with(REQUIRED_ENVIRONMENT)
    }
}

impl Reported for Error {
    fn write(&self, file: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_missing_environment() {
            return f.write_str(&self.message);
        }
        write_position(f, file, self.line, self.column)?;
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(USUAL_NAME, f)
    }
}

/// Every reason a manifest cannot be used, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// Wraps errors in file order; `None` when there are none.
    pub(crate) fn from_list(mut errors: Vec<Error>) -> Option<Self> {
        errors.sort_by_key(|error| (error.line, error.column));
        errors.dedup();
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The errors in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// The same as text for a file that is not called `convox.yml`.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile(self, file)
    }

    /// Whether it is of generation 1; the further errors are the steps to move it then.
    pub fn is_generation1(&self) -> bool {
        let first = self.0.first();
        first.is_some_and(|error| error.message == crate::generation1::REFUSED)
    }

    /// Whether the only thing wrong is that required variables are missing.
    pub fn is_missing_environment(&self) -> bool {
        self.0.iter().all(Error::is_missing_environment)
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Reported for Errors {
    fn write(&self, file: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.write(file, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(USUAL_NAME, f)
    }
}

impl std::error::Error for Errors {}

/// Something a manifest says that does nothing here, or that racks read differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Line in the file, from 1; 0 when the warning is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 when the warning is about the file as a whole.
    pub column: usize,
    /// What was noticed, in one line.
    pub message: String,
}

impl Warning {
    /// The same as text for a file that is not called `convox.yml`.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile(self, file)
    }
}

impl Reported for Warning {
    fn write(&self, file: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_position(f, file, self.line, self.column)?;
        f.write_str(&self.message)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(USUAL_NAME, f)
    }
}

/// What a manifest is called unless somebody says otherwise.
const USUAL_NAME: &str = "convox.yml";

/// What is said of a place in a file.
trait Reported {
    fn write(&self, file: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Something said of a place in a file, and the name of the file.
struct InFile<'a, T>(&'a T, &'a str);

impl<T: Reported> fmt::Display for InFile<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(self.1, f)
    }
}

fn write_position(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: usize,
    column: usize,
) -> fmt::Result {
    if line == 0 {
        write!(f, "{file}: ")
    } else {
        write!(f, "{file}:{line}:{column}: ")
    }
}
