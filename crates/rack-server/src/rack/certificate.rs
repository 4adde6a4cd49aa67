//! Certificates: kept by the rack, shown by the router.
//!
//! A service of generation 2 is given a certificate by its `domain:`: the router shows
//! the best one the rack has for a name ([`crate::router::Certificates::best`]). Only one that a
//! service names itself (`certificate:`) is applied in the sense that it cannot be
//! removed meanwhile.

use std::time::Duration;

use rack_api::certificate::{Certificate, GenerateOptions, SecurePort};

use super::Rack;
use crate::operations::plan::Plan;
use crate::operations::{Failure, Result};
use crate::router;
use crate::store::CertificateRow;
use crate::tls::pair::Pair;
use crate::tls::{self, TlsError};

/// Most names in one certificate.
const MOST_DOMAINS: usize = 100;
/// Shortest and longest life that can be asked for, in hours: browsers refuse longer ones.
const HOURS: std::ops::RangeInclusive<u64> = 1..=825 * 24;
/// Status of a certificate whose time is over.
const EXPIRED: &str = "Expired";

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Reads what is stored.
fn read(row: &CertificateRow) -> Result<Pair> {
    Pair::new(&row.chain, &row.key, None)
        .map_err(|reason| Failure::internal(format!("certificate {}: {reason}", row.id)))
}

fn missing(id: &str) -> Failure {
    Failure::NotFound(format!("certificate not found: {id}"))
}

impl Rack {
    fn show_certificate(&self, id: String, pair: &Pair) -> Certificate {
        let expired = pair.expires <= self.context.now();
        Certificate {
            id,
            domain: pair.domain.clone(),
            domains: pair.names.clone(),
            expiration: Some(pair.expires),
            status: if expired { EXPIRED } else { "" }.to_owned(),
        }
    }

    /// Lists certificates by id.
    pub async fn certificates(&self, generated_only: bool) -> Result<Vec<Certificate>> {
        let rows = self.context.store.certificates().await?;
        rows.into_iter()
            .filter(|row| row.generated || !generated_only)
            .map(|row| {
                let pair = read(&row)?;
                Ok(self.show_certificate(row.id, &pair))
            })
            .collect()
    }

    /// Lets the router show what is stored. One that cannot be read any more is left
    /// out: it must not keep a rack from being opened.
    pub(super) async fn show_certificates(&self) -> Result<()> {
        let mut shown = Vec::new();
        for row in self.context.store.certificates().await? {
            match read(&row) {
                Ok(pair) => shown.push(router::Certificate {
                    id: row.id,
                    names: pair.names,
                    generated: row.generated,
                    expires: pair.expires,
                    key: pair.certified,
                }),
                Err(error) => self
                    .context
                    .rack_log(&format!("certificate {} cannot be used: {error}", row.id)),
            }
        }
        let certificates = self.context.router.certificates();
        certificates.replace(&self.context.rack, shown);
        Ok(())
    }

    /// Alone with the rack's certificates: what is shown is always what is stored.
    async fn lock_certificates(&self) -> tokio::sync::OwnedMutexGuard<()> {
        // No app has a slash in its name.
        self.context.lock_app("/certificates").await
    }

    async fn keep(&self, id: String, pair: Pair, generated: bool) -> Result<Certificate> {
        let shown = self.show_certificate(id.clone(), &pair);
        let row = CertificateRow {
            id,
            chain: pair.chain,
            key: pair.key,
            generated,
        };
        let now = self.context.now();
        self.context.store.save_certificate(row, now).await?;
        self.show_certificates().await?;
        Ok(shown)
    }

    /// Stores a certificate that was made elsewhere.
    pub async fn create_certificate(
        &self,
        certificate: &str,
        key: &str,
        chain: Option<&str>,
    ) -> Result<Certificate> {
        let pair = Pair::new(certificate, key, chain).map_err(Failure::Invalid)?;
        if pair.expires <= self.context.now() {
            return Err(Failure::Invalid(format!(
                "the certificate expired on {}: get a new one",
                pair.expires.strftime("%Y-%m-%d")
            )));
        }
        let _alone = self.lock_certificates().await;
        let id = format!("cert-{}", pair.fingerprint);
        self.keep(id, pair, false).await
    }

    /// Makes a certificate, signed by the local authority.
    pub async fn generate_certificate(
        &self,
        domains: &[String],
        options: &GenerateOptions,
    ) -> Result<Certificate> {
        match options.issuer.as_deref().unwrap_or_default() {
            "" | "self-signed" => {}
            "letsencrypt" => {
                return Err(Failure::Invalid(
                    "letsencrypt signs nothing on a local rack: leave the issuer out to have the local authority sign".into(),
                ));
            }
            _ => return Err(Failure::Invalid("invalid issuer".into())),
        }
        let mut names: Vec<String> = Vec::new();
        for domain in domains {
            let domain = domain.trim().to_ascii_lowercase();
            if domain.is_empty() || names.contains(&domain) {
                continue;
            }
            check_domain(&domain)?;
            names.push(domain);
        }
        if names.is_empty() {
            return Err(Failure::Invalid("must specify a domain".into()));
        }
        if names.len() > MOST_DOMAINS {
            return Err(Failure::Invalid(format!(
                "can not specify more than {MOST_DOMAINS} domain names"
            )));
        }
        let life = options.duration.unwrap_or(tls::LEAF_LIFE);
        let (shortest, longest) = (HOURS.start() * 3600, HOURS.end() * 3600);
        if life < Duration::from_secs(shortest) || life > Duration::from_secs(longest) {
            return Err(Failure::Invalid(format!(
                "duration must be between {} and {} hours",
                HOURS.start(),
                HOURS.end()
            )));
        }
        let pair = self.issue(names, life).await?;
        let _alone = self.lock_certificates().await;
        let id = format!("cert-{}", pair.fingerprint);
        self.keep(id, pair, true).await
    }

