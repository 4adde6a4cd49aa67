//! `convox proxy`, and the local port that `resources proxy` opens as well.

use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use rack_api::client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::exec::{Beginning, Signals};
use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::ui::Ui;

/// Bytes carried at once.
const PIECE: usize = 32 * 1024;

/// Connections from local ports to what the rack runs.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// ports
    #[arg(required = true, value_name = "[port:]host:hostport")]
    ports: Vec<String>,
    /// accepted for the sake of scripts; racks take no notice of it
    #[arg(short, long, hide = true)]
    tls: bool,
    #[command(flatten)]
    rack: RackArgs,
}

/// Where a local port leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Local port.
    pub(super) local: u16,
    /// Host as the rack knows it.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
}

impl FromStr for Route {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::failed(format!("invalid argument: {text}"));
        let words: Vec<_> = text.split(':').collect();
        let (local, host, port) = match words[..] {
            [host, port] => (port, host, port),
            [local, host, port] => (local, host, port),
            _ => return Err(wrong()),
        };
        let number = |word: &str| word.parse().map_err(|_| wrong());
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            local: number(local)?,
            host: host.to_owned(),
            port: number(port)?,
        })
    }
}

impl Proxy {
    /// Serves the local ports until interrupted.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let routes = self
            .ports
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<_>, _>>()?;
        let rack = context.rack(&self.rack).await?;
        serve(&context.ui, rack, routes).await
    }
}

/// Opens every local port, or none, and carries connections until interrupted.
pub(super) async fn serve(ui: &Ui, rack: Rack, routes: Vec<Route>) -> Outcome {
    let mut signals = Signals::listen()?;
    let client = Arc::new(rack.client);
    let mut listeners = Vec::new();
    for route in routes {
        let listener = TcpListener::bind(("127.0.0.1", route.local))
            .await
            .map_err(Error::io(format!("can not listen on port {}", route.local)))?;
        let local = listener
            .local_addr()
            .map_err(Error::io("can not tell the port"))?
            .port();
        listeners.push((listener, Route { local, ..route }));
    }
    let mut accepting = tokio::task::JoinSet::new();
    for (listener, route) in listeners {
        let Route { local, host, port } = &route;
        ui.line(format!("proxying localhost:{local} to {host}:{port}"))?;
        accepting.spawn(accept(listener, route, Arc::clone(&client), ui.clone()));
    }
    tokio::select! {
        Some(ended) = accepting.join_next() => match ended {
            Ok(error) => Err(error),
            Err(error) => Err(Error::failed(format!("the proxy has stopped: {error}"))),
        },
        signal = signals.next() => Ok(Exit::signal(signal)),
    }
}

/// Takes connections for as long as they can be told of.
async fn accept(listener: TcpListener, route: Route, client: Arc<Client>, ui: Ui) -> Error {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Those that are over are forgotten.
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return Error::io("can not take a connection")(error),
        };
        if let Err(error) = ui.line(format!("connect: {}", route.local)) {
            return error;
        }
        let (route, client, ui) = (route.clone(), Arc::clone(&client), ui.clone());
        connections.spawn(async move {
            if let Err(error) = carry(&client, &route, stream).await {
                ui.error(&error);
            }
        });
    }
}

/// Carries one connection both ways; each direction ends by itself.
async fn carry(client: &Client, route: &Route, stream: TcpStream) -> Result<(), Error> {
    let (mut incoming, outgoing) = client.proxy(&route.host, route.port).await?.split();
    let (mut from, mut to): (OwnedReadHalf, OwnedWriteHalf) = stream.into_split();
    let send = async {
        let mut buffer = vec![0; PIECE];
        loop {
            // A local end that is reset has ended.
            let read = from.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                return outgoing.end().await;
            }
            outgoing.write(&buffer[..read]).await?;
        }
    };
    let receive = async {
        // A rack that can not connect says so in the stream, where nobody looks for it.
        let mut beginning = Beginning::default();
        while let Some(bytes) = incoming.next().await? {
            if to.write_all(&beginning.push(&bytes)).await.is_err() {
                // Nobody listens any more.
                return Ok::<_, Error>(());
            }
        }
        if let Some(refusal) = beginning.refusal() {
            return Err(Error::failed(refusal));
        }
        let _ = to.shutdown().await;
        Ok(())
    };
    let (mut sent, mut received) = (false, false);
    tokio::pin!(send, receive);
    while !received {
        tokio::select! {
            outcome = &mut send, if !sent => {
                // What is lost on the way out shows on the way back.
                sent = true;
                let _ = outcome;
            }
            outcome = &mut receive => {
                received = true;
                outcome?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_name_both_ends() {
        let route = |local, port| Route {
            local,
            host: "db.internal".into(),
            port,
        };
        for (text, wanted) in [
            ("db.internal:5432", Some(route(5432, 5432))),
            ("15432:db.internal:5432", Some(route(15432, 5432))),
            ("db.internal", None),
            ("a:b:c:d", None),
            (":5432", None),
            ("db.internal:x", None),
            ("70000:db.internal:1", None),
        ] {
            assert_eq!(text.parse::<Route>().ok(), wanted, "{text}");
        }
    }
}
