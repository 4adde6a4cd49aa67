//! The table of hosts and the choice of a target.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::Request;
use jiff::Timestamp;

use super::access;
use super::certificate::{Certificate, Certificates};
use super::flight::InFlight;
use super::host;
use super::rules::{self, Rules};
use super::target::Target;
use super::traffic::{Counter, Traffic};

/// Which service a route leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Rack name.
    pub rack: String,
    /// App name.
    pub app: String,
    /// Service name.
    pub service: String,
}

impl Key {
    /// Names a service.
    pub fn new(
        rack: impl Into<String>,
        app: impl Into<String>,
        service: impl Into<String>,
    ) -> Self {
        Self {
            rack: rack.into(),
            app: app.into(),
            service: service.into(),
        }
    }

    /// The service's own host, `<service>.<app>.<rack>.localhost`.
    pub fn host(&self) -> String {
        format!("{}.{}.{}.localhost", self.service, self.app, self.rack).to_ascii_lowercase()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "service {} of app {} on rack {}",
            self.service, self.app, self.rack
        )
    }
}

/// Why hosts cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Another service has the host.
    #[error("domain {host} is already used by {owner}")]
    Claimed {
        /// The host.
        host: String,
        /// Who has it.
        owner: Key,
    },
    /// The host can be nobody's domain.
    #[error("domain {host} cannot be used: it is reserved for the server")]
    Reserved {
        /// The host.
        host: String,
    },
}

/// A published service.
#[derive(Debug)]
pub struct Route {
    key: Key,
    hosts: Vec<String>,
    targets: Vec<Arc<Target>>,
    rules: Rules,
    /// Where its requests are told.
    access: Option<access::Log>,
    /// Requests so far; outlives the route when another one takes its place.
    pub(super) counter: Arc<Counter>,
    /// Moves on with every choice, so that equally busy targets take turns.
    turn: AtomicUsize,
}

impl Route {
    /// The service.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// All hosts it answers to, its own one first.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Its healthy processes.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// How requests reach it.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Where its requests are told, if they are.
    pub(super) fn access(&self) -> Option<&access::Log> {
        self.access.as_ref()
    }

    /// The one that is kept if it can be, else the least busy target that has not been
    /// tried.
    fn choose(&self, tried: &[Arc<Target>], kept: Option<&str>) -> Option<&Arc<Target>> {
        let untried = |target: &&Arc<Target>| !tried.iter().any(|other| Arc::ptr_eq(other, target));
        if let Some(kept) = kept
            && let mut same = self.targets.iter().filter(untried)
            && let Some(target) = same.find(|target| rules::is_kept(target, kept))
        {
            return Some(target);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.targets.len().max(1);
        let (later, first) = self.targets.split_at(turn % count);
        first
            .iter()
            .chain(later)
            .filter(untried)
            .min_by_key(|target| target.in_flight())
    }
}

#[derive(Debug, Default, Clone)]
struct Table {
    routes: HashMap<Key, Arc<Route>>,
    hosts: HashMap<String, Arc<Route>>,
    /// Where the requests to the services of a rack are told.
    logs: HashMap<String, access::Log>,
}

impl Table {
    fn remove(&mut self, key: &Key) -> Option<Arc<Route>> {
        let route = self.routes.remove(key)?;
        for host in &route.hosts {
            self.hosts.remove(host);
        }
        Some(route)
    }
}

/// Leads requests to processes by host name. See the module's text for what it promises.
#[derive(Debug, Default)]
pub struct Router {
    table: ArcSwap<Table>,
    certificates: Certificates,
    /// One change at a time; readers never wait.
    change: Mutex<()>,
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces what is published for a service in one step: `hosts` are its custom
    /// domains, its own host is always there. Without targets the hosts answer 503.
    ///
    /// Returns the targets that are no longer used: drain them, then stop their
    /// processes. If a host is refused nothing changes.
    pub fn publish(
        &self,
        key: Key,
        hosts: Vec<String>,
        targets: Vec<Arc<Target>>,
    ) -> Result<Vec<Arc<Target>>, PublishError> {
        self.publish_with(key, hosts, targets, Rules::default())
    }

    /// Publishes with what the service says of how requests reach it.
    pub fn publish_with(
        &self,
        key: Key,
        hosts: Vec<String>,
        targets: Vec<Arc<Target>>,
        rules: Rules,
    ) -> Result<Vec<Arc<Target>>, PublishError> {
        let mut all = vec![key.host()];
        for host in hosts.iter().map(|host| host::normal(host).into_owned()) {
            if !all.contains(&host) {
                all.push(host);
            }
        }
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        let before = table.remove(&key);
        for host in &all {
            check(&table, host, &key)?;
        }
        let log = table.logs.get(&key.rack).filter(|_| rules.access);
        let route = Arc::new(Route {
            access: log.cloned(),
            key: key.clone(),
            hosts: all,
            targets,
            rules: rules.bounded(),
            counter: before
                .as_ref()
                .map(|before| Arc::clone(&before.counter))
                .unwrap_or_default(),
            turn: AtomicUsize::new(0),
        });
        for host in &route.hosts {
            table.hosts.insert(host.clone(), Arc::clone(&route));
        }
        table.routes.insert(key, Arc::clone(&route));
        for target in &route.targets {
            target.retire(false);
        }
        self.table.store(Arc::new(table));
        Ok(retire(before.as_deref(), &route.targets))
    }

