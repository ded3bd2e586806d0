//! What was configured: flag, then environment, then file, then default; decided here and nowhere else.
//!
//! `docs/reference/config.md` says the same to people, setting by setting.

mod file;
mod limits;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use devbox_client::ClientConfig;
use devbox_local::PoolChoice;
use devbox_server::{Limits, Timeouts};
use devbox_types::{Coded, ErrorCode};

use crate::cli::{ConnectionArgs, ServeArgs, parse};

pub(crate) use file::{ConfigFile, Source};

/// Where `devbox serve` listens unless told otherwise: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Where `devbox serve` keeps boxes and records unless told otherwise.
const DEFAULT_DATA_DIR: &str = "/var/lib/devbox";

/// The longest key file that is read: a key has less than a hundred characters.
const KEY_FILE_LIMIT: u64 = 4096;

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file is not what `config.md` describes.
    #[error("the configuration file {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
    /// Somebody else could have written the configuration file.
    #[error("the configuration file {} can be written by others", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
    },
    /// A value is not of its kind.
    #[error("{name} is {value:?}, which is not {wanted}")]
    BadValue {
        /// The setting, as the person wrote it.
        name: String,
        /// Its value.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// An environment variable is not text.
    #[error("the environment variable {name} is not UTF-8")]
    NotUtf8 {
        /// Which one.
        name: &'static str,
    },
    /// A key file holds no key.
    #[error("{} holds no API key", path.display())]
    NoKeyInFile {
        /// The file.
        path: PathBuf,
    },
    /// A key from elsewhere would go to an address that the folder names.
    #[error("the address {url} comes from {} in this folder, but the API key does not", path.display())]
    KeyForStranger {
        /// The address.
        url: String,
        /// The file.
        path: PathBuf,
    },
    /// One of the two TLS files is missing.
    #[error("{given} is set, but {missing} is not")]
    HalfOfTls {
        /// The one that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
}

impl Coded for SettingsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::KeyForStranger { .. } | Self::Untrusted { .. } => ErrorCode::Forbidden,
            Self::Unreadable { .. }
            | Self::Malformed { .. }
            | Self::BadValue { .. }
            | Self::NotUtf8 { .. }
            | Self::NoKeyInFile { .. }
            | Self::HalfOfTls { .. } => ErrorCode::InvalidRequest,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { .. } => "see docs/reference/config.md for what may stand in it".to_owned(),
            Self::Untrusted { path } => format!(
                "make it yours and take the right to write from others: `chown $(id -u) {0} && chmod o-w {0}`",
                path.display()
            ),
            Self::KeyForStranger { path, .. } => {
                format!(
                    "set DEVBOX_URL too, or say that you trust the file with DEVBOX_CONFIG={}",
                    path.display()
                )
            }
            Self::HalfOfTls { missing, .. } => format!("give {missing} as well"),
            Self::NoKeyInFile { .. } => "write the key, and nothing else, into it".to_owned(),
            Self::Unreadable { .. } | Self::BadValue { .. } | Self::NotUtf8 { .. } => return None,
        })
    }
}

/// The environment that settings are taken from; a value of its own so that tests can bring theirs.
pub(crate) trait Environment {
    /// The value of a variable, if it is set and not empty.
    fn variable(&self, name: &'static str) -> Option<OsString>;

    /// The same as text.
    fn text(&self, name: &'static str) -> Result<Option<String>, SettingsError> {
        let text = |value: OsString| value.into_string().map_err(|_| SettingsError::NotUtf8 { name });
        self.variable(name).map(text).transpose()
    }

    /// The same as a path.
    fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from)
    }
}

/// The environment of this process.
pub(crate) struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &'static str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }
}

/// Decides how the server is spoken to.
pub(crate) fn client(
    flags: &ConnectionArgs,
    environment: &impl Environment,
) -> Result<ClientConfig, SettingsError> {
    let file = ConfigFile::load(flags.config.as_deref(), environment)?;
    let section = &file.client;

    let named = flags
        .url
        .clone()
        .map_or_else(|| environment.text(ClientConfig::URL_VARIABLE), |url| Ok(Some(url)))?;
    let url_is_of_file = named.is_none() && section.url.is_some();
    let url = named.or_else(|| section.url.clone()).unwrap_or_else(|| ClientConfig::DEFAULT_URL.to_owned());

    let own_key = match flags.api_key_file.clone() {
        Some(path) => Some(key_in(&path)?),
        None => environment_key(environment)?,
    };
    let key_is_of_file = own_key.is_none();
    let api_key = match (own_key, &section.api_key, &section.api_key_file) {
        (Some(key), _, _) => Some(key),
        (None, Some(key), _) => Some(key.clone()),
        (None, None, Some(path)) => Some(key_in(&file.resolve(path))?),
        (None, None, None) => None,
    };
    // A folder that came from a stranger must not redirect the person's own key.
    if let Source::Folder(path) = &file.source
        && url_is_of_file
        && !key_is_of_file
    {
        return Err(SettingsError::KeyForStranger { url, path: path.clone() });
    }

    let mut config = ClientConfig::new(url, api_key);
    config.ca_file = flags
        .ca_file
        .clone()
        .or_else(|| environment.path(ClientConfig::CA_VARIABLE))
        .or_else(|| section.ca_file.as_ref().map(|path| file.resolve(path)));
    config.user_agent = concat!("devbox/", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(config)
}

fn environment_key(environment: &impl Environment) -> Result<Option<String>, SettingsError> {
    match environment.text(ClientConfig::KEY_VARIABLE)? {
        Some(key) => Ok(Some(key)),
        None => environment.path("DEVBOX_API_KEY_FILE").map(|path| key_in(&path)).transpose(),
    }
}

fn key_in(path: &Path) -> Result<String, SettingsError> {
    use std::io::Read as _;
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(KEY_FILE_LIMIT).read_to_string(&mut text))
        .map_err(unreadable)?;
    match text.trim() {
        "" => Err(SettingsError::NoKeyInFile { path: path.to_owned() }),
        key => Ok(key.to_owned()),
    }
}

