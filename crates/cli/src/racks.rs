//! The racks that are known and how each is reached.
//!
//! A rack is known from a server or console that lists it, or from a settings
//! file that holds its URL. Commands for a rack with such a file need no listing.

use futures::future::join_all;
use rack_api::client::{Client, ClientError, Endpoint, Verification};
use rack_api::rack::ORGANIZATION;

use crate::arguments::RackArgs;
use crate::context::{Context, variable};
use crate::error::Error;
use crate::server::Server;
use crate::settings::Map;
use crate::target::{self, TargetError};

/// A connection to one rack, or to a console where no rack is chosen.
pub(crate) struct Rack {
    /// Whether it is on this machine.
    pub(crate) local: bool,
    /// The calls.
    pub(crate) client: Client,
}

/// How a rack is reached.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// What the rack is called.
    pub(crate) name: String,
    /// The server or console that lists it.
    pub(crate) host: Option<String>,
    /// Its name among the racks reached by a URL.
    pub(crate) direct: Option<String>,
    endpoint: Endpoint,
}

impl Reach {
    /// Where it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// A rack as `convox racks` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// `running`, or `unknown` when it can not be asked.
    pub(crate) status: String,
    /// How it is reached.
    pub(crate) reach: Reach,
}

/// All racks that are known.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Sorted by name.
    pub(crate) racks: Vec<Known>,
    /// Hosts that could not be asked.
    pub(crate) failures: Vec<Error>,
}

impl Context {
    /// Connects to the rack a command is for, starting a local server that has stopped.
    pub(crate) async fn rack(&self, arguments: &RackArgs) -> Result<Rack, Error> {
        let reach = self.reach(arguments).await?;
        let server = self.known_server(&reach.endpoint.host())?;
        let local = reach.endpoint.is_loopback();
        let mut client = Client::new(reach.endpoint);
        if let Some(server) = server {
            server.wake().await?;
            // It may have been dying just then.
            client = client.with_revive(Box::new(move || {
                let server = server.clone();
                Box::pin(async move { server.wake().await.is_ok() })
            }));
        }
        Ok(Rack { local, client })
    }

    /// Finds the rack a command is for.
    async fn reach(&self, arguments: &RackArgs) -> Result<Reach, Error> {
        if let Some(url) = variable("RACK_URL") {
            let asked = arguments
                .rack
                .clone()
                .filter(|name| !name.is_empty())
                .or_else(|| variable("CONVOX_RACK"));
            let endpoint = endpoint(&url)?.with_rack(asked.clone());
            return Ok(Reach {
                name: asked.unwrap_or_else(|| "direct".to_owned()),
                host: None,
                direct: None,
                endpoint,
            });
        }
        let wanted = self.rack_name(arguments)?;
        if let Some(host) = variable("CONVOX_HOST") {
            return self.reach_at(host, wanted).await;
        }
        match wanted {
            Some(wanted) => self.find(&wanted).await,
            None => self.only_host().await,
        }
    }

    /// A rack of the one host that `CONVOX_HOST` allows.
    async fn reach_at(&self, host: String, wanted: Option<String>) -> Result<Reach, Error> {
        let endpoint = self.console(&host)?;
        let Some(wanted) = wanted else {
            return Ok(Reach {
                name: host.clone(),
                host: Some(host),
                direct: None,
                endpoint,
            });
        };
        let racks = self.list_host(&host).await?;
        // A rack that is no console lists nothing and ignores the name.
        let name = if racks.is_empty() {
            wanted
        } else {
            pick(racks, &wanted)?.reach.name
        };
        let endpoint = endpoint.with_rack(Some(name.clone()));
        Ok(Reach {
            name,
            host: Some(host),
            direct: None,
            endpoint,
        })
    }

