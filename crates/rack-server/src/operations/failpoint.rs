//! Named points at which a test makes a step fail or the server die.
//!
//! `RACK_SERVER_FAILPOINTS` holds `name=action` pairs separated by commas. A name
//! is `<operation>.<step>` for before a step or `<operation>.<step>.after`; the
//! action is `fail`, or `abort`, which ends the server at once as SIGKILL would.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::error::{Failure, Result};

/// What happens at a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Fail,
    Abort,
}

/// The failpoints of a server; none unless a test sets them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failpoints(BTreeMap<String, Action>);

impl FromStr for Failpoints {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        text.split(',')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((name, "fail")) => Ok((name.to_owned(), Action::Fail)),
                Some((name, "abort")) => Ok((name.to_owned(), Action::Abort)),
                _ => Err(format!("failpoint {pair:?} is not NAME=fail or NAME=abort")),
            })
            .collect::<std::result::Result<_, _>>()
            .map(Self)
    }
}

impl Failpoints {
    /// Passes the point before a step.
    pub(crate) fn hit(&self, operation: &str, step: &str) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            self.pass(&format!("{operation}.{step}"))
        }
    }

    /// Passes the point after a step.
    pub(crate) fn hit_after(&self, operation: &str, step: &str) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            self.pass(&format!("{operation}.{step}.after"))
        }
    }

    fn pass(&self, name: &str) -> Result<()> {
        match self.0.get(name) {
            None => Ok(()),
            Some(Action::Fail) => Err(Failure::Failed(format!("failpoint {name}"))),
            Some(Action::Abort) => std::process::abort(),
        }
    }
}
