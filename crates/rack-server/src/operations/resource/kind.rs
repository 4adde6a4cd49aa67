//! The types of resources: what each runs, how it is reached, and the programs in its image
//! that say whether it is ready, dump, restore and talk to it.
//!
//! Programs are run inside the resource's own process, where they and the data fit each other,
//! and connect over the network: sockets may belong to a server that is only being set up.

use std::collections::BTreeMap;

use super::{mysql, postgres, rabbitmq, redis};
use crate::engine::ExecSpec;

/// A type of resource this server runs.
pub(super) struct Kind {
    /// Its name in manifests.
    pub(super) word: &'static str,
    /// Image repository; the version is its tag.
    pub(super) repository: &'static str,
    /// The version that is run when nobody says otherwise.
    pub(super) version: &'static str,
    /// Where it listens.
    pub(super) port: u16,
    /// Where its data lives in the container, if it keeps any.
    pub(super) data: Option<&'static str>,
    /// Whether it has a user, a password and a database.
    pub(super) accounts: bool,
    /// User of a resource of the rack that names none.
    pub(super) rack_user: &'static str,
    /// Database of one that names none.
    pub(super) database: &'static str,
    /// The address that apps are given (`convox-yml.md` §12.3).
    pub(super) url: fn(&Account<'_>) -> String,
    /// Variables that set the image up.
    pub(super) environment: fn(&Account<'_>) -> BTreeMap<String, String>,
    /// Replaces the command of the type's own image.
    pub(super) command: Option<&'static [&'static str]>,
    /// How to tell that it accepts connections.
    pub(super) ready: Ready,
    /// Run whenever it has become ready.
    pub(super) then: Option<&'static [&'static str]>,
    /// Writes all it holds to standard output.
    pub(super) dump: Option<fn(&Account<'_>) -> ExecSpec>,
    /// Takes such a dump.
    pub(super) restore: Option<Restore>,
    /// An interactive session.
    pub(super) console: Option<fn(&Account<'_>) -> ExecSpec>,
}

/// Who a resource is to those that connect to it.
pub(super) struct Account<'a> {
    /// Host name.
    pub(super) host: &'a str,
    /// User.
    pub(super) user: &'a str,
    /// Password of the user.
    pub(super) password: &'a str,
    /// Database.
    pub(super) database: &'a str,
}

/// How to tell that a resource accepts connections.
#[derive(Clone, Copy)]
pub(super) enum Ready {
    /// A program in it succeeds.
    Program(fn(&Account<'_>) -> ExecSpec),
    /// Its port answers a question with something that begins so. That it takes a connection
    /// would say nothing: engines take it for what does not listen yet.
    Answer(&'static [u8], &'static [u8]),
}

/// How a dump is restored, whole or not at all.
#[derive(Clone, Copy)]
pub(super) enum Restore {
    /// By a program that reads a transaction; a word is said back behind its end.
    Transaction(fn(&Account<'_>) -> ExecSpec),
    /// By a script that reads a file that proves itself whole; it is given a free port.
    File(fn(u16) -> ExecSpec),
    /// By a script that reads statements and an end of its own behind them: the script, and the
    /// end for a word that nobody knows before.
    Statements(fn(&Account<'_>, &str) -> ExecSpec, fn(&str) -> String),
}

/// All types.
const KINDS: &[Kind] = &[
    postgres::kind("postgres"),
    Kind {
        repository: "postgis/postgis",
        version: "15-3.3",
        ..postgres::kind("postgis")
    },
    Kind {
        repository: "mysql",
        version: "8.0",
        ..mysql::kind("mysql")
    },
    mysql::kind("mariadb"),
    redis::kind("redis"),
    Kind {
        repository: "valkey/valkey",
        version: "8.1",
        ..redis::kind("valkey")
    },
    Kind {
        word: "memcached",
        repository: "memcached",
        version: "1.6",
        port: 11211,
        data: None,
        accounts: false,
        rack_user: "",
        database: "",
        // Racks of version 2 put no scheme before it, and clients of memcached want none.
        url: |at| format!("{}:11211", at.host),
        environment: |_| BTreeMap::new(),
        command: None,
        ready: Ready::Answer(b"version\r\n", b"VERSION "),
        then: None,
        dump: None,
        restore: None,
        console: None,
    },
    rabbitmq::KIND,
];

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word)
    }
}

/// The type a word names.
pub(super) fn of(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.word == word)
}

/// Words of all types.
pub(super) fn words() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.word).collect()
}

pub(super) fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

pub(super) fn program(words: &[&str]) -> ExecSpec {
    ExecSpec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Account<'static> = Account {
        host: "db.resource.app.rack",
        user: "app",
        password: "pw",
        database: "app",
    };

    #[test]
    fn addresses_are_those_of_racks() {
        for (word, url) in [
            (
                "postgres",
                "postgres://app:pw@db.resource.app.rack:5432/app?sslmode=disable",
            ),
            ("mysql", "mysql://app:pw@db.resource.app.rack:3306/app"),
            ("mariadb", "mysql://app:pw@db.resource.app.rack:3306/app"),
            ("redis", "redis://db.resource.app.rack:6379/app"),
            ("valkey", "redis://db.resource.app.rack:6379/app"),
            (
                "postgis",
                "postgres://app:pw@db.resource.app.rack:5432/app?sslmode=disable",
            ),
            ("memcached", "db.resource.app.rack:11211"),
            ("rabbitmq", "amqp://app:pw@db.resource.app.rack:5672/app"),
        ] {
            let kind = of(word).expect("a type");
            assert_eq!((kind.url)(&AT), url);
        }
        assert!(of("oracle").is_none());
    }

    #[test]
    fn no_program_is_told_the_password_in_a_word() {
        for word in words() {
            let kind = of(word).expect("a type");
            let ready = match kind.ready {
                Ready::Program(ready) => Some(ready(&AT)),
                Ready::Answer(..) => None,
            };
            let restore = kind.restore.map(|restore| match restore {
                Restore::Transaction(spec) => spec(&AT),
                Restore::File(spec) => spec(1),
                Restore::Statements(spec, _) => spec(&AT, "word"),
            });
            let specs = [
                ready,
                kind.dump.map(|spec| spec(&AT)),
                restore,
                kind.console.map(|spec| spec(&AT)),
            ];
            for spec in specs.into_iter().flatten() {
                assert!(!spec.command.iter().any(|word| word == "pw"), "{spec:?}");
            }
        }
    }
}
