//! Says in words what a verification has proved, and what no reader of the archive can
//! prove: for people who decide whether to trust it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::verify::Contents;

/// One statement about an archive that was read to its end without an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What the statement is about.
    pub what: &'static str,
    /// Whether it was proved; if not, nothing speaks against it.
    pub verified: bool,
    /// What exactly was, or could not be, proved.
    pub detail: String,
}

impl Contents {
    /// Lists what was verified, then what could not be.
    pub fn checks(&self) -> Vec<Check> {
        let files: usize = self.entries.iter().map(|entry| entry.files.len()).sum();
        let entries = count(self.entries.len(), "entry", "entries");
        let mut checks = Vec::new();
        let mut add = |what, verified, detail| {
            checks.push(Check {
                what,
                verified,
                detail,
            });
        };
        add(
            "compression",
            true,
            "every gzip member to its checksum, nothing but zeros behind the last".to_owned(),
        );
        add(
            "structure",
            true,
            format!(
                "{entries} and {} in image tars: headers, names, sizes and ends",
                count(files, "file", "files")
            ),
        );
        let images: BTreeSet<_> = self.services.values().map(|it| &it.config_digest).collect();
        let unnamed = &self.unnamed_configurations;
        let named = if unnamed.is_empty() {
            ", each with the digest it is named by"
        } else {
            ""
        };
        add(
            "images",
            true,
            format!(
                "{} for {}, one each{named}",
                count(images.len(), "image", "images"),
                count(self.services.len(), "service", "services")
            ),
        );
        let layers: BTreeSet<_> = self
            .layers
            .values()
            .flatten()
            .map(|it| &it.diff_id)
            .collect();
        add(
            "layers",
            true,
            match layers.len() {
                1 => "1 layer decompresses to the digest in its image".to_owned(),
                layers => format!("{layers} layers decompress to the digests in their images"),
            },
        );
        if self.index.is_some() {
            add(
                "index",
                true,
                format!(
                    "{entries} and {} have the size and digest that twinrack.json lists; build, \
                     app, git sha, entrypoint and services are as it says",
                    count(files, "file", "files")
                ),
            );
            add(
                "origin",
                false,
                "source rack, engine and required environment are what the index says; nothing \
                 signs it"
                    .to_owned(),
            );
        } else {
            add(
                "index",
                false,
                "the archive has none: only the gzip checksum covers build.json and the names of \
                 services, and nothing tells whether the archive is whole but for its end"
                    .to_owned(),
            );
            add(
                "origin",
                false,
                "the archive does not say which rack made it, and nothing signs it".to_owned(),
            );
        }
        if !unnamed.is_empty() {
            let services: Vec<_> = unnamed.iter().map(String::as_str).collect();
            add(
                "image ids",
                false,
                format!(
                    "nothing states the digest of the configuration of {}",
                    services.join(", ")
                ),
            );
        }
        checks
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