    async fn issue(&self, names: Vec<String>, life: Duration) -> Result<Pair> {
        let issued = self.context.authority.issue(names, life).await?;
        Pair::new(&issued.chain, &issued.key, None).map_err(Failure::internal)
    }

    /// Removes a certificate that no service names.
    pub async fn delete_certificate(&self, id: &str) -> Result<()> {
        if self.context.store.certificate(id).await?.is_none() {
            return Err(missing(id));
        }
        // What runs is known only then.
        self.context.ready().await?;
        let _alone = self.lock_certificates().await;
        if let Some((app, service)) = self.context.fleet.certificate_user(id) {
            return Err(Failure::Conflict(format!(
                "certificate {id} is used by service {service} of app {app}: promote a release that does not name it first"
            )));
        }
        if !self.context.store.delete_certificate(id).await? {
            return Err(missing(id));
        }
        self.show_certificates().await
    }

    /// Makes a generated certificate anew under its old id. Version 3 passes the name
    /// of an app instead: all generated ones of its domains.
    pub async fn renew_certificate(&self, id: &str) -> Result<()> {
        let _alone = self.lock_certificates().await;
        if let Some(row) = self.context.store.certificate(id).await? {
            if !row.generated {
                return Err(Failure::Invalid(format!(
                    "certificate {id} was made elsewhere: import its successor"
                )));
            }
            return self.renew(&row).await;
        }
        let Some(app) = self.context.store.app(id).await? else {
            return Err(missing(id));
        };
        if app.release.is_empty() {
            return Ok(());
        }
        let plan = Plan::load(&self.context, &app.name, &app.release).await?;
        let domains: Vec<_> = plan
            .services
            .iter()
            .flat_map(|service| &service.service.domains)
            .collect();
        for row in self.context.store.certificates().await? {
            let serves = |pair: &Pair| pair.names.iter().any(|name| domains.contains(&name));
            if row.generated && read(&row).is_ok_and(|pair| serves(&pair)) {
                self.renew(&row).await?;
            }
        }
        Ok(())
    }

    async fn renew(&self, row: &CertificateRow) -> Result<()> {
        let old = read(row)?;
        let life = Duration::try_from(old.expires.duration_since(old.begins))
            .unwrap_or(tls::LEAF_LIFE)
            // It begins a day early.
            .saturating_sub(Duration::from_secs(24 * 60 * 60))
            .max(Duration::from_secs(HOURS.start() * 3600));
        let pair = self.issue(old.names, life).await?;
        self.keep(row.id.clone(), pair, true).await.map(drop)
    }

    /// Generation 2 has no such thing: says what to do instead (`rack-api.md` §1.7).
    pub async fn apply_certificate(&self, app: &str) -> Result<()> {
        self.context.app(app).await?;
        Err(Failure::Invalid(
            "generation 2 apps use the domain: attribute on services in convox.yml".into(),
        ))
    }
}

impl Rack {
    /// Lists the secure ports of an app's services (`rack-api.md` §5).
    pub async fn secure_ports(&self, app: &str) -> Result<Vec<SecurePort>> {
        let known = self.certificates(false).await?;
        let expiration = |id: &str| {
            let found = known.iter().find(|certificate| certificate.id == id);
            found.and_then(|certificate| certificate.expiration)
        };
        let mut ports = Vec::new();
        for service in self.services(app).await? {
            for port in service.ports.iter().filter(|port| port.balancer == 443) {
                ports.push(SecurePort {
                    expiration: expiration(&port.certificate),
                    certificate: port.certificate.clone(),
                    domain: service.domain.clone(),
                    port: port.balancer,
                    process: service.name.clone(),
                    secure: false,
                });
            }
        }
        Ok(ports)
    }
}

/// A host name, one with `*` for its first label, or an address.
fn check_domain(domain: &str) -> Result<()> {
    let host = domain.strip_prefix("*.").unwrap_or(domain);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = host.len() <= 253 && host.split('.').all(label);
    if valid || domain.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Failure::Invalid(
        "invalid domain: use host names such as shop.example or *.shop.example".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::check_domain;

    #[test]
    fn domains_are_host_names() {
        for domain in [
            "localhost",
            "a.example",
            "*.a.example",
            "a_b.example",
            "192.0.2.1",
            "::1",
        ] {
            assert!(check_domain(domain).is_ok(), "{domain}");
        }
        for domain in [
            "*",
            "a..b",
            "-a.example",
            "a b",
            "a/b",
            "*.*.example",
            "a.*.example",
            "ü.example",
        ] {
            assert!(check_domain(domain).is_err(), "{domain}");
        }
    }
}
