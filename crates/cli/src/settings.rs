//! The settings files, shared with every generation of the official client.
//!
//! Three directories are searched in order: `convox` (version 3) and `convox2`
//! (version 2) in the XDG configuration directory, then `~/.convox`, which may be a file. With
//! `CONVOX_CONFIG` set, that one directory holds everything. Files are written
//! to a temporary name, mode 0600, and renamed; entries of other hosts are kept.
//!
//! | file | content |
//! |---|---|
//! | `auth` | JSON `{host: password}` |
//! | `host`, `console` | current host of version 2, of version 3 |
//! | `rack`, `current` | current rack: plain name; JSON `{"name": …, "type": …}` |
//! | `racks` as a file | JSON `{host: "organization/rack"}`: current rack per host |
//! | `racks` as a directory | one file per rack that is reached by a URL |
//! | `urls` | ours: the same for racks of version 3's console |
//! | `stand-ins` | ours: JSON `{rack: full name}` of the racks that `rack exec` has made for a command |
//! | `servers` | ours: JSON `{host: data directory}` of servers this client started |
//!
//! Version 3 takes no notice of its own `switch` while there is a `rack`, and
//! after a switch to a rack of `racks` it has none. Both work for the racks of
//! its console only, so a server becomes the console where there is no other,
//! and `rack` and `racks` are left to racks of further hosts. In one directory
//! for all generations either form of `racks` breaks a client: none is made there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Settings that can not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A file or directory failed.
    #[error("can not {doing} settings {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A JSON file holds something else.
    #[error("settings file {} is not a JSON object of texts: {source}; correct or remove it", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no place for settings.
    #[error("no settings directory: set HOME, XDG_CONFIG_HOME or CONVOX_CONFIG")]
    NoDirectory,
}

type Result<T> = std::result::Result<T, SettingsError>;

/// Text per name, as the JSON files hold it.
pub(crate) type Map = BTreeMap<String, String>;

/// Where settings are.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Directory of version 3 and of this client.
    own: PathBuf,
    /// Directory of version 2; the same as `own` with `CONVOX_CONFIG`.
    second: PathBuf,
    /// Directory of the oldest clients, never written.
    oldest: Option<PathBuf>,
    /// Directory that `.convox/app` and `.convox/rack` are looked up in.
    working: PathBuf,
}

impl Settings {
    /// Finds the directories; `variable` looks up the environment.
    pub(crate) fn locate(
        variable: impl Fn(&str) -> Option<OsString>,
        working: PathBuf,
    ) -> Result<Self> {
        let path = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(directory) = path("CONVOX_CONFIG") {
            return Ok(Self {
                own: directory.clone(),
                second: directory,
                oldest: None,
                working,
            });
        }
        let home = path("HOME");
        let base = path("XDG_CONFIG_HOME")
            .or_else(|| {
                let relative = if cfg!(target_os = "macos") {
                    "Library/Preferences"
                } else {
                    ".config"
                };
                home.as_ref().map(|home| home.join(relative))
            })
            .ok_or(SettingsError::NoDirectory)?;
        Ok(Self {
            own: base.join("convox"),
            second: base.join("convox2"),
            oldest: home.map(|home| home.join(".convox")),
            working,
        })
    }

    /// Settings that are all in one directory, as with `CONVOX_CONFIG`.
    pub(crate) fn of_directory(directory: PathBuf) -> Self {
        Self {
            own: directory.clone(),
            second: directory.clone(),
            oldest: None,
            working: directory,
        }
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        let second = (self.second != self.own).then_some(self.second.as_path());
        std::iter::once(self.own.as_path())
            .chain(second)
            .chain(self.oldest.as_deref())
    }

    /// The directory this client writes to.
    pub(crate) fn directory(&self) -> &Path {
        &self.own
    }

