//! What was done, by whom, and how it ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::id::{BoxId, RequestId};
use crate::time::Timestamp;

/// Declares the operations once: variant, wire name, what it is.
macro_rules! audited_operations {
    ($($variant:ident = $name:literal, $meaning:literal;)+) => {
        /// An operation that leaves a record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum AuditedOperation {
            $(#[doc = $meaning] #[serde(rename = $name)] $variant,)+
        }

        impl AuditedOperation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The operation as it is written on the wire and in the store.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

audited_operations! {
    FileRead = "file.read", "A file, or a range of it, was read.";
    FileWrite = "file.write", "A file was created or replaced.";
    FilePatch = "file.patch", "A part of a file was changed.";
    FileStat = "file.stat", "One entry was looked at.";
    FileList = "file.list", "One page of a directory was read.";
    FileWalk = "file.walk", "A directory was read as a stream.";
    FileApply = "file.apply", "Names or metadata were changed.";
    FileWriteMany = "file.write_many", "A batch of files was written.";
    FilePack = "file.pack", "Files were streamed out as an archive.";
    FileUnpack = "file.unpack", "An archive was unpacked.";
    UploadCreate = "upload.create", "An upload in pieces was begun.";
    UploadAppend = "upload.append", "A piece was added to an upload; the last one published the file.";
    UploadLook = "upload.look", "An upload was looked at.";
    UploadDelete = "upload.delete", "An upload was given up.";
    ProcessRun = "process.run", "A program was run.";
    ProcessList = "process.list", "The running processes were listed.";
    ProcessSignal = "process.signal", "A process was sent a signal.";
    BoxCreate = "box.create", "A box was made.";
    BoxStart = "box.start", "A box was started.";
    BoxStop = "box.stop", "A box was stopped.";
    BoxDelete = "box.delete", "A box was deleted.";
    KeyCreate = "key.create", "An API key was made.";
    KeyRevoke = "key.revoke", "An API key was revoked.";
}

impl AuditedOperation {
    /// The operation that is written so, if there is one.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.as_str() == name)
    }
}

impl fmt::Display for AuditedOperation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The record of one operation. Never contents, never secrets, and of a program only its name, not its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditRecord {
    /// When it began.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub time: Timestamp,
    /// In which request.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub request_id: RequestId,
    /// By which key.
    pub key_id: String,
    /// In which project.
    pub project: String,
    /// On which box, if on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub box_id: Option<BoxId>,
    /// What was done.
    pub operation: AuditedOperation,
    /// On which path, as a person reads it; the first of many; of a program, its name as given; of a key, its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many bytes of content went through, counted by the server.
    pub bytes: u64,
    /// How many entries it was about.
    pub entries: u64,
    /// The SHA-256 that the caller announced, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How it failed; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
    /// The exit code of a program as a shell has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// One page of records, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The records.
    pub records: Vec<AuditRecord>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_name_is_what_serde_writes() {
        for operation in AuditedOperation::ALL {
            let json = serde_json::to_string(operation).expect("json");
            assert_eq!(json, format!("\"{operation}\""));
            assert_eq!(AuditedOperation::from_wire(operation.as_str()), Some(*operation));
        }
    }
}
