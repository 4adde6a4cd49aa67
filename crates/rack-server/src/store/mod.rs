//! Durable state of one rack: SQLite in `rack.db`, WAL, fully synchronous, so
//! that an acknowledged write is on disk.
//!
//! | table | one row is |
//! |---|---|
//! | `apps` | an app with its status and the id of its active release |
//! | `builds` | a build; `sequence` orders them |
//! | `images` | the image of one service of one build |
//! | `releases` | a build and an environment; `created` (nanoseconds) is unique and increasing |
//! | `scales` | a count, cpu or memory set by `scale`, which wins over the manifest |
//! | `rollouts` | which rollout's processes are the current ones of a service |
//! | `resources` | the generated password of a resource |
//! | `runs` | a one-off process and, once it ended, its exit status |
//! | `operations` | a long operation: kind, step reached, payload, outcome |
//! | `settings` | what the rack itself remembers: the key that signs its tokens |
//! | `parameters` | a parameter of the rack |
//! | `versions` | a server version the rack has been run by |
//! | `certificates` | a certificate chain with its key, PEM |
//! | `registries` | a login to an image registry |
//! | `events` | something that happened, as webhooks tell it |
//! | `rack_resources`, `rack_resource_links` | a resource of the rack; the apps it is linked to |
//! | `configs` | a named value of an app (version 3) |
//! | `doors` | the port of this machine that leads to a port of a service |
//!
//! One connection behind a mutex: SQLite has one writer anyway, and reads take
//! microseconds. Calls leave the async threads through [`Store::call`], the only
//! way in. The store decides nothing; it knows neither Docker nor HTTP.

mod app;
mod build;
mod build_change;
mod certificate;
mod config;
mod door;
mod event;
mod operation;
mod rack_resource;
mod registry;
mod release;
mod resource;
mod run;
mod service;
mod setting;
mod system;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

pub use app::AppRow;
pub use build::{BuildRow, ImageRow};
pub use build_change::BuildChange;
pub use certificate::CertificateRow;
pub use event::EventRow;
pub use operation::{OperationRow, Outcome};
pub use rack_resource::{Linked, RackResourceRow};
pub use registry::RegistryRow;
pub use release::{NewRelease, ReleaseRow};
pub use run::RunRow;
pub use service::ScaleRow;

/// The database failed; the text is for the server's own log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A stored text is not what it should be.
    #[error("database holds unreadable {what}: {reason}")]
    Corrupt {
        /// Which column.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The database was made by a newer program.
    #[error(
        "database has version {found}, this program knows up to {known}: use a newer rack-server"
    )]
    Newer {
        /// Version found.
        found: i64,
        /// Version known.
        known: i64,
    },
    /// The blocking thread ended early.
    #[error("database thread ended: {0}")]
    Thread(String),
}

/// Result of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Schema versions in order; each runs once, in a transaction.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE apps (
        name TEXT PRIMARY KEY, generation TEXT NOT NULL, locked INTEGER NOT NULL DEFAULT 0,
        release TEXT NOT NULL DEFAULT '', status TEXT NOT NULL, parameters TEXT NOT NULL DEFAULT '{}',
        created INTEGER NOT NULL
    );
    CREATE TABLE builds (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, app TEXT NOT NULL,
        status TEXT NOT NULL, description TEXT NOT NULL, entrypoint TEXT NOT NULL DEFAULT '',
        git_sha TEXT NOT NULL DEFAULT '', manifest TEXT NOT NULL DEFAULT '', release TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '', logs TEXT NOT NULL DEFAULT '', started INTEGER NOT NULL, ended INTEGER,
        provenance TEXT, missing TEXT NOT NULL DEFAULT '[]', archive TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX builds_app ON builds (app, sequence);
    CREATE TABLE images (
        build TEXT NOT NULL, service TEXT NOT NULL, id TEXT NOT NULL, config_digest TEXT NOT NULL,
        diff_ids TEXT NOT NULL, reference TEXT NOT NULL, entrypoint TEXT NOT NULL,
        PRIMARY KEY (build, service)
    );
    CREATE TABLE releases (
        id TEXT PRIMARY KEY, app TEXT NOT NULL, build TEXT NOT NULL, env TEXT NOT NULL, manifest TEXT NOT NULL,
        description TEXT NOT NULL, created INTEGER NOT NULL UNIQUE, reason TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX releases_app ON releases (app, created);
    CREATE TABLE scales (
        app TEXT NOT NULL, service TEXT NOT NULL, count INTEGER, cpu INTEGER, memory INTEGER,
        PRIMARY KEY (app, service)
    );
    CREATE TABLE rollouts (
        app TEXT NOT NULL, service TEXT NOT NULL, rollout TEXT NOT NULL, PRIMARY KEY (app, service)
    );
    CREATE TABLE resources (
        app TEXT NOT NULL, name TEXT NOT NULL, password TEXT NOT NULL, PRIMARY KEY (app, name)
    );
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, app TEXT NOT NULL, service TEXT NOT NULL, release TEXT NOT NULL,
        command TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER, status INTEGER
    );
    CREATE TABLE operations (
        id TEXT PRIMARY KEY, app TEXT NOT NULL, kind TEXT NOT NULL, outcome TEXT NOT NULL, step INTEGER NOT NULL,
        payload TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', created INTEGER NOT NULL, updated INTEGER NOT NULL
    );
    CREATE INDEX operations_open ON operations (outcome) WHERE outcome IN ('running', 'unwinding');
", "
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE parameters (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE versions (version TEXT PRIMARY KEY, created INTEGER NOT NULL);
    CREATE TABLE certificates (
        id TEXT PRIMARY KEY, chain TEXT NOT NULL, key TEXT NOT NULL, generated INTEGER NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE TABLE registries (server TEXT PRIMARY KEY, username TEXT NOT NULL, password TEXT NOT NULL);
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, action TEXT NOT NULL,
        status TEXT NOT NULL, data TEXT NOT NULL
    );
    CREATE TABLE rack_resources (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, parameters TEXT NOT NULL, password TEXT NOT NULL,
        status TEXT NOT NULL, delivered INTEGER NOT NULL, created INTEGER NOT NULL
    );
    CREATE TABLE rack_resource_links (
        resource TEXT NOT NULL, app TEXT NOT NULL, PRIMARY KEY (resource, app)
    );
    CREATE TABLE configs (
        app TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (app, name)
    );
    ALTER TABLE runs ADD COLUMN attached TEXT NOT NULL DEFAULT '';
", "
    CREATE TABLE doors (
        app TEXT NOT NULL, name TEXT NOT NULL, port INTEGER NOT NULL, PRIMARY KEY (app, name)
    );
"];

/// Handle on one rack's database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the database, making or upgrading it as needed.
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -512)?;
        migrate(&mut connection)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Runs a closure on the database, off the async threads.
    async fn call<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic inside a transaction has rolled it back: the connection is sound.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        })
        .await
        .map_err(|gone| StoreError::Thread(gone.to_string()))?
    }
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn to_nanos(time: Timestamp) -> i64 {
    time.as_nanosecond() as i64
}

fn from_nanos(nanos: i64) -> Timestamp {
    // Every i64 of nanoseconds lies within jiff's range of years.
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data serialises")
}

fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        what,
        reason: error.to_string(),
    })
}
