//! The key that a new server makes for its owner.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use devbox_types::devbox::KeyRole;

use crate::error::StoreError;
use crate::key::NewKey;
use crate::secret::ApiSecret;
use crate::store::Store;

/// The project that the first key, and whoever names no other, works in.
pub const DEFAULT_PROJECT: &str = "default";

/// A first key and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstKey {
    /// The key, to be shown once.
    pub secret: ApiSecret,
    /// The file that holds it, mode 0600.
    pub path: PathBuf,
}

impl Store {
    /// The name of the file in the data directory.
    pub const FIRST_KEY_FILE: &'static str = "first.key";

    /// Makes an admin key of the project `default` if no key was ever made; `None` if one was.
    ///
    /// The file comes first, whole or not at all, then the record: a start that was cut off between the two left a key
    /// that opens nothing, and the next start adopts it. Only the hash is in the database.
    ///
    /// # Errors
    /// `FirstKeyTaken` if the file is there but is not ours, `Io`, `Statement`.
    pub async fn ensure_first_key(&self, directory: &Path) -> Result<Option<FirstKey>, StoreError> {
        if self.any_key_ever().await? {
            return Ok(None);
        }
        let path = directory.join(Self::FIRST_KEY_FILE);
        let secret = leave(&path)?;
        let new = NewKey {
            project: DEFAULT_PROJECT.to_owned(),
            role: KeyRole::Admin,
            name: Some("first key".to_owned()),
        };
        self.insert_key(new, &secret).await?;
        Ok(Some(FirstKey { secret, path }))
    }

    async fn any_key_ever(&self) -> Result<bool, StoreError> {
        let mut writer = self.writer().await;
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM keys").fetch_one(&mut *writer).await;
        count.map(|count| count > 0).map_err(crate::error::statement("count the keys"))
    }
}

/// Puts a new key at `path`, or reads the one that an earlier start left there.
fn leave(path: &Path) -> Result<ApiSecret, StoreError> {
    let failed = |step| move |source| StoreError::Io { step, path: path.to_owned(), source };
    let secret = ApiSecret::generate()?;
    let staging = path.with_extension("key.new");
    match fs::remove_file(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("clear")(error)),
        _ => {}
    }
    write_private(&staging, secret.expose()).map_err(failed("write"))?;
    // A link, unlike a rename, does not replace what is there.
    let linked = fs::hard_link(&staging, path);
    fs::remove_file(&staging).map_err(failed("clear"))?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => adopt(path),
        Err(error) => Err(failed("create")(error)),
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()
}

/// The key in a file that nobody else can have written or read.
fn adopt(path: &Path) -> Result<ApiSecret, StoreError> {
    let failed = |source| StoreError::Io { step: "read", path: path.to_owned(), source };
    let taken = || StoreError::FirstKeyTaken { path: path.to_owned() };
    let named = fs::symlink_metadata(path).map_err(failed)?;
    if !named.is_file() {
        return Err(taken());
    }
    let file = File::open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    let same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    if !same || opened.permissions().mode() & 0o077 != 0 {
        return Err(taken());
    }
    let mut text = String::new();
    file.take(128).read_to_string(&mut text).map_err(failed)?;
    ApiSecret::parse(text.trim_end()).ok_or_else(taken)
}
