//! Where a rack is and who asks: the URL, the credentials and the chosen rack.

use std::fmt;
use std::net::IpAddr;

use ::http::HeaderValue;
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::ClientError;

/// User name sent when the URL names none; racks compare only the password.
const USER: &str = "convox";

/// Whether a server must prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verification {
    /// Only when it is not on this machine: local racks have certificates of
    /// their own making, and nobody sits between us and them.
    #[default]
    Remote,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A rack's address with everything needed to talk to it.
///
/// `Debug` and `Display` never show the password.
#[derive(Clone)]
pub struct Endpoint {
    /// Without user information, query and fragment; the path has no final slash.
    url: Url,
    user: String,
    password: Option<String>,
    rack: Option<String>,
    verification: Verification,
}

impl Endpoint {
    /// Reads an `http` or `https` URL; user name and password may be in it.
    pub fn parse(url: &str) -> Result<Self, ClientError> {
        // The text is never part of the error: it may hold a password.
        let mut url = Url::parse(url)
            .map_err(|error| ClientError::Invalid(format!("rack url cannot be read: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ClientError::Invalid(
                "rack url must start with http:// or https:// and name a host".into(),
            ));
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = if url.username().is_empty() {
            USER.to_owned()
        } else {
            decode(url.username())
        };
        let password = url.password().map(decode);
        url.set_username("").expect("web urls may have users");
        url.set_password(None).expect("web urls may have passwords");
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self {
            url,
            user,
            password,
            rack: None,
            verification: Verification::default(),
        })
    }

    /// Chooses a rack of the server, as the `Rack` header names it.
    #[must_use]
    pub fn with_rack(mut self, rack: Option<String>) -> Self {
        self.rack = rack.filter(|rack| !rack.is_empty());
        self
    }

    /// Replaces the password of the URL.
    #[must_use]
    pub fn with_password(mut self, password: Option<String>) -> Self {
        self.password = password;
        self
    }

    /// Chooses when the server must prove who it is.
    #[must_use]
    pub fn with_verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// The chosen rack.
    pub fn rack(&self) -> Option<&str> {
        self.rack.as_deref()
    }

    /// The password, decoded.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// `host` or `host:port`, as the URL has it.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The port connected to.
    pub fn port(&self) -> u16 {
        self.url
            .port_or_known_default()
            .expect("web urls have a port")
    }

    /// The URL without user information.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => is_localhost(host),
        }
    }

    /// Whether the server must prove who it is.
    pub(crate) fn verifies(&self) -> bool {
        match self.verification {
            Verification::Always => true,
            Verification::Never => false,
            Verification::Remote => !self.is_loopback(),
        }
    }

    /// The value of the `Authorization` header, when there are credentials.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        use base64::Engine as _;
        let password = self.password.as_deref()?;
        let credentials = format!("{}:{password}", self.user);
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        let mut value =
            HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 is ascii");
        value.set_sensitive(true);
        Some(value)
    }

    /// The value of the `Origin` header: scheme, host and port in lower case.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Whether a name means this machine wherever it is resolved (RFC 6761 §6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.to_string())
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("rack", &self.rack)
            .field("verification", &self.verification)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::parse(url).expect(url)
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let endpoint = endpoint("https://convox:a+b%21%2Fc%25d@Rack.Example.com/prefix/");
        assert_eq!(endpoint.password(), Some("a+b!/c%d"));
        let value = endpoint.authorization().expect("password");
        // base64 of `convox:a+b!/c%d`
        assert_eq!(value.as_bytes(), b"Basic Y29udm94OmErYiEvYyVk");
        assert!(value.is_sensitive());
        assert_eq!(endpoint.to_string(), "https://rack.example.com/prefix");
        assert_eq!(endpoint.origin(), "https://rack.example.com");
        for shown in [format!("{endpoint:?}"), format!("{endpoint}")] {
            assert!(!shown.contains("a+b"), "{shown}");
        }
    }

    #[test]
    fn urls_without_credentials_send_none() {
        let endpoint = endpoint("http://127.0.0.1:5443");
        assert!(endpoint.authorization().is_none());
        assert_eq!(endpoint.host(), "127.0.0.1:5443");
        assert_eq!(endpoint.to_string(), "http://127.0.0.1:5443");
        assert_eq!(endpoint.origin(), "http://127.0.0.1:5443");
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        for url in [
            "https://convox:hunter2@host:99999",
            "ftp://convox:hunter2@host",
            "hunter2",
            "",
        ] {
            let error = Endpoint::parse(url).expect_err(url).to_string();
            assert!(error.starts_with("rack url "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn only_other_machines_must_prove_who_they_are() {
        for (url, loopback) in [
            ("https://localhost:1", true),
            ("https://rack.staging.localhost", true),
            ("https://RACK.localhost.", true),
            ("https://127.1.2.3", true),
            ("https://[::1]:5443", true),
            ("https://localhost.example.com", false),
            ("https://notlocalhost", false),
            ("https://192.168.0.1", false),
        ] {
            let endpoint = endpoint(url);
            assert_eq!(endpoint.is_loopback(), loopback, "{url}");
            assert_eq!(endpoint.verifies(), !loopback, "{url}");
            assert!(
                endpoint
                    .clone()
                    .with_verification(Verification::Always)
                    .verifies()
            );
            assert!(!endpoint.with_verification(Verification::Never).verifies());
        }
    }

    #[test]
    fn an_empty_rack_is_none() {
        let endpoint = endpoint("http://h").with_rack(Some(String::new()));
        assert_eq!(endpoint.rack(), None);
    }
}