    /// Sets where the requests are told to services that are published from now on; those
    /// whose rules say so.
    pub fn tell(&self, rack: &str, log: access::Log) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        table.logs.insert(rack.to_owned(), log);
        self.table.store(Arc::new(table));
    }

    /// Whether hosts could be published for a service now; nothing changes.
    pub fn check(&self, key: &Key, hosts: &[String]) -> Result<(), PublishError> {
        let table = self.table.load();
        hosts
            .iter()
            .try_for_each(|host| check(&table, &host::normal(host), key))
    }

    /// Takes a service out. Returns its targets, to drain.
    pub fn withdraw(&self, key: &Key) -> Vec<Arc<Target>> {
        self.withdraw_where(|candidate| candidate == key)
    }

    /// Takes all services of an app out. Returns their targets, to drain.
    pub fn withdraw_app(&self, rack: &str, app: &str) -> Vec<Arc<Target>> {
        self.withdraw_where(|key| key.rack == rack && key.app == app)
    }

    /// Takes all services of a rack out. Returns their targets, to drain.
    pub fn withdraw_rack(&self, rack: &str) -> Vec<Arc<Target>> {
        let gone = self.withdraw_where(|key| key.rack == rack);
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        table.logs.remove(rack);
        self.table.store(Arc::new(table));
        gone
    }

    fn withdraw_where(&self, gone: impl Fn(&Key) -> bool) -> Vec<Arc<Target>> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        let keys: Vec<_> = table
            .routes
            .keys()
            .filter(|key| gone(key))
            .cloned()
            .collect();
        let routes: Vec<_> = keys.iter().filter_map(|key| table.remove(key)).collect();
        self.table.store(Arc::new(table));
        routes
            .iter()
            .flat_map(|route| retire(Some(route), &[]))
            .collect()
    }

    /// The route of a host, by its name or by a wildcard domain one level up.
    pub fn lookup(&self, host: &str) -> Option<Arc<Route>> {
        let table = self.table.load();
        let host = host::normal(host);
        let wild = || {
            host.split_once('.')
                .and_then(|(_, parent)| table.hosts.get(&format!("*.{parent}")))
        };
        table.hosts.get(host.as_ref()).or_else(wild).cloned()
    }

    /// The route a request is for, if it is for a service that is published.
    pub(crate) fn route_of<B>(&self, request: &Request<B>) -> Option<Arc<Route>> {
        self.lookup(&host::of(request)?)
    }

    /// The certificates of the racks.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The certificate a rack has for a host that is published, if it has one.
    pub fn certificate(&self, host: &str) -> Option<Arc<Certificate>> {
        let route = self.lookup(host)?;
        self.certificates.best(&route.key, host, Timestamp::now())
    }

    /// What is published for a service.
    pub fn route(&self, key: &Key) -> Option<Arc<Route>> {
        self.table.load().routes.get(key).cloned()
    }

    /// The requests to a service since this was asked last; nothing for one that has
    /// no route.
    pub fn take_traffic(&self, key: &Key) -> Option<Traffic> {
        self.route(key).map(|route| route.counter.take())
    }

    /// Chooses a target of a service and counts the request in; `found` is where its
    /// request was found to lead.
    pub(super) fn choose(
        &self,
        found: &Arc<Route>,
        tried: &[Arc<Target>],
        kept: Option<&str>,
    ) -> Option<(Arc<Target>, InFlight)> {
        let mut route = Arc::clone(found);
        loop {
            // Refused only if the target has been taken away since: the table is another one by now.
            let target = route.choose(tried, kept)?;
            if let Some(in_flight) = target.enter() {
                return Some((Arc::clone(target), in_flight));
            }
            let now = self.route(&route.key)?;
            if Arc::ptr_eq(&now, &route) {
                return None;
            }
            route = now;
        }
    }
}

/// Marks the targets of a route that nobody uses now.
fn retire(before: Option<&Route>, now: &[Arc<Target>]) -> Vec<Arc<Target>> {
    let targets = before.map(Route::targets).unwrap_or_default().iter();
    let gone: Vec<_> = targets
        .filter(|target| !now.iter().any(|kept| Arc::ptr_eq(kept, target)))
        .cloned()
        .collect();
    for target in &gone {
        target.retire(true);
    }
    gone
}

fn check(table: &Table, host: &str, key: &Key) -> Result<(), PublishError> {
    if host::is_reserved(host, key) {
        return Err(PublishError::Reserved {
            host: host.to_owned(),
        });
    }
    match table.hosts.get(host) {
        Some(route) if route.key != *key => Err(PublishError::Claimed {
            host: host.to_owned(),
            owner: route.key.clone(),
        }),
        _ => Ok(()),
    }
}
