//! `convox rack ca`: the certificate of a rack's own authority, and how this machine comes to
//! trust it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use rack_api::client::ClientError;
use sha2::{Digest as _, Sha256};

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;

/// Where Debian and its relatives look for authorities of the machine's owner.
const DEBIAN: &str = "/usr/local/share/ca-certificates";
/// Where macOS keeps those of all users.
const KEYCHAIN: &str = "/Library/Keychains/System.keychain";
/// Directories of programs that users have not always on their path.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The certificate that a rack's certificates are signed with.
#[derive(Debug, Args)]
pub(super) struct RackCa {
    /// have this machine and its browsers trust it
    #[arg(long, conflicts_with = "untrust")]
    trust: bool,
    /// trust it no longer
    #[arg(long)]
    untrust: bool,
    #[command(flatten)]
    rack: RackArgs,
}

impl RackCa {
    /// Prints the certificate, or changes whom this machine trusts.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let rack = context.rack(&self.rack).await?;
        let pem = rack
            .client
            .system_authority()
            .await
            .map_err(|error| match error {
                ClientError::Api { status: 404, .. } => Error::with_hint(
                    "this rack has no authority of its own",
                    "only local racks sign certificates themselves: others show public ones",
                ),
                error => error.into(),
            })?;
        if !self.trust && !self.untrust {
            context.ui.text(pem)?;
            return Ok(Exit::SUCCESS);
        }
        let mut file = tempfile::Builder::new()
            .prefix("convox-ca-")
            .suffix(".pem")
            .tempfile()
            .map_err(Error::io("can not write a temporary file"))?;
        file.write_all(pem.as_bytes())
            .map_err(Error::io("can not write a temporary file"))?;
        let authority = Authority {
            name: name(&pem)?,
            file: file.path().to_owned(),
        };
        let machine = Machine::this();
        let steps = if self.trust {
            machine.trust(&authority)
        } else {
            machine.untrust(&authority)
        };
        if steps.is_empty() {
            return Err(Error::with_hint(
                "no way to trust an authority is known on this machine",
                "store what `convox rack ca` prints where your system or browser looks for authorities",
            ));
        }
        for step in &steps {
            take(context, &machine, step)?;
        }
        let done = if self.trust {
            format!("{} is trusted: start browsers anew", authority.name)
        } else {
            format!("{} is no longer trusted", authority.name)
        };
        context.ui.line(done)?;
        Ok(Exit::SUCCESS)
    }
}

/// A certificate to be trusted.
struct Authority {
    /// Name that no other authority has.
    name: String,
    /// Where it is.
    file: PathBuf,
}

/// `twinrack-` and the beginning of the fingerprint.
fn name(pem: &str) -> Result<String, Error> {
    let text: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = BASE64_STANDARD
        .decode(text.trim())
        .ok()
        .filter(|der| !der.is_empty())
        .ok_or_else(|| Error::failed("the rack answers with something that is no certificate"))?;
    let digest = Sha256::digest(&der);
    let number = digest
        .iter()
        .take(4)
        .fold(0, |all, byte| all << 8 | u32::from(*byte));
    Ok(format!("twinrack-{number:08x}"))
}

/// A command to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    words: Vec<OsString>,
    /// Changes what belongs to the machine, not to its user.
    of_root: bool,
}

impl Step {
    fn new<W: Into<OsString>>(of_root: bool, words: impl IntoIterator<Item = W>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            of_root,
        }
    }

    /// As one would type it.
    fn shown(&self) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        let words: Vec<_> = words.map(Cow::into_owned).collect();
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
    }
}

/// What a machine has for the purpose.
#[derive(Debug, Default)]
struct Machine {
    /// Directories where programs are looked for.
    path: Vec<PathBuf>,
    home: Option<PathBuf>,
    root: bool,
}