    /// Files with passwords that are there.
    pub(crate) fn secret_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for directory in self.directories() {
            files.push(directory.join("auth"));
            for racks in ["racks", "urls"] {
                let entries = fs::read_dir(directory.join(racks)).into_iter().flatten();
                files.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
        files.extend(self.oldest.clone());
        files.retain(|file| file.is_file());
        files
    }

    /// A setting of the working directory: `.convox/<key>`, then `.convox2/<key>`.
    pub(crate) fn working_directory(&self, key: &str) -> Result<Option<String>> {
        for directory in [".convox", ".convox2"] {
            if let Some(text) = read_text(&self.working.join(directory).join(key))? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The directory commands work in.
    pub(crate) fn working(&self) -> &Path {
        &self.working
    }

    /// The current host, of whichever client generation has one.
    pub(crate) fn hosts(&self) -> Result<Vec<String>> {
        let mut hosts = Vec::new();
        for key in ["host", "console"] {
            for directory in self.directories() {
                if let Some(host) = read_text(&directory.join(key))?
                    && !hosts.contains(&host)
                {
                    hosts.push(host);
                }
            }
        }
        if let Some((host, _)) = self.first_login()?
            && !hosts.contains(&host)
        {
            hosts.push(host);
        }
        Ok(hosts)
    }

    /// The password stored for a host.
    pub(crate) fn password(&self, host: &str) -> Result<Option<String>> {
        if let Some(password) = self.map("auth")?.remove(host) {
            return Ok(Some(password));
        }
        let first = self.first_login()?.filter(|(known, _)| known == host);
        Ok(first.map(|(_, password)| password))
    }

    /// The login of the very first clients: `~/.convox` is a file, whose lines are a host and
    /// its password (`cli.md` §1.2).
    fn first_login(&self) -> Result<Option<(String, String)>> {
        let Some(file) = self.oldest.as_deref().filter(|place| place.is_file()) else {
            return Ok(None);
        };
        let text = read_text(file)?.unwrap_or_default();
        let mut lines = text.lines().map(|line| line.trim().to_owned());
        let host = lines.next().filter(|host| !host.is_empty());
        Ok(host.map(|host| (host, lines.next().unwrap_or_default())))
    }

    /// Data directories of the servers this client started, by host.
    pub(crate) fn servers(&self) -> Result<Map> {
        self.map("servers")
    }

    /// Racks that are reached by a URL, by name.
    pub(crate) fn direct_racks(&self) -> Result<Map> {
        let mut racks = self.own_urls()?;
        for directory in self.directories() {
            for (name, url) in read_urls(&directory.join("racks"))? {
                racks.entry(name).or_insert(url);
            }
        }
        Ok(racks)
    }

    /// The full names of racks that `rack exec` has made for a command, by what their URL is
    /// stored under.
    pub(crate) fn stand_ins(&self) -> Result<Map> {
        self.map("stand-ins")
    }

    /// Has a rack that is reached by a URL stand for one with a full name.
    pub(crate) fn set_stand_in(&self, name: &str, full_name: &str) -> Result<()> {
        update_map(&self.own.join("stand-ins"), |names| {
            names.insert(name.to_owned(), full_name.to_owned());
        })
    }

    /// Forgets a rack that stands for another.
    pub(crate) fn forget_stand_in(&self, name: &str, full_name: &str) -> Result<()> {
        self.forget_rack("", full_name, name)?;
        update_map(&self.own.join("stand-ins"), |names| {
            names.remove(name);
        })
    }

    /// Those of them that this client writes.
    fn own_urls(&self) -> Result<Map> {
        let mut racks = read_urls(&self.own.join("racks"))?;
        racks.extend(read_urls(&self.own.join("urls"))?);
        Ok(racks)
    }

    /// The rack that was switched to, by its short or full name.
    pub(crate) fn current_rack(&self) -> Result<Option<String>> {
        for directory in self.directories() {
            if let Some(name) = read_text(&directory.join("rack"))? {
                return Ok(Some(name));
            }
            if let Some(name) = read_map(&directory.join("current"))?.remove("name") {
                return Ok(Some(name));
            }
            if let Some(host) = read_text(&directory.join("host"))?
                && let Some(name) = read_map(&directory.join("racks"))?.remove(&host)
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Makes a rack of a host current for every client generation. `direct` is
    /// its name among the racks reached by a URL, if it is one.
    pub(crate) fn set_current_rack(
        &self,
        host: Option<&str>,
        full_name: &str,
        direct: Option<&str>,
    ) -> Result<()> {
        // Another client may have changed the console since the rack was remembered.
        if let Some(direct) = direct
            && let Some(url) = self.own_urls()?.remove(direct)
        {
            self.set_direct_rack(direct, &url)?;
        }
        if host.is_some() && host == self.console()?.as_deref() {
            write_map(
                &self.own.join("current"),
                &Map::from([
                    ("name".to_owned(), full_name.to_owned()),
                    ("type".to_owned(), "console".to_owned()),
                ]),
            )?;
            // It would be found first.
            remove(&self.own.join("rack"))?;
        } else {
            // Version 3 wants the name of the file, and finds `rack` before `current`.
            write_text(&self.own.join("rack"), direct.unwrap_or(full_name))?;
        }
        if let Some(host) = host {
            write_text(&self.second.join("host"), host)?;
            let racks = self.second.join("racks");
            if self.second != self.own || racks.is_file() {
                update_map(&racks, |racks| {
                    racks.insert(host.to_owned(), full_name.to_owned());
                })?;
            }
        }
        Ok(())
    }

    /// The console of version 3.
    fn console(&self) -> Result<Option<String>> {
        read_text(&self.own.join("console"))
    }

    /// Makes a host the console of version 3, unless it has one.
    pub(crate) fn offer_console(&self, host: &str) -> Result<()> {
        if self.console()?.is_some() {
            return Ok(());
        }
        self.set_console(host)
    }

    /// Makes a host the console of version 3, which needs the URLs of other racks
    /// than before.
    fn set_console(&self, host: &str) -> Result<()> {
        write_text(&self.own.join("console"), host)?;
        self.own_urls()?
            .iter()
            .try_for_each(|(name, url)| self.set_direct_rack(name, url))
    }

    /// Remembers the password of a host.
    pub(crate) fn set_password(&self, host: &str, password: &str) -> Result<()> {
        self.update("auth", |auth| {
            auth.insert(host.to_owned(), password.to_owned());
        })
    }

    /// Makes a host current, as `login` does: unless `keep_rack` is set, no rack
    /// is current any more.
    pub(crate) fn set_host(&self, host: &str, id: Option<&str>, keep_rack: bool) -> Result<()> {
        write_text(&self.second.join("host"), host)?;
        if self.console()?.as_deref() != Some(host) {
            self.set_console(host)?;
            // A rack of the former console, which version 3 would look for on the new one.
            let current = self.own.join("current");
            if read_map(&current)?.remove("type").as_deref() == Some("console") {
                remove(&current)?;
            }
        }
        if let Some(id) = id {
            for directory in self.written() {
                write_text(&directory.join("id"), id)?;
            }
        }
        if keep_rack {
            Ok(())
        } else {
            remove(&self.own.join("rack"))
        }
    }

    /// Remembers the data directory of a server this client started.
    pub(crate) fn set_server(&self, host: &str, data: &Path) -> Result<()> {
        update_map(&self.own.join("servers"), |servers| {
            servers.insert(host.to_owned(), data.to_string_lossy().into_owned());
        })
    }

    /// Remembers the URL of a rack, where version 3 sees it only if the rack is
    /// not one of its console.
    pub(crate) fn set_direct_rack(&self, name: &str, url: &str) -> Result<()> {
        let (racks, urls) = (self.own.join("racks"), self.own.join("urls"));
        let of_console = self.console()?.as_deref() == Some(host_of(url));
        // A version 2 client from before the split may have left a file here, and a
        // Terraform rack has a directory of its name.
        if of_console || racks.is_file() || racks.join(name).is_dir() {
            write_text(&urls.join(name), url)?;
            remove(&racks.join(name))
        } else {
            write_text(&racks.join(name), url)?;
            remove(&urls.join(name))
        }
    }

    /// Forgets a rack and, where it is current, that it is.
    pub(crate) fn forget_rack(&self, host: &str, full_name: &str, direct: &str) -> Result<()> {
        remove(&self.own.join("racks").join(direct))?;
        remove(&self.own.join("urls").join(direct))?;
        remove(&self.own.join("rack-meta").join(format!("{direct}.json")))?;
        let current =
            |name: Option<String>| name.is_some_and(|name| name == full_name || name == direct);
        if current(read_text(&self.own.join("rack"))?) {
            remove(&self.own.join("rack"))?;
        }
        if current(read_map(&self.own.join("current"))?.remove("name")) {
            remove(&self.own.join("current"))?;
        }
        let racks = self.second.join("racks");
        if racks.is_file() {
            update_map(&racks, |racks| {
                if current(racks.get(host).cloned()) {
                    racks.remove(host);
                }
            })?;
        }
        Ok(())
    }

    fn map(&self, key: &str) -> Result<Map> {
        let mut merged = Map::new();
        for directory in self.directories() {
            for (name, value) in read_map(&directory.join(key))? {
                merged.entry(name).or_insert(value);
            }
        }
        Ok(merged)
    }

    fn written(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.own.as_path())
            .chain((self.second != self.own).then_some(self.second.as_path()))
    }

    fn update(&self, key: &str, change: impl Fn(&mut Map)) -> Result<()> {
        self.written()
            .try_for_each(|directory| update_map(&directory.join(key), &change))
    }
}

/// The trimmed text of a file; none if there is no such file or nothing in it.
fn read_text(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(SettingsError::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The URLs in a directory, by rack.
fn read_urls(directory: &Path) -> Result<Map> {
    let error = |source| SettingsError::Io {
        doing: "read",
        path: directory.to_owned(),
        source,
    };
    let mut racks = Map::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // No racks, or the file of the same name that version 2 has.
        Err(absent)
            if matches!(
                absent.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(racks);
        }
        Err(source) => return Err(error(source)),
    };
    for entry in entries {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        // Directories hold Terraform racks, which only version 3 knows how to reach.
        let (Ok(name), true) = (entry.file_name().into_string(), path.is_file()) else {
            continue;
        };
        if let Some(url) = read_text(&path)?.filter(|_| !name.starts_with('.')) {
            racks.insert(name, url);
        }
    }
    Ok(racks)
}

/// A directory in a file's place is how another client generation uses the name.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn read_map(path: &Path) -> Result<Map> {
    let Some(text) = read_text(path)? else {
        return Ok(Map::new());
    };
    serde_json::from_str(&text).map_err(|source| SettingsError::Json {
        path: path.to_owned(),
        source,
    })
}

fn update_map(path: &Path, change: impl FnOnce(&mut Map)) -> Result<()> {
    // With one directory for all generations `racks` is the directory of version 3.
    if path.is_dir() {
        return Ok(());
    }
    let old = read_map(path)?;
    let mut map = old.clone();
    change(&mut map);
    if map == old {
        return Ok(());
    }
    write_map(path, &map)
}

fn write_map(path: &Path, map: &Map) -> Result<()> {
    let text = serde_json::to_string_pretty(map).expect("a map of texts is JSON");
    write_text(path, &text)
}

/// The host of a URL, with its port.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    write_privately(path, text).map_err(|source| SettingsError::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

fn write_privately(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_private_directory(directory)?;
    // Temporary files are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Makes a directory, and those above it, that only the user may enter.
pub(crate) fn create_private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(source) => Err(SettingsError::Io {
            doing: "write",
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
