//! Which registry an image comes from, and what registries are called.
//!
//! People write a registry as a host, as a URL, or by one of the names Docker Hub
//! has had. Logins are stored as written and looked up by the one name of [`host`].

/// The one name of Docker Hub.
pub const HUB: &str = "docker.io";

/// Names under which people know Docker Hub.
const HUB_NAMES: [&str; 5] = [
    HUB,
    "index.docker.io",
    "registry-1.docker.io",
    "hub.docker.com",
    "registry.hub.docker.com",
];

/// The host, with its port if it has one, of a registry as people write it.
/// `None` when nothing in the text could be one.
pub fn host(server: &str) -> Option<String> {
    let bare = server.trim();
    let bare = bare
        .strip_prefix("https://")
        .or(bare.strip_prefix("http://"))
        .unwrap_or(bare);
    let bare = bare.split('/').next().unwrap_or(bare).to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if bare.is_empty() || !bare.starts_with(|c: char| c != ':') || !bare.chars().all(plain) {
        return None;
    }
    if HUB_NAMES.contains(&bare.as_str()) {
        return Some(HUB.to_owned());
    }
    Some(bare)
}

/// The registry of an image reference: its first part when that looks like a host,
/// else Docker Hub.
pub fn of_image(reference: &str) -> String {
    reference
        .split_once('/')
        .map(|(first, _)| first)
        .filter(|first| first.contains(['.', ':']) || *first == "localhost")
        .and_then(host)
        .unwrap_or_else(|| HUB.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_one_name() {
        for (written, name) in [
            ("docker.io", HUB),
            ("https://index.docker.io/v1/", HUB),
            ("registry.example.com", "registry.example.com"),
            ("https://Box.Example:5000/v2/", "box.example:5000"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(host(written).as_deref(), Some(name), "{written}");
        }
        for nonsense in ["", "https://", "/x", "a b", ":5000", "user@host", "ho\nst"] {
            assert_eq!(host(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn images_name_their_registry() {
        for (image, name) in [
            ("busybox:1.36", HUB),
            ("team/app", HUB),
            ("docker.io/library/busybox", HUB),
            ("localhost/app", "localhost"),
            ("127.0.0.1:5000/app:1", "127.0.0.1:5000"),
            (
                "registry.example.com/team/app@sha256:ab",
                "registry.example.com",
            ),
        ] {
            assert_eq!(of_image(image), name, "{image}");
        }
    }
}