    /// With no rack chosen: the only rack of the only host.
    async fn only_host(&self) -> Result<Reach, Error> {
        match &self.settings.hosts()?[..] {
            [host] => {
                let endpoint = self.console(host)?;
                let mut racks = self.list_host(host).await?;
                match racks.len() {
                    1 => Ok(racks.remove(0).reach),
                    0 if self.servers()?.contains_key(host) => Err(TargetError::NoRacks.into()),
                    // A rack that is no console.
                    0 => Ok(Reach {
                        name: host.clone(),
                        host: Some(host.clone()),
                        direct: None,
                        endpoint,
                    }),
                    _ => Err(TargetError::NoCurrentRack.into()),
                }
            }
            [] if self.settings.direct_racks()?.is_empty() => Err(TargetError::NoRacks.into()),
            _ => Err(TargetError::NoCurrentRack.into()),
        }
    }

    /// Finds a rack by its name, without asking anyone if a settings file has it.
    pub(crate) async fn find(&self, wanted: &str) -> Result<Reach, Error> {
        let wanted = wanted.strip_prefix("local/").unwrap_or(wanted);
        let (servers, stand_ins) = (self.servers()?, self.settings.stand_ins()?);
        for (name, url) in self.settings.direct_racks()? {
            let reach = direct(&name, &url, &servers, &stand_ins)?;
            if wanted == name || wanted == reach.name {
                return Ok(reach);
            }
        }
        let mut listing = self.known_racks().await?;
        match pick(std::mem::take(&mut listing.racks), wanted) {
            Ok(known) => Ok(known.reach),
            // It may be on the host that could not be asked.
            Err(TargetError::NotFound(_)) if !listing.failures.is_empty() => {
                Err(listing.failures.remove(0))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks every host, and every rack that no host lists.
    pub(crate) async fn known_racks(&self) -> Result<Listing, Error> {
        let servers = self.servers()?;
        let hosts = if let Some(host) = variable("CONVOX_HOST") {
            vec![host]
        } else {
            let mut hosts = self.settings.hosts()?;
            let further: Vec<_> = servers
                .keys()
                .filter(|host| !hosts.contains(host))
                .cloned()
                .collect();
            hosts.extend(further);
            hosts
        };
        let mut listing = Listing::default();
        for (host, racks) in hosts
            .iter()
            .zip(join_all(hosts.iter().map(|host| self.list_host(host))).await)
        {
            match racks {
                Ok(racks) => listing.racks.extend(racks),
                Err(error) => listing.failures.push(error.about(host)),
            }
        }
        let mut unlisted = Vec::new();
        let stand_ins = self.settings.stand_ins()?;
        for (name, url) in self.settings.direct_racks()? {
            let reach = direct(&name, &url, &servers, &stand_ins)?;
            match listing
                .racks
                .iter_mut()
                .find(|known| known.reach.host == reach.host && known.reach.name == reach.name)
            {
                // The rack's own password is the narrower key.
                Some(known) => known.reach = reach,
                None => unlisted.push(reach),
            }
        }
        listing
            .racks
            .extend(join_all(unlisted.into_iter().map(probe)).await);
        listing
            .racks
            .sort_by(|one, other| one.reach.name.cmp(&other.reach.name));
        Ok(listing)
    }

    /// The racks of one server or console.
    async fn list_host(&self, host: &str) -> Result<Vec<Known>, Error> {
        let endpoint = self.console(host)?;
        self.wake(&endpoint.host()).await?;
        let racks = match Client::new(endpoint.clone()).rack_list().await {
            Ok(racks) => racks,
            // A rack that is no console.
            Err(ClientError::Api { status: 404, .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let known = racks.into_iter().map(|rack| {
            let name = rack.full_name();
            let endpoint = endpoint.clone().with_rack(Some(name.clone()));
            Known {
                status: rack.status,
                reach: Reach {
                    name,
                    host: Some(host.to_owned()),
                    direct: None,
                    endpoint,
                },
            }
        });
        Ok(known.collect())
    }

    /// A host with its password and no rack chosen.
    pub(crate) fn console(&self, host: &str) -> Result<Endpoint, Error> {
        let password = match variable("CONVOX_PASSWORD") {
            Some(password) => Some(password),
            None => self.settings.password(host)?,
        };
        let scheme = scheme(host, &self.servers()?);
        Ok(endpoint(&format!("{scheme}://{host}"))?.with_password(password))
    }

    /// The server that environment and settings describe.
    pub(crate) fn local_server(&self) -> Result<Server, Error> {
        let mut server = Server::from_environment()?;
        let known = self
            .servers()?
            .remove(&server.host)
            .filter(|data| !data.is_empty());
        if let (None, Some(data)) = (variable("RACK_SERVER_DATA"), known) {
            server.data = data.into();
        }
        Ok(server)
    }

    /// Data directories of the local servers that are known, by host.
    fn servers(&self) -> Result<Map, Error> {
        Ok(self.settings.servers()?)
    }

    /// Starts a local server that this client has started before and that has stopped.
    pub(crate) async fn wake(&self, host: &str) -> Result<(), Error> {
        match self.known_server(host)? {
            Some(server) => Ok(server.wake().await?),
            None => Ok(()),
        }
    }

    /// The local server behind a host, when this client has started it before and may
    /// start it again.
    fn known_server(&self, host: &str) -> Result<Option<Server>, Error> {
        if !self.wakes() {
            return Ok(None);
        }
        let data = self.servers()?.remove(host).filter(|data| !data.is_empty());
        Ok(data.map(|data| Server {
            host: host.to_owned(),
            data: data.into(),
        }))
    }
}

fn pick(mut racks: Vec<Known>, wanted: &str) -> Result<Known, TargetError> {
    let names: Vec<_> = racks.iter().map(|known| known.reach.name.clone()).collect();
    target::matching(&names, wanted).map(|index| racks.swap_remove(index))
}

/// A rack whose URL is in a settings file.
fn direct(name: &str, url: &str, servers: &Map, stand_ins: &Map) -> Result<Reach, Error> {
    let broken = |error: ClientError| Error::failed(format!("settings of rack {name}: {error}"));
    let endpoint = endpoint(url)
        .map_err(|error| Error::failed(format!("settings of rack {name}: {error}")))?;
    let host = endpoint.host();
    if !servers.contains_key(&host) {
        return Ok(Reach {
            name: stand_ins.get(name).map_or(name, String::as_str).to_owned(),
            host: None,
            direct: Some(name.to_owned()),
            endpoint,
        });
    }
    // One of ours: it speaks plain http too, which starts faster.
    let full_name = format!("{ORGANIZATION}/{name}");
    let endpoint = Endpoint::parse(&format!("http://{host}"))
        .map_err(broken)?
        .with_password(endpoint.password().map(str::to_owned))
        .with_rack(Some(full_name.clone()));
    Ok(Reach {
        name: full_name,
        host: Some(host),
        direct: Some(name.to_owned()),
        endpoint,
    })
}

async fn probe(reach: Reach) -> Known {
    let system = Client::new(reach.endpoint.clone()).system_get().await;
    let status = system.map_or_else(|_| "unknown".to_owned(), |system| system.status);
    Known { status, reach }
}

fn scheme(host: &str, servers: &Map) -> &'static str {
    if servers.contains_key(host) || variable("X_DEV_ALLOW_HTTP").as_deref() == Some("true") {
        "http"
    } else {
        "https"
    }
}

/// Reads a URL; `CONVOX_TLS_VERIFY=never` trusts racks with certificates of
/// their own making, as the official clients always do.
pub(crate) fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::parse(url)?;
    Ok(match variable("CONVOX_TLS_VERIFY").as_deref() {
        None => endpoint,
        Some("never") => endpoint.with_verification(Verification::Never),
        Some("always") => endpoint.with_verification(Verification::Always),
        Some(other) => {
            return Err(Error::failed(format!(
                "CONVOX_TLS_VERIFY is {other}, expected always or never"
            )));
        }
    })
}
