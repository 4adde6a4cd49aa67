//! The `rack-server` program: settings, start, stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rack_server::operations::clock::Clock;
use rack_server::operations::context::Settings;
use rack_server::operations::failpoint::Failpoints;
use rack_server::rack::access::Limits;
use rack_server::rack::console::{Console, Opened, Options};
use rack_server::{api, listener};
use tokio_util::sync::CancellationToken;

/// Speaks the Convox Rack API and runs apps on this machine.
#[derive(Parser)]
#[command(name = "rack-server", version)]
struct Arguments {
    /// Address to listen on; may be repeated, the first one is that of the API.
    #[arg(
        long,
        env = "RACK_SERVER_LISTEN",
        default_value = "127.0.0.1:5443",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,

    /// Directory for all state; default: `twinrack` in the user's data directory.
    #[arg(long, env = "RACK_SERVER_DATA")]
    data: Option<PathBuf>,

    /// What runs the apps of racks that do not say: docker, or simulated.
    #[arg(long, env = "RACK_SERVER_ENGINE", default_value = "docker", value_parser = ["docker", "simulated"])]
    engine: String,

    /// Seconds a build may take.
    #[arg(long, env = "RACK_SERVER_BUILD_TIMEOUT", default_value_t = 3600)]
    build_timeout: u64,

    /// Seconds a process may take to become healthy, beyond the grace of its health check.
    #[arg(long, env = "RACK_SERVER_PROMOTE_TIMEOUT", default_value_t = 120)]
    promote_timeout: u64,

    /// Seconds a process without a port must run to count as healthy.
    #[arg(long, env = "RACK_SERVER_STEADY", default_value_t = 5.0, value_parser = seconds)]
    steady: f64,

    /// Allow an address that other machines can reach.
    #[arg(long)]
    allow_remote: bool,

    /// Another name by which clients reach this server; may be repeated.
    #[arg(
        long = "host",
        env = "RACK_SERVER_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    hosts: Vec<String>,

    /// Most MiB of one upload.
    #[arg(long, env = "RACK_SERVER_MAX_UPLOAD", value_name = "MIB", default_value_t = 64 << 10)]
    max_upload: u32,

    /// Limits of build archives, such as `uncompressed=512GiB,entries=100000`; what is not
    /// named keeps its default.
    #[arg(
        long,
        env = "RACK_SERVER_ARCHIVE_LIMITS",
        value_name = "LIMITS",
        default_value = ""
    )]
    archive_limits: artifact::Limits,

    /// File with the server's password, read and removed at the start.
    #[arg(long, hide = true, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Leave the terminal's session, as when a client starts the server in the background.
    #[arg(long, hide = true)]
    detached: bool,

    /// Points at which a test makes a step fail.
    #[arg(long, hide = true, env = "RACK_SERVER_FAILPOINTS", default_value = "")]
    failpoints: Failpoints,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("RACK_SERVER_LOG")
                .unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    // Read before any thread could be disturbed by it, and used for nothing else.
    let password = std::env::var("RACK_SERVER_PASSWORD")
        .ok()
        .filter(|password| !password.is_empty());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(run(arguments, password));
    // Blocking reads from clients that have gone must not hold the program.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one line that says why the program ends"
)]
fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("ERROR: {error}");
    ExitCode::FAILURE
}

/// How long the first requests wait for running apps to be found.
const RECOVERY_GRACE: Duration = Duration::from_secs(1);

/// Time between two measurements of what runs.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// The user's data directory (`XDG_DATA_HOME`, else `~/.local/share`).
fn default_data() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home =
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local").join("share")));
    home.map(|home| home.join("twinrack")).ok_or_else(|| {
        anyhow::anyhow!("no home directory is set: say where to keep state with --data")
    })
}

/// Reads a file and removes it; none if it is not there, as at every start but the first.
fn taken(file: &Path) -> anyhow::Result<Option<String>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(file.display().to_string()),
    };
    std::fs::remove_file(file).context(file.display().to_string())?;
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Reads a number of seconds that may have decimals.
fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "a number of seconds is expected")?;
    if (0.0..=86_400.0).contains(&number) {
        Ok(number)
    } else {
        Err("at most a day is expected".into())
    }
}

async fn run(arguments: Arguments, password: Option<String>) -> anyhow::Result<()> {
    if arguments.detached {
        #[cfg(unix)]
        if let Err(error) = rustix::process::setsid() {
            tracing::debug!(%error, "already leads a session");
        }
    }
    let password = match &arguments.password_file {
        Some(file) => taken(file)?.or(password),
        None => password,
    };
    // The port first: a second server fails before it touches any state.
    let mut ports = Vec::new();
    for address in &arguments.listen {
        ports.push(listener::bind(*address, arguments.allow_remote).await?);
    }
    let addresses = ports
        .iter()
        .map(tokio::net::TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?;
    let address = *addresses.first().context("no address to listen on")?;
    let data = match arguments.data {
        Some(data) => data,
        None => default_data()?,
    };
    let shutdown = CancellationToken::new();
    let opened = Console::open(Options {
        data: data.clone(),
        engine: arguments.engine,
        docker_host: None,
        password,
        settings: Settings {
            port: address.port(),
            usual_port: addresses.iter().any(|address| address.port() == 443),
            build_timeout: Duration::from_secs(arguments.build_timeout),
            promote_timeout: Duration::from_secs(arguments.promote_timeout),
            steady: Duration::from_secs_f64(arguments.steady),
            measure_every: MEASURE_EVERY,
            clock: Clock::default(),
            failpoints: arguments.failpoints,
            archive_limits: arguments.archive_limits,
        },
        limits: Limits {
            largest_upload: u64::from(arguments.max_upload) << 20,
            hosts: arguments.hosts,
            ..Limits::default()
        },
        shutdown: shutdown.clone(),
    })
    .await?;
    let Opened {
        console,
        first_password,
    } = opened;
    if let Some(password) = first_password {
        show_once(&password, address);
    }
    for address in &addresses {
        tracing::info!(%address, data = %data.display(), "listening");
    }
    let stop = shutdown.clone();
    tokio::spawn(async move {
        signal().await;
        tracing::info!("stopping");
        stop.cancel();
    });
    let routes = api::routes(Arc::clone(&console));
    // Connections queue meanwhile: none finds a running app without its route.
    console.recovered(RECOVERY_GRACE).await;
    let tls = Arc::new(console.tls());
    let authority = Arc::clone(&tls);
    tokio::spawn(async move {
        // People look for its certificate before the first connection needs it.
        if let Err(error) = authority.authority().await {
            tracing::error!(%error, "could not make the local authority");
        }
    });
    let serving = ports.into_iter().map(|port| {
        let (tls, router) = (Arc::clone(&tls), Arc::clone(console.router()));
        listener::serve(port, tls, router, routes.clone(), shutdown.clone())
    });
    futures::future::join_all(serving).await;
    console.stop().await;
    Ok(())
}

/// The password is stored as a digest only, so this is its one appearance; it goes
/// to standard output, never to the log.
#[expect(
    clippy::print_stdout,
    reason = "the answer to starting a server by hand"
)]
fn show_once(password: &str, address: SocketAddr) {
    println!("Server password, shown this once: {password}");
    println!("Use it with: convox login {address} -p PASSWORD");
}

/// Resolves when the program is asked to end.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut term), Ok(mut hup)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
        ) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
