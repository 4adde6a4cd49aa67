//! Certificates of racks: which one a name is shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::sign::CertifiedKey;

use super::host;
use super::table::Key;

/// A certificate that can be shown.
pub struct Certificate {
    /// Id on its rack.
    pub id: String,
    /// Names it is for; `*.` stands for one label.
    pub names: Vec<String>,
    /// Whether the rack has made it itself.
    pub generated: bool,
    /// When its life ends.
    pub expires: Timestamp,
    /// The certificate itself.
    pub key: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How well a certificate fits a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Wildcard,
    Exact,
}

impl Certificate {
    fn fit(&self, name: &str) -> Option<Fit> {
        if self.names.iter().any(|own| own == name) {
            return Some(Fit::Exact);
        }
        let (_, parent) = name.split_once('.')?;
        self.names
            .iter()
            .any(|own| own.strip_prefix("*.") == Some(parent))
            .then_some(Fit::Wildcard)
    }
}

#[derive(Debug, Default, Clone)]
struct Table {
    racks: HashMap<String, Vec<Arc<Certificate>>>,
    /// Certificates that services name themselves.
    chosen: HashMap<Key, String>,
}

/// The certificates of all racks. Handshakes read without a lock.
#[derive(Debug, Default)]
pub struct Certificates {
    table: ArcSwap<Table>,
    change: Mutex<()>,
}

impl Certificates {
    fn change(&self, work: impl FnOnce(&mut Table)) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        work(&mut table);
        self.table.store(Arc::new(table));
    }

    /// Replaces the certificates of a rack; the next handshake goes by the new ones.
    pub fn replace(&self, rack: &str, certificates: Vec<Certificate>) {
        let certificates = certificates.into_iter().map(Arc::new).collect();
        self.change(|table| {
            table.racks.insert(rack.to_owned(), certificates);
        });
    }

    /// Forgets a rack.
    pub fn remove_rack(&self, rack: &str) {
        self.change(|table| {
            table.racks.remove(rack);
            table.chosen.retain(|key, _| key.rack != rack);
        });
    }

    /// Sets which certificate a service names itself, if any.
    pub fn choose(&self, key: &Key, certificate: Option<&str>) {
        if self.table.load().chosen.get(key).map(String::as_str) == certificate {
            return;
        }
        self.change(|table| match certificate {
            Some(id) => drop(table.chosen.insert(key.clone(), id.to_owned())),
            None => drop(table.chosen.remove(key)),
        });
    }

    /// The best certificate a service has for a name: the one it names itself if that
    /// fits, else one that was handed in before any that the rack made; of these an exact
    /// one before a wildcard, and of several the one that lives longest. None that has
    /// expired.
    pub fn best(&self, key: &Key, name: &str, now: Timestamp) -> Option<Arc<Certificate>> {
        let table = self.table.load();
        let name = host::normal(name);
        let chosen = table.chosen.get(key);
        table
            .racks
            .get(&key.rack)?
            .iter()
            .filter(|certificate| certificate.expires > now)
            .filter_map(|certificate| Some((certificate.fit(&name)?, certificate)))
            .max_by_key(|(fit, certificate)| {
                let (chosen, handed_in) = (Some(&certificate.id) == chosen, !certificate.generated);
                (chosen, handed_in, *fit, certificate.expires)
            })
            .map(|(_, certificate)| Arc::clone(certificate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(id: &str, names: &[&str], expires: i64) -> Certificate {
        let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).expect("a certificate");
        let pem = (made.cert.pem(), made.signing_key.serialize_pem());
        Certificate {
            id: id.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            generated: id.starts_with("made"),
            expires: Timestamp::from_second(expires).expect("a time"),
            key: crate::tls::pair::Pair::new(&pem.0, &pem.1, None)
                .expect("a pair")
                .certified,
        }
    }

    #[test]
    fn the_best_one_of_the_own_rack_is_shown() {
        let certificates = Certificates::default();
        certificates.replace(
            "staging",
            vec![
                certificate("wild", &["*.shop.example"], 900),
                certificate("exact", &["www.shop.example", "shop.example"], 500),
                certificate("longer", &["www.shop.example"], 600),
                certificate("over", &["www.shop.example"], 100),
                // Whatever the rack makes, what was handed in wins while it lives.
                certificate("made", &["www.shop.example", "api.shop.example"], 990),
                certificate("made-alone", &["new.example", "old.example"], 300),
                certificate("old", &["old.example"], 150),
            ],
        );
        certificates.replace(
            "production",
            vec![certificate("theirs", &["shop.example"], 900)],
        );
        let web = Key::new("staging", "myapp", "web");
        let best = |key: &Key, name: &str| {
            let now = Timestamp::from_second(200).expect("a time");
            certificates
                .best(key, name, now)
                .map(|best| best.id.clone())
        };
        for (name, expected) in [
            ("www.shop.example", Some("longer")),
            ("WWW.shop.example.", Some("longer")),
            ("shop.example", Some("exact")),
            ("api.shop.example", Some("wild")),
            ("a.b.shop.example", None),
            ("new.example", Some("made-alone")),
            ("old.example", Some("made-alone")),
            ("other.example", None),
            ("localhost", None),
        ] {
            assert_eq!(best(&web, name).as_deref(), expected, "{name}");
        }
        certificates.choose(&web, Some("exact"));
        assert_eq!(best(&web, "www.shop.example").as_deref(), Some("exact"));
        assert_eq!(best(&web, "api.shop.example").as_deref(), Some("wild"));
        certificates.choose(&web, Some("made"));
        assert_eq!(best(&web, "api.shop.example").as_deref(), Some("made"));
        certificates.choose(&web, None);
        assert_eq!(best(&web, "www.shop.example").as_deref(), Some("longer"));
        certificates.remove_rack("staging");
        assert_eq!(best(&web, "shop.example"), None);
    }
}
