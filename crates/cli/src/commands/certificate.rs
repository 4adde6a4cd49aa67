//! `convox certs` and `convox ssl` with what is below them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rack_api::certificate::{Certificate, GenerateOptions};
use rack_api::params;
use serde::Serialize;

use crate::arguments::{AppArgs, RackArgs};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::ui::{Table, ago};
use crate::view::ViewArgs;

/// Certificates.
#[derive(Debug, Args)]
pub(crate) struct Certs {
    #[command(subcommand)]
    command: Option<CertsCommand>,
    /// only certificates that the rack has made
    #[arg(long)]
    generated: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// delete a certificate
    Delete {
        /// certificate id
        id: String,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// generate a certificate
    Generate {
        /// domains
        #[arg(required = true, value_name = "domain")]
        domains: Vec<String>,
        /// print only the id of the certificate
        #[arg(long)]
        id: bool,
        /// who signs it; the rack itself if nobody is named
        #[arg(long, value_name = "issuer")]
        issuer: Option<String>,
        /// how long it lives, such as 2160h
        #[arg(long, value_name = "duration", value_parser = params::duration)]
        duration: Option<Duration>,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// import a certificate
    #[command(alias = "create")]
    Import {
        /// file of the certificate, in PEM
        #[arg(value_name = "pub")]
        certificate: PathBuf,
        /// file of its private key, in PEM
        key: PathBuf,
        /// file of the certificates between it and the root, in PEM
        #[arg(long, value_name = "chain")]
        chain: Option<PathBuf>,
        /// print only the id of the certificate
        #[arg(long)]
        id: bool,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// renew the generated certificates of an app
    Renew {
        #[command(flatten)]
        app: AppArgs,
    },
}

impl Certs {
    /// Lists certificates, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {
                let rack = context.rack(&self.rack).await?;
                let list = async || Ok(rack.client.certificate_list(self.generated).await?);
                self.view.show(context, list, table).await
            }
            Some(CertsCommand::Delete { id, rack }) => {
                let rack = context.rack(&rack).await?;
                let progress = context.ui.start(format!("Deleting certificate {id}"))?;
                rack.client.certificate_delete(&id).await?;
                progress.ok()?;
                Ok(Exit::SUCCESS)
            }
            Some(CertsCommand::Generate {
                domains,
                id,
                issuer,
                duration,
                rack,
            }) => {
                let rack = context.rack(&rack).await?;
                let options = GenerateOptions { issuer, duration };
                let make = rack.client.certificate_generate(&domains, &options);
                finish(context, "Generating", id, make).await
            }
            Some(CertsCommand::Import {
                certificate,
                key,
                chain,
                id,
                rack,
            }) => {
                let certificate = read(&certificate)?;
                let key = read(&key)?;
                let chain = chain.as_deref().map(read).transpose()?;
                let rack = context.rack(&rack).await?;
                let make = legacy::import_certificate(&rack, &certificate, &key, chain.as_deref());
                finish(context, "Importing", id, make).await
            }
            Some(CertsCommand::Renew { app }) => {
                let name = context.app(&app)?;
                let rack = context.rack(&app.rack).await?;
                let progress = context
                    .ui
                    .start(format!("Renewing certificates of {name}"))?;
                rack.client.certificate_renew(&name).await?;
                progress.ok()?;
                Ok(Exit::SUCCESS)
            }
        }
    }
}

fn table(certificates: Vec<Certificate>) -> Table {
    let now = Timestamp::now();
    let mut table = Table::new(["ID", "DOMAIN", "EXPIRES"]);
    for certificate in certificates {
        let expires = ago(certificate.expiration, now);
        table.row(vec![certificate.id, certificate.domain, expires]);
    }
    table
}

async fn finish(
    context: &Context,
    doing: &str,
    only_id: bool,
    make: impl Future<Output = Result<Certificate, rack_api::client::ClientError>>,
) -> Outcome {
    let ui = context.ui.for_id(only_id);
    let progress = ui.start(format!("{doing} certificate"))?;
    let certificate = make.await?;
    progress.ok_with(&certificate.id)?;
    if only_id {
        ui.data(certificate.id.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::io(format!("can not read {}", path.display())))
}

/// Certificates of an app's ports.
#[derive(Debug, Args)]
pub(crate) struct Ssl {
    #[command(subcommand)]
    command: Option<SslCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum SslCommand {
    /// update certificate of a port
    Update {
        /// service and port
        #[arg(value_name = "process:port")]
        port: String,
        /// certificate id
        #[arg(value_name = "certificate")]
        id: String,
        #[command(flatten)]
        app: AppArgs,
    },
}

/// A port of a service that shows a certificate.
#[derive(Serialize)]
struct SecurePort {
    endpoint: String,
    certificate: Certificate,
}

impl Ssl {
    /// Lists the certificates of ports, or changes one.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        if let Some(SslCommand::Update { port, id, app }) = self.command {
            return apply(context, &port, &id, &app).await;
        }
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let list = async || {
            let services = rack.client.service_list(&name).await?;
            let certificates = rack.client.certificate_list(false).await?;
            let ports = services.into_iter().flat_map(|service| {
                let certificates = &certificates;
                service.ports.into_iter().filter_map(move |port| {
                    let certificate = certificates
                        .iter()
                        .find(|known| known.id == port.certificate)?;
                    Some(SecurePort {
                        endpoint: format!("{}:{}", service.name, port.balancer),
                        certificate: certificate.clone(),
                    })
                })
            });
            Ok(ports.collect::<Vec<_>>())
        };
        let show = |ports: Vec<SecurePort>| {
            let now = Timestamp::now();
            let mut table = Table::new(["ENDPOINT", "CERTIFICATE", "DOMAIN", "EXPIRES"]);
            for SecurePort {
                endpoint,
                certificate,
            } in ports
            {
                let expires = ago(certificate.expiration, now);
                table.row(vec![endpoint, certificate.id, certificate.domain, expires]);
            }
            table
        };
        self.view.show(context, list, show).await
    }
}

async fn apply(context: &Context, port: &str, id: &str, app: &AppArgs) -> Outcome {
    let (service, number) = port
        .split_once(':')
        .and_then(|(service, port)| Some((service, port.parse().ok()?)))
        .ok_or_else(|| Error::failed("endpoint must be process:port"))?;
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    if rack.client.app_get(&name).await?.generation == "2" {
        return Err(Error::with_hint(
            "command not valid for generation 2 applications",
            "the `domain` of a service says which certificate it shows: `convox certs` lists them",
        ));
    }
    let progress = context.ui.start("Updating certificate")?;
    rack.client
        .certificate_apply(&name, service, number, id)
        .await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}
