//! The configuration file: which one it is, and what may stand in it.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Environment, SettingsError};

/// The largest file that is read; what `config.md` describes has less than a kilobyte.
const SIZE_LIMIT: u64 = 1 << 20;

/// Where the settings came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Source {
    /// There is no file.
    #[default]
    Nowhere,
    /// The person named it, or it is in their own configuration folder.
    Person(PathBuf),
    /// It was found in the working directory.
    Folder(PathBuf),
}

/// The settings of a file, and which file that is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    #[serde(skip)]
    pub(crate) source: Source,
    #[serde(default)]
    pub(crate) client: ClientSection,
    #[serde(default)]
    pub(crate) serve: ServeSection,
}

/// `[client]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientSection {
    pub(crate) url: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) api_key_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
}

/// `[serve]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServeSection {
    pub(crate) listen: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) allow_plaintext: Option<bool>,
    pub(crate) pool: Option<String>,
    pub(crate) max_transfer: Option<String>,
    pub(crate) requests_per_key: Option<NonZeroU64>,
    pub(crate) request_burst: Option<NonZeroU64>,
    pub(crate) bytes_per_key: Option<String>,
    pub(crate) byte_burst: Option<String>,
    pub(crate) transfers_per_key: Option<NonZeroU64>,
    pub(crate) open_requests_per_key: Option<NonZeroU64>,
    pub(crate) client_patience: Option<NonZeroU64>,
    pub(crate) agent_patience: Option<NonZeroU64>,
    pub(crate) user: Option<String>,
}

impl ConfigFile {
    /// Reads the file that is named, or else the first that there is. Files are not merged.
    pub(crate) fn load(flag: Option<&Path>, environment: &impl Environment) -> Result<Self, SettingsError> {
        if let Some(path) = flag.map(Path::to_owned).or_else(|| environment.path("DEVBOX_CONFIG")) {
            return Self::parse(&read(&path)?, Source::Person(path));
        }
        let in_folder = PathBuf::from("devbox.toml");
        if let Some(text) = read_if_there(&in_folder)? {
            return Self::parse(&text, Source::Folder(in_folder));
        }
        let Some(in_home) = personal(environment) else { return Ok(Self::default()) };
        match read_if_there(&in_home)? {
            Some(text) => Self::parse(&text, Source::Person(in_home)),
            None => Ok(Self::default()),
        }
    }

    /// The path that a setting means: relative ones start from the file's own folder.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        match &self.source {
            Source::Nowhere => path.to_owned(),
            Source::Person(file) | Source::Folder(file) => file.parent().unwrap_or(Path::new("")).join(path),
        }
    }

    fn parse(text: &str, source: Source) -> Result<Self, SettingsError> {
        match toml::from_str::<Self>(text) {
            Ok(file) => Ok(Self { source, ..file }),
            Err(error) => {
                let (Source::Person(path) | Source::Folder(path)) = source else {
                    return Ok(Self::default());
                };
                Err(SettingsError::Malformed { path, source: Box::new(error) })
            }
        }
    }
}

fn personal(environment: &impl Environment) -> Option<PathBuf> {
    let folder = environment
        .path("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| environment.path("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("devbox/devbox.toml"))
}

/// The same as [`read`]; `None` if there is no such file.
fn read_if_there(path: &Path) -> Result<Option<String>, SettingsError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(SettingsError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of a file that nobody but its reader, or root, could have written.
fn read(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let own = [0, rustix::process::geteuid().as_raw()];
    if !own.contains(&metadata.uid()) || metadata.mode() & 0o002 != 0 {
        return Err(SettingsError::Untrusted { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(SIZE_LIMIT).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}
