//! Starting the agent, from its environment variable to its last call.

use std::env;
use std::io;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use devbox_fs::FsError;
use devbox_router::agent_router;
use devbox_types::agent::{AgentConfig, AgentListen};
use devbox_types::{BoxPath, BoxPathError};
use tokio::net::unix::pipe;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::defence::{self, DefenceError};
use crate::guest::{LocalGuest, LocalGuestOptions};
use crate::init::Termination;
use crate::serve::{serve_connections, serve_stream};
use crate::workdir;

/// Threads for blocking work: a box's agent has a limit of processes, and two cores do not read faster with more.
const MAX_BLOCKING_THREADS: usize = 32;
/// Blocking work neither recurses nor keeps large values on the stack.
const BLOCKING_STACK: usize = 512 * 1024;

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The variable is not set.
    #[error("{} is not set: the agent is started by a devbox server", AgentConfig::VARIABLE)]
    NoConfig,
    /// The variable is not what it should be.
    #[error("{} is not a configuration", AgentConfig::VARIABLE)]
    BadConfig(#[source] serde_json::Error),
    /// The working directory is no path.
    #[error("the working directory is not a path inside a box")]
    BadWorkdir(#[source] BoxPathError),
    /// A descriptor of the configuration is not open.
    #[error("descriptor {descriptor} is not open")]
    NotOpen {
        /// Its number.
        descriptor: RawFd,
    },
    /// This process could not be defended.
    #[error("the agent cannot defend itself")]
    Defence(#[source] DefenceError),
    /// The files of the box cannot be opened.
    #[error("cannot open the files of the box")]
    Files(#[source] FsError),
    /// Anything else.
    #[error("cannot {step}")]
    Io {
        /// The step that failed.
        step: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Runs the agent of this process, as its environment says, until it is told to stop.
pub fn run() -> Result<(), StartError> {
    // Before anything else: until this is done, box root could look in.
    defence::hide().map_err(StartError::Defence)?;
    let config = take_config()?;
    defence::close_on_exec().map_err(StartError::Defence)?;
    tune_allocator();
    allow_descriptors().map_err(failed("allow more open files"))?;
    let termination = if config.init {
        defence::keep_guard().map_err(StartError::Defence)?;
        Some(Termination::block().map_err(failed("block SIGTERM"))?)
    } else {
        None
    };
    let workdir = BoxPath::parse(config.workdir.as_bytes()).map_err(StartError::BadWorkdir)?;
    let cgroups = config.payload_cgroups.iter().map(|descriptor| adopt(*descriptor));
    // Who connects while the files are opened waits in the socket's backlog.
    let door = Door::open(config.listen)?;
    let guest = LocalGuest::open(LocalGuestOptions {
        root: "/".into(),
        default_user: config.default_user,
        env: config.env,
        cgroups: cgroups.collect::<Result<_, _>>()?,
        confinement: None,
    })
    .map_err(StartError::Files)?;
    workdir::ensure(guest.root(), &workdir).map_err(StartError::Files)?;
    runtime()?.block_on(serve(Arc::new(guest), door, termination))
}

/// Takes as many descriptors as this process may have: connections, uploads, archives and pipes of programs are some each.
/// Programs get the usual number again, see `devbox-exec`.
fn allow_descriptors() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed })?)
}

/// Takes the configuration out of the environment. There are no other threads yet.
#[expect(unsafe_code, reason = "removing a variable is unsafe where other threads may read the environment")]
fn take_config() -> Result<AgentConfig, StartError> {
    let text = env::var(AgentConfig::VARIABLE).map_err(|_| StartError::NoConfig)?;
    // SAFETY: this process has one thread.
    unsafe { env::remove_var(AgentConfig::VARIABLE) };
    serde_json::from_str(&text).map_err(StartError::BadConfig)
}

/// Takes over a descriptor that was left open for this process.
#[expect(unsafe_code, reason = "a descriptor that is known by its number alone")]
fn adopt(descriptor: RawFd) -> Result<OwnedFd, StartError> {
    // SAFETY: asking for the flags of any number is harmless; the borrow ends with the call.
    let open = descriptor > 2 && unsafe { libc::fcntl(descriptor, libc::F_GETFD) } != -1;
    if !open {
        return Err(StartError::NotOpen { descriptor });
    }
    // SAFETY: it is open, and who started this process left it to the one place that asks for it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// One thread for all connections: a call is answered where it is read, without waking another thread, and memory stays
/// small. What would hold it up runs on blocking threads, see `work`.
fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .build()
        .map_err(failed("start the runtime"))
}

async fn serve(
    guest: Arc<LocalGuest>,
    door: Door,
    termination: Option<Termination>,
) -> Result<(), StartError> {
    let engine = guest.engine().clone();
    let is_init = termination.is_some();
    let stop = stop_signal(termination)?;
    let router = agent_router(Arc::clone(&guest) as _);
    if is_init {
        tokio::spawn(engine.reap_orphans().map_err(failed("watch for ended children"))?);
    }
    match door {
        Door::Socket(listener) => serve_connections(listener_of(listener)?, router, stop).await,
        Door::Stdio => serve_stdio(router, stop).await,
    }
    engine.kill_all().await;
    Ok(())
}

/// Where calls come from.
enum Door {
    Socket(UnixListener),
    Stdio,
}

impl Door {
    fn open(listen: AgentListen) -> Result<Self, StartError> {
        match listen {
            AgentListen::Descriptor(descriptor) => Ok(Self::Socket(UnixListener::from(adopt(descriptor)?))),
            AgentListen::Unix(path) => bind(Path::new(&path)).map(Self::Socket),
            AgentListen::Stdio => Ok(Self::Stdio),
        }
    }
}

/// Ends when this is to stop: for PID 1 on SIGTERM from outside its namespace, else on SIGTERM or SIGINT.
fn stop_signal(termination: Option<Termination>) -> Result<impl Future<Output = ()>, StartError> {
    let mut others = match termination {
        Some(_) => None,
        None => Some((
            signal(SignalKind::terminate()).map_err(failed("watch for SIGTERM"))?,
            signal(SignalKind::interrupt()).map_err(failed("watch for SIGINT"))?,
        )),
    };
    Ok(async move {
        if let Some(termination) = termination
            && let Err(error) = termination.from_outside().await
        {
            tracing::error!(%error, "cannot watch for SIGTERM");
            std::future::pending::<()>().await;
        }
        if let Some((terminate, interrupt)) = &mut others {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
        }
    })
}

/// Makes a socket that only this user may connect to. One that a dead agent left behind is replaced.
fn bind(path: &Path) -> Result<UnixListener, StartError> {
    let owner_only = rustix::fs::Mode::from_raw_mode(0o177);
    let before = rustix::process::umask(owner_only);
    let mut bound = UnixListener::bind(path);
    let in_use = matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
    if in_use && std::os::unix::net::UnixStream::connect(path).is_err() {
        bound = rustix::fs::unlink(path).map_err(Into::into).and_then(|()| UnixListener::bind(path));
    }
    rustix::process::umask(before);
    bound.map_err(failed("listen on the socket"))
}

fn listener_of(listener: UnixListener) -> Result<tokio::net::UnixListener, StartError> {
    listener.set_nonblocking(true).map_err(failed("listen on the socket"))?;
    tokio::net::UnixListener::from_std(listener).map_err(failed("listen on the socket"))
}

/// Serves standard input and output: pipes where they are, else, say on a terminal, through blocking threads.
async fn serve_stdio(router: axum::Router, stop: impl Future<Output = ()>) {
    let own = |descriptor: &dyn AsFd| rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), 3);
    let input = own(&io::stdin()).map_err(io::Error::from).and_then(pipe::Receiver::from_owned_fd);
    let output = own(&io::stdout()).map_err(io::Error::from).and_then(pipe::Sender::from_owned_fd);
    match (input, output) {
        (Ok(input), Ok(output)) => serve_stream(tokio::io::join(input, output), router, stop).await,
        _ => serve_stream(tokio::io::join(tokio::io::stdin(), tokio::io::stdout()), router, stop).await,
    }
}

/// Keeps the heap small: one arena for all threads, and freed chunks of file content kept for the next ones.
#[expect(unsafe_code, reason = "mallopt has no safe wrapper")]
fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets numbers of the allocator, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1024 * 1024);
    }
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { step, source }
}