/// How `devbox serve` is to run, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where boxes and records are kept.
    pub(crate) data_dir: PathBuf,
    /// Certificate chain and private key, both PEM.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Serve without TLS on an address that others can reach.
    pub(crate) allow_plaintext: bool,
    /// Where the files of boxes are kept.
    pub(crate) pool: PoolChoice,
    /// The most bytes of one file or batch; `None`: the server's default.
    pub(crate) max_transfer: Option<u64>,
    /// How much one key may do. What one transfer may have is [`Self::max_transfer`].
    pub(crate) limits: Limits,
    /// How long peers are waited for.
    pub(crate) timeouts: Timeouts,
    /// The user that the server becomes, by name or number.
    pub(crate) user: Option<String>,
}

/// Decides how `devbox serve` runs.
pub(crate) fn serve(
    args: &ServeArgs,
    environment: &impl Environment,
) -> Result<ServeSettings, SettingsError> {
    let file = ConfigFile::load(args.config.as_deref(), environment)?;
    let section = &file.serve;
    let of_file = |path: &Option<PathBuf>| path.as_ref().map(|path| file.resolve(path));
    let path = |flag: &Option<PathBuf>, name, setting: &Option<PathBuf>| {
        flag.clone().or_else(|| environment.path(name)).or_else(|| of_file(setting))
    };
    let text = |flag: &Option<String>, name, setting: &Option<String>| match flag {
        Some(text) => Ok(Some(text.clone())),
        None => Ok(environment.text(name)?.or_else(|| setting.clone())),
    };

    let listen = text(&args.listen, "DEVBOX_LISTEN", &section.listen)?;
    let tls_cert = path(&args.tls_cert, "DEVBOX_TLS_CERT", &section.tls_cert);
    let tls_key = path(&args.tls_key, "DEVBOX_TLS_KEY", &section.tls_key);
    let allow_plaintext = match (args.allow_plaintext, environment.text("DEVBOX_ALLOW_PLAINTEXT")?) {
        (true, _) => true,
        (false, Some(value)) => truth("DEVBOX_ALLOW_PLAINTEXT", value)?,
        (false, None) => section.allow_plaintext.unwrap_or(false),
    };
    let (limits, timeouts) = limits::limits(args, environment, section)?;
    Ok(ServeSettings {
        listen: address(listen.as_deref().unwrap_or(DEFAULT_LISTEN))?,
        data_dir: path(&args.data_dir, "DEVBOX_DATA_DIR", &section.data_dir)
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)),
        tls: both(tls_cert, tls_key)?,
        allow_plaintext,
        pool: pool(text(&args.pool, "DEVBOX_POOL", &section.pool)?)?,
        max_transfer: match (args.max_transfer, text(&None, "DEVBOX_MAX_TRANSFER", &section.max_transfer)?) {
            (Some(bytes), _) => Some(bytes),
            (None, Some(value)) => Some(size(value)?),
            (None, None) => None,
        },
        limits,
        timeouts,
        user: text(&args.user, "DEVBOX_USER", &section.user)?,
    })
}

fn pool(text: Option<String>) -> Result<PoolChoice, SettingsError> {
    match text.as_deref() {
        None | Some("auto") => Ok(PoolChoice::Auto),
        Some("btrfs") => Ok(PoolChoice::Btrfs),
        Some("plain") => Ok(PoolChoice::Plain),
        Some(other) => Err(SettingsError::BadValue {
            name: "the pool".to_owned(),
            value: other.to_owned(),
            wanted: "auto, btrfs or plain",
        }),
    }
}

fn size(value: String) -> Result<u64, SettingsError> {
    parse::size(&value).map_err(|_| SettingsError::BadValue {
        name: "the largest transfer".to_owned(),
        value,
        wanted: "a size such as 512MiB, 2GiB or 1500000",
    })
}

/// How the log of a server is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// Objects for programs.
    Json,
}

impl LogFormat {
    /// What `DEVBOX_LOG_FORMAT` says.
    pub(crate) fn of(environment: &impl Environment) -> Result<Self, SettingsError> {
        match environment.text("DEVBOX_LOG_FORMAT")?.as_deref() {
            None | Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some(other) => Err(SettingsError::BadValue {
                name: "DEVBOX_LOG_FORMAT".to_owned(),
                value: other.to_owned(),
                wanted: "text or json",
            }),
        }
    }
}

fn both(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<(PathBuf, PathBuf)>, SettingsError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::HalfOfTls { given: "--tls-cert", missing: "--tls-key" }),
        (None, Some(_)) => Err(SettingsError::HalfOfTls { given: "--tls-key", missing: "--tls-cert" }),
    }
}

/// An address with a port; `localhost` and a lone `:PORT` are understood, other names are not: which of their addresses
/// would be meant?
fn address(text: &str) -> Result<SocketAddr, SettingsError> {
    let bare = text.strip_prefix("localhost").unwrap_or(text);
    let full = if bare.starts_with(':') { format!("127.0.0.1{bare}") } else { bare.to_owned() };
    full.parse().map_err(|_| SettingsError::BadValue {
        name: "the address to listen on".to_owned(),
        value: text.to_owned(),
        wanted: "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
    })
}

fn truth(name: &str, value: String) -> Result<bool, SettingsError> {
    match value.as_str() {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err(SettingsError::BadValue { name: name.to_owned(), value, wanted: "true or false" }),
    }
}

#[cfg(test)]
mod tests;
