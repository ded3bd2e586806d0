//! `devbox serve`: the one place where backend, store and server meet.
//!
//! The order of the steps is the point. As root, with one thread: settle what is wanted, take the data directory, bind
//! the address, start the spawner. Then root is given up for good, and only then do threads begin.
//!
//! | module | subject |
//! |---|---|
//! | [`account`] | the user that the server becomes |
//! | [`data_dir`] | the directory that it works in |
//! | [`descriptors`] | how many files it may have open |
//! | [`privilege`] | giving up root |
//! | [`error`] | why it could not start |

mod account;
mod data_dir;
mod descriptors;
mod error;
mod log;
mod privilege;

use std::net::TcpListener;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use devbox_backend::Backend as _;
use devbox_local::{LocalBackend, LocalConfig, Spawner};
use devbox_server::{Limits, Server, ServerConfig, TlsFiles, TlsIdentity};
use devbox_store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent;
use crate::cli::ServeArgs;
use crate::settings::{self, ProcessEnvironment, ServeSettings};

pub(crate) use error::ServeError;

/// What a shell makes of a program that was told twice to end.
const INTERRUPTED: u8 = 128 + 2;

/// The folder in the data directory that is the spawner's alone.
const SPAWNER_FOLDER: &str = "local";

/// Whether this process was started to be the spawner.
pub(crate) fn is_spawner() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == devbox_local::SPAWNER_ARGUMENT)
}

/// Is the spawner, to the end of the process.
pub(crate) fn run_spawner() -> ExitCode {
    // The server, which has the same environment, has told what is wrong with it.
    let _ = log::start();
    devbox_local::run_spawner()
}

/// Runs `devbox serve`.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = settings::serve(args, &ProcessEnvironment)?;
    log::start()?;
    Ok(serve(settings)?)
}

fn serve(settings: ServeSettings) -> Result<ExitCode, ServeError> {
    let agent = agent::program()?;
    if !rustix::process::geteuid().is_root() {
        return Err(ServeError::NotRoot);
    }
    let config = server_config(&settings)?;
    config.check_exposure(settings.listen)?;
    let account = account::find(settings.user.as_deref())?;
    let data_dir = data_dir::take(&settings.data_dir, &account)?;
    let listener = TcpListener::bind(settings.listen)
        .map_err(|source| ServeError::Bind { address: settings.listen, source })?;
    let local = LocalConfig::new(data_dir.join(SPAWNER_FOLDER), agent)
        .with_server_user(account.uid, account.gid)
        .with_pool(settings.pool);
    let spawner = Spawner::launch(&local)?;
    privilege::give_up(&account)?;
    descriptors::allow_all()?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ServeError::Step { step: "start threads".to_owned(), source })?;
    runtime.block_on(work(config, &data_dir, listener, spawner))
}

/// What the server is told. The private key is read here, while root may still read it.
fn server_config(settings: &ServeSettings) -> Result<ServerConfig, ServeError> {
    let defaults = ServerConfig::default();
    let max_transfer_bytes = settings.max_transfer.unwrap_or(defaults.limits.max_transfer_bytes);
    let files = settings.tls.clone().map(|(certificate, key)| TlsFiles { certificate, key });
    Ok(ServerConfig {
        tls: files.as_ref().map(TlsIdentity::load).transpose()?,
        allow_plaintext: settings.allow_plaintext,
        limits: Limits { max_transfer_bytes, ..settings.limits },
        timeouts: settings.timeouts,
        ..defaults
    })
}

/// All that is done without root.
async fn work(
    config: ServerConfig,
    data_dir: &Path,
    listener: TcpListener,
    spawner: Spawner,
) -> Result<ExitCode, ServeError> {
    let signals = Signals::watch()?;
    let pool = spawner.pool().to_owned();
    let backend = LocalBackend::connect(spawner).await?;
    tracing::info!(pool, isolates = backend.capabilities().isolates, "backend_ready");
    let outcome = serve_boxes(config, data_dir, listener, &backend, signals).await;
    // Boxes end with their server, whatever ended it: stopped now they keep their state, else they were killed.
    let stopped = backend.shutdown().await;
    let code = outcome?;
    stopped?;
    Ok(code)
}

async fn serve_boxes(
    config: ServerConfig,
    data_dir: &Path,
    listener: TcpListener,
    backend: &LocalBackend,
    mut signals: Signals,
) -> Result<ExitCode, ServeError> {
    let store = Store::open(data_dir).await?;
    let first_key = store.ensure_first_key(data_dir).await?;
    let server = Server::new(config, Arc::new(backend.clone()), store).await?;
    let listening = |source| ServeError::Step { step: "listen".to_owned(), source };
    listener.set_nonblocking(true).map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(listening)?;
    if let Some(key) = first_key {
        eprintln!("the first API key, shown only now and kept in {}:", key.path.display());
        eprintln!("{}", key.secret.expose());
    }
    eprintln!("devbox serves on {}://{address}", server.scheme());

    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let mut serving = pin!(server.serve(listener, async move {
        // A sender that is gone says the same.
        let _told = stopped.wait_for(|stop| *stop).await;
    }));
    let told = async {
        signals.next().await;
        stop.send_replace(true);
        signals.next().await;
    };
    tokio::select! {
        outcome = serving.as_mut() => outcome.map(|()| ExitCode::SUCCESS).map_err(ServeError::from),
        () = told => Ok(ExitCode::from(INTERRUPTED)),
        () = backend.spawner_lost() => {
            tracing::error!("spawner_lost");
            stop.send_replace(true);
            serving.await?;
            Err(ServeError::SpawnerLost)
        }
    }
}

/// The signals that tell a server to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn watch() -> Result<Self, ServeError> {
        let watch = |kind| {
            signal(kind).map_err(|source| ServeError::Step { step: "watch for signals".to_owned(), source })
        };
        Ok(Self { interrupt: watch(SignalKind::interrupt())?, terminate: watch(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
