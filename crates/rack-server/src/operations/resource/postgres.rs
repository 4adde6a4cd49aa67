//! `PostgreSQL`, and `PostGIS`, whose image differs in what it has besides.

use super::kind::{Account, Kind, Ready, Restore, program, variables};
use crate::engine::ExecSpec;

/// The type, as far as both are alike.
pub(super) const fn kind(word: &'static str) -> Kind {
    Kind {
        word,
        repository: "postgres",
        version: "15",
        port: 5432,
        data: Some("/var/lib/postgresql/data"),
        accounts: true,
        rack_user: "postgres",
        database: "app",
        url: |at| {
            let Account {
                host,
                user,
                password,
                database,
            } = at;
            format!("postgres://{user}:{password}@{host}:5432/{database}?sslmode=disable")
        },
        environment: |at| {
            variables(&[
                ("POSTGRES_USER", at.user),
                ("POSTGRES_PASSWORD", at.password),
                ("POSTGRES_DB", at.database),
                ("PGDATA", "/var/lib/postgresql/data/data"),
            ])
        },
        command: None,
        ready: Ready::Program(|at| {
            program(&[
                "pg_isready",
                "-q",
                "-h",
                "127.0.0.1",
                "-U",
                at.user,
                "-d",
                at.database,
            ])
        }),
        then: None,
        dump: Some(|at| {
            let flags = ["--no-owner", "--no-acl", "--clean", "--if-exists"];
            program_of(at, "pg_dump", &flags)
        }),
        restore: Some(Restore::Transaction(|at| {
            let flags = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"];
            program_of(at, "psql", &flags)
        })),
        console: Some(|at| program_of(at, "psql", &[])),
    }
}

/// A program of `PostgreSQL`, connected as the app is.
fn program_of(at: &Account<'_>, name: &str, arguments: &[&str]) -> ExecSpec {
    let connection = [name, "-h", "127.0.0.1", "-U", at.user, "-d", at.database];
    ExecSpec {
        environment: variables(&[("PGPASSWORD", at.password)]),
        ..program(&[&connection[..], arguments].concat())
    }
}
