//! The real `devbox serve`, for one test.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::footprint::Footprint;

/// How long a server may take to answer, and to end; generous, because tests share two cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    binary: Option<PathBuf>,
    tls: bool,
}

impl ServerOptions {
    /// Serves TLS with this certificate and key.
    #[must_use]
    pub fn with_tls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = true;
        self.with_arguments(&["--tls-cert", certificate, "--tls-key", key])
    }

    /// Runs this binary instead of the one under test.
    #[must_use]
    pub fn with_binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_path_buf());
        self
    }

    /// Adds arguments to `devbox serve`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this data directory, which stays, instead of a new one, which goes.
    #[must_use]
    pub fn with_data_dir(mut self, folder: &Path) -> Self {
        self.data_dir = Some(folder.to_path_buf());
        self
    }
}

/// A running server. Dropping it ends it, and fails the test if anything of it is left on the host.
#[derive(Debug)]
pub struct LiveServer {
    child: Option<Child>,
    address: SocketAddr,
    key: String,
    data_dir: PathBuf,
    log: PathBuf,
    options: ServerOptions,
    /// What goes with the server; `data_dir` may be in it.
    _folder: TempDir,
}

/// The binary under test: `$DEVBOX_BIN`, or what `cargo build` made.
#[must_use]
pub fn binary() -> PathBuf {
    let built = || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        target.join("debug/devbox")
    };
    std::env::var_os("DEVBOX_BIN").map_or_else(built, PathBuf::from)
}

impl LiveServer {
    /// Starts a server with a new data directory.
    ///
    /// # Errors
    /// With the server's log, if it does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(ServerOptions::default())
    }

    /// Starts a server so.
    ///
    /// # Errors
    /// With the server's log, if it does not come up.
    pub fn start_with(options: ServerOptions) -> Result<Self> {
        let folder = TempDir::with_prefix("devbox-test-")?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| folder.path().join("data"));
        std::fs::create_dir_all(&data_dir)?;
        // The server gives up root and must reach its folder still.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let log = folder.path().join("server.log");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server =
            Self { child: None, address, key: String::new(), data_dir, log, options, _folder: folder };
        server.launch()?;
        Ok(server)
    }

    /// Starts it again on the same data, after [`Self::kill`] or [`Self::stop`].
    ///
    /// # Errors
    /// With the server's log, if it does not come up.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "it runs already");
        // The port is free now. That somebody takes it in between is possible, and the server's log says so.
        self.address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let binary = self.options.binary.clone().unwrap_or_else(binary);
        let child = Command::new(&binary)
            .args(["serve", "--listen", &self.address.to_string(), "--data-dir"])
            .arg(&self.data_dir)
            .args(&self.options.arguments)
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("DEVBOX_URL")
            .env_remove("DEVBOX_API_KEY")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}: build it first", binary.display()))?;
        self.child = Some(child);
        self.wait_until_ready()?;
        let key =
            std::fs::read_to_string(self.data_dir.join("first.key")).context("no first.key was left")?;
        key.trim().clone_into(&mut self.key);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !(self.data_dir.join("first.key").exists() && answers(self.address, self.options.tls)) {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                self.child = None;
                bail!("the server ended at once: {status}\n{}", self.log());
            }
            ensure!(start.elapsed() < PATIENCE, "the server does not answer\n{}", self.log());
            // Readiness of another process: there is nothing to await.
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its address, for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.options.tls { "https" } else { "http" }, self.address)
    }

    /// Its address, for sockets.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that it made at its first start.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process.
    ///
    /// # Panics
    /// If it was stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// All that it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The command line of this version, pointed at this server.
    #[must_use]
    pub fn devbox(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env("DEVBOX_URL", self.url()).env("DEVBOX_API_KEY", &self.key);
        command
    }

    /// Asks it to end, as an administrator does, and waits for it.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.end(libc::SIGTERM)
    }

    /// Kills it without a warning.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end(libc::SIGKILL)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let child = self.child.take().context("it does not run")?;
        self.end_of(child)
    }

    fn end(&mut self, signal: i32) -> Result<ExitStatus> {
        let child = self.child.take().context("it does not run")?;
        send(child.id(), signal)?;
        self.end_of(child)
    }

    fn end_of(&self, mut child: Child) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                bail!("the server did not end\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is on the host of this server and its boxes.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let marks = self.marks();
        Footprint::of(&marks.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// By what the server's processes, mounts and cgroups are known: the data directory, and the name that the local
    /// backend gives to its cgroups and leaves there.
    fn marks(&self) -> Vec<String> {
        let instance = std::fs::read_to_string(self.data_dir.join("local/instance")).unwrap_or_default();
        let marks = [self.data_dir.to_string_lossy().into_owned(), instance.trim().to_owned()];
        marks.into_iter().filter(|mark| !mark.is_empty()).collect()
    }
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(error) = self.stop()
        {
            eprintln!("{error:#}");
        }
        if std::thread::panicking() {
            eprintln!("── the server's log ──\n{}", self.log());
            return;
        }
        let marks = self.marks();
        let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
        let left = Footprint::wait_until_gone(&marks, Duration::from_secs(10));
        assert!(left.is_empty(), "the server left this behind:\n{left}\n{}", self.log());
    }
}

/// Sends a signal to one process.
///
/// # Errors
/// What kill(2) says.
pub fn send(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid)?;
    #[expect(unsafe_code, reason = "kill has no safe wrapper in std")]
    // SAFETY: kill takes two numbers and touches no memory.
    let result = unsafe { libc::kill(pid, signal) };
    ensure!(result == 0, "cannot signal {pid}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Whether it serves: answers that it is well, or behind TLS, accepts.
fn answers(address: SocketAddr, tls: bool) -> bool {
    if tls {
        return TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    }
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: devbox\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
