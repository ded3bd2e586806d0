//! What is remembered of a box: one JSON file each, written by the spawner alone.
//!
//! A box is there if its record is. Records are synced and replaced by a rename, so a kill or a power cut leaves the old one
//! or the new one.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use devbox_types::BoxId;
use devbox_types::devbox::{BoxSpec, BoxState, BoxStatus};
use serde::{Deserialize, Serialize};

/// The file format of records. A spawner reads those up to its own and leaves newer ones alone.
const FORMAT: u32 = 1;

/// What is remembered of one box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    pub(crate) spec: BoxSpec,
    /// The host's number of the box's root while it ran last; for people who look at `ps`.
    pub(crate) first_uid: u32,
    pub(crate) life: Life,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum Life {
    /// It ran when this was written, under this boot of the machine.
    Running { boot: String },
    /// Somebody stopped it, or its server ended.
    Stopped { reason: Option<String> },
    /// Its first process ended unasked.
    Failed { reason: String },
}

impl Record {
    pub(crate) fn running(spec: BoxSpec, first_uid: u32) -> Self {
        Self { format: FORMAT, spec, first_uid, life: Life::Running { boot: boot() } }
    }

    /// What became of the box, for a spawner that has just started and therefore has no running box.
    pub(crate) fn settle(&mut self) -> bool {
        let Life::Running { boot: then } = &self.life else { return false };
        let reason = if *then == boot() { "server_restart" } else { "host_restart" };
        self.life = Life::Stopped { reason: Some(reason.to_owned()) };
        true
    }

    pub(crate) fn status(&self) -> BoxStatus {
        match &self.life {
            Life::Running { .. } => BoxStatus { state: BoxState::Running, reason: None },
            Life::Stopped { reason } => BoxStatus { state: BoxState::Stopped, reason: reason.clone() },
            Life::Failed { reason } => BoxStatus { state: BoxState::Failed, reason: Some(reason.clone()) },
        }
    }
}

/// The records of one data directory.
#[derive(Debug)]
pub(crate) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        super::rootfs::make_directory(&directory, 0o700)?;
        Ok(Self { directory })
    }

    /// Reads every record. One that cannot be read, or is newer than this program, is left where it is and reported:
    /// its box is not shown, and its files are kept.
    ///
    /// # Errors
    /// Only if the directory itself cannot be read.
    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(Ok(id)) = name.strip_suffix(".json").map(str::parse::<BoxId>) else {
                // A record that was being written when the last spawner was killed.
                if name.ends_with(".new") {
                    std::fs::remove_file(&path)?;
                }
                continue;
            };
            match read(&path) {
                Ok(record) => drop(loaded.records.insert(id, record)),
                Err(error) => {
                    tracing::error!(box_id = %id, %error, "the record of a box cannot be read; its files are kept");
                    loaded.unreadable.push(id);
                }
            }
        }
        Ok(loaded)
    }

    /// Writes a record: from here on the box is there, and is so.
    pub(crate) fn write(&self, id: &BoxId, record: &Record) -> io::Result<()> {
        let new = self.directory.join(format!("{id}.new"));
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        std::fs::rename(&new, self.path(id))?;
        self.sync()
    }

    /// Removes a record: from here on the box is gone.
    pub(crate) fn remove(&self, id: &BoxId) -> io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(),
        }
    }

    /// Puts the names of records on disk, so that a power cut neither brings back a box nor loses one.
    fn sync(&self) -> io::Result<()> {
        std::fs::File::open(&self.directory)?.sync_all()
    }

    fn path(&self, id: &BoxId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

/// What [`Records::load`] found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) records: BTreeMap<BoxId, Record>,
    pub(crate) unreadable: Vec<BoxId>,
}

fn read(path: &Path) -> io::Result<Record> {
    let record: Record = serde_json::from_slice(&std::fs::read(path)?)?;
    if record.format > FORMAT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it was written by a newer version"));
    }
    Ok(record)
}

/// Which boot of the machine this is; empty where the kernel does not say.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devbox_types::devbox::Resources;

    fn record() -> Record {
        let spec =
            BoxSpec { template: "host".to_owned(), env: BTreeMap::new(), resources: Resources::default() };
        Record::running(spec, 7)
    }

    #[test]
    fn a_box_that_ran_is_stopped_after_a_restart() {
        let mut record = record();
        assert!(record.settle());
        assert_eq!(record.status().state, BoxState::Stopped);
        assert_eq!(record.status().reason.as_deref(), Some("server_restart"));
        record.life = Life::Running { boot: "another".to_owned() };
        assert!(record.settle());
        assert_eq!(record.status().reason.as_deref(), Some("host_restart"));
        assert!(!record.settle());
    }

    #[test]
    fn an_unreadable_record_is_kept_and_a_half_written_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let records = Records::open(directory.path().join("records")).expect("records");
        let (whole, torn) = (BoxId::from_random([1; 10]), BoxId::from_random([2; 10]));
        records.write(&whole, &record()).expect("written");
        std::fs::write(records.path(&torn), b"{").expect("written");
        std::fs::write(records.directory.join("x.new"), b"{").expect("written");
        let loaded = records.load().expect("loaded");
        assert_eq!(loaded.records.keys().collect::<Vec<_>>(), [&whole]);
        assert_eq!(loaded.unreadable, std::slice::from_ref(&torn));
        assert!(records.path(&torn).exists());
        assert!(!records.directory.join("x.new").exists());
    }
}