impl Machine {
    fn this() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut path: Vec<_> = std::env::split_paths(&path).collect();
        path.extend(SYSTEM.map(PathBuf::from));
        Self {
            path,
            home: std::env::var_os("HOME").map(PathBuf::from),
            root: rustix::process::geteuid().is_root(),
        }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let places = self.path.iter().filter(|place| place.is_absolute());
        places
            .map(|place| place.join(name))
            .find(|path| path.is_file())
    }

    /// The databases of browsers of this user.
    fn browsers(&self) -> Vec<PathBuf> {
        let Some(home) = &self.home else {
            return Vec::new();
        };
        let mut places = vec![home.join(".pki/nssdb")];
        for profiles in [".mozilla/firefox", "snap/firefox/common/.mozilla/firefox"] {
            let entries = std::fs::read_dir(home.join(profiles));
            places.extend(
                entries
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
        places.retain(|place| place.join("cert9.db").is_file());
        places.sort();
        places
    }

    fn trust(&self, authority: &Authority) -> Vec<Step> {
        let file = authority.file.as_os_str();
        let mut steps = Vec::new();
        if let Some(update) = self.program("update-ca-certificates") {
            let place = Path::new(DEBIAN).join(format!("{}.crt", authority.name));
            let words = ["install", "-D", "-m", "0644"].map(OsString::from);
            let words = words.into_iter().chain([file.into(), place.into()]);
            steps.push(Step::new(true, words));
            steps.push(Step::new(true, [update]));
        } else if let Some(trust) = self.program("trust") {
            let words = [trust.into(), "anchor".into(), "--store".into(), file.into()];
            steps.push(Step::new::<OsString>(true, words));
        } else if let Some(security) = self.program("security") {
            let words = ["add-trusted-cert", "-d", "-r", "trustRoot", "-k", KEYCHAIN];
            let words = words.map(OsString::from).into_iter();
            let all = [security.into()]
                .into_iter()
                .chain(words)
                .chain([file.into()]);
            steps.push(Step::new::<OsString>(true, all));
        }
        for (certutil, database) in self.databases() {
            let words = ["-A", "-t", "C,,", "-n", &authority.name, "-i"].map(OsString::from);
            let words = [certutil, "-d".into(), database].into_iter().chain(words);
            steps.push(Step::new(false, words.chain([file.into()])));
        }
        steps
    }

    fn untrust(&self, authority: &Authority) -> Vec<Step> {
        let file = authority.file.as_os_str();
        let mut steps = Vec::new();
        if let Some(update) = self.program("update-ca-certificates") {
            let place = Path::new(DEBIAN).join(format!("{}.crt", authority.name));
            steps.push(Step::new::<OsString>(
                true,
                ["rm".into(), "-f".into(), place.into()],
            ));
            steps.push(Step::new::<OsString>(
                true,
                [update.into(), "--fresh".into()],
            ));
        } else if let Some(trust) = self.program("trust") {
            let words = [
                trust.into(),
                "anchor".into(),
                "--remove".into(),
                file.into(),
            ];
            steps.push(Step::new::<OsString>(true, words));
        } else if let Some(security) = self.program("security") {
            let words = [
                security.into(),
                "remove-trusted-cert".into(),
                "-d".into(),
                file.into(),
            ];
            steps.push(Step::new::<OsString>(true, words));
        }
        for (certutil, database) in self.databases() {
            let words = ["-D", "-n", &authority.name].map(OsString::from);
            let words = [certutil, "-d".into(), database].into_iter().chain(words);
            steps.push(Step::new(false, words));
        }
        steps
    }

    /// What changes the databases of browsers, and their names for it.
    fn databases(&self) -> Vec<(OsString, OsString)> {
        let Some(certutil) = self.program("certutil") else {
            return Vec::new();
        };
        let name = |place: PathBuf| {
            let mut name = OsString::from("sql:");
            name.push(place);
            name
        };
        let browsers = self.browsers().into_iter();
        browsers
            .map(|place| (certutil.clone().into(), name(place)))
            .collect()
    }

    /// A step as it can be run by this user.
    fn allowed(&self, step: &Step) -> Result<Step, Error> {
        if !step.of_root || self.root {
            return Ok(step.clone());
        }
        let Some(sudo) = self.program("sudo") else {
            return Err(Error::with_hint(
                "only root may change whom this machine trusts, and there is no sudo",
                format!("as root: {}", step.shown()),
            ));
        };
        let words = [sudo.into()].into_iter().chain(step.words.clone());
        Ok(Step::new(true, words))
    }
}

/// Says and runs a command.
fn take(context: &Context, machine: &Machine, step: &Step) -> Result<(), Error> {
    let step = machine.allowed(step)?;
    context.ui.note(format!("$ {}", step.shown()));
    let (program, words) = step.words.split_first().expect("a step has a program");
    let status = Command::new(program)
        .args(words)
        // What they say is talk; a password is asked for on the terminal.
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .map_err(Error::io(format!(
            "can not run {}",
            program.to_string_lossy()
        )))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::failed(format!("{} failed: {status}", step.shown())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these programs, and a browser.
    fn machine(programs: &[&str], root: bool) -> (tempfile::TempDir, Machine) {
        let place = tempfile::tempdir().expect("a directory");
        for program in programs {
            std::fs::write(place.path().join(program), "").expect("written");
        }
        let browser = place.path().join(".pki/nssdb");
        std::fs::create_dir_all(&browser).expect("made");
        std::fs::write(browser.join("cert9.db"), "").expect("written");
        let machine = Machine {
            path: vec![place.path().to_owned()],
            home: Some(place.path().to_owned()),
            root,
        };
        (place, machine)
    }

    fn authority() -> Authority {
        Authority {
            name: "twinrack-00".into(),
            file: "/tmp/ca.pem".into(),
        }
    }

    fn shown(place: &tempfile::TempDir, steps: &[Step]) -> Vec<String> {
        let prefix = format!("{}/", place.path().display());
        let all = steps.iter();
        all.map(|step| step.shown().replace(&prefix, "")).collect()
    }

    #[test]
    fn every_kind_of_machine_has_its_own_way() {
        let (place, debian) = machine(&["update-ca-certificates", "trust", "certutil"], true);
        assert_eq!(
            shown(&place, &debian.trust(&authority())),
            [
                "install -D -m 0644 /tmp/ca.pem /usr/local/share/ca-certificates/twinrack-00.crt",
                "update-ca-certificates",
                "certutil -d sql:.pki/nssdb -A -t 'C,,' -n twinrack-00 -i /tmp/ca.pem",
            ]
        );
        assert_eq!(
            shown(&place, &debian.untrust(&authority())),
            [
                "rm -f /usr/local/share/ca-certificates/twinrack-00.crt",
                "update-ca-certificates --fresh",
                "certutil -d sql:.pki/nssdb -D -n twinrack-00",
            ]
        );
        let (place, fedora) = machine(&["trust"], true);
        assert_eq!(
            shown(&place, &fedora.trust(&authority())),
            ["trust anchor --store /tmp/ca.pem"]
        );
        let (place, mac) = machine(&["security"], true);
        assert_eq!(
            shown(&place, &mac.trust(&authority())),
            [
                "security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain /tmp/ca.pem"
            ]
        );
        let (_place, bare) = machine(&[], true);
        assert!(bare.trust(&authority()).is_empty());
    }

    #[test]
    fn only_what_is_the_machines_needs_root() {
        let (place, user) = machine(&["trust", "certutil", "sudo"], false);
        let steps = user.trust(&authority());
        let steps: Vec<_> = steps
            .iter()
            .map(|step| user.allowed(step).expect("sudo"))
            .collect();
        let shown = shown(&place, &steps);
        assert!(shown[0].starts_with("sudo trust anchor"), "{shown:?}");
        assert!(shown[1].starts_with("certutil "), "{shown:?}");
        let (_place, poor) = machine(&["trust"], false);
        let refused = poor
            .allowed(&poor.trust(&authority())[0])
            .expect_err("no sudo");
        assert!(refused.hint().expect("a hint").contains("trust anchor"));
    }

    #[test]
    fn a_name_is_that_of_one_certificate() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
        let named = name(pem).expect("a name");
        assert_eq!(named.len(), "twinrack-".len() + 8);
        assert_ne!(named, name(&pem.replace("BBBB", "CCCC")).expect("a name"));
        name("<html>").expect_err("no certificate");
    }
}
