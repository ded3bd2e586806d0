//! Running programs in a box.
//!
//! `POST /processes` takes two forms. As JSON ([`ProcessRequest`], input inline) it answers NDJSON, one
//! [`ProcessEventLine`] a line: readable, for people and `curl`. As `application/vnd.devbox.frames` both bodies are
//! streams of frames, open at once: the first frame of the request is the JSON request, then input; our clients use it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ProcessId;
use crate::path::{self, BoxPath};

/// What to run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProcessRequest {
    /// Program and arguments. The program is looked up in the `PATH` of `env` unless it has a `/`. No shell is involved.
    pub argv: Vec<String>,
    /// Environment variables beside the box's own (`PATH`, `HOME`, `USER`, `LANG`), which they override.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory; default: the home of the acting user, or `/` if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_path")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub cwd: Option<BoxPath>,
    /// What the program reads as standard input.
    #[serde(default)]
    pub stdin: StdinSource,
    /// After how many milliseconds the whole process tree is killed; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Where standard input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StdinSource {
    /// `/dev/null`.
    #[default]
    Null,
    /// This text, then the end.
    Text(String),
    /// The frames that follow the request, until the frame that ends them.
    Frames,
}

/// Something sent to a running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessInput<B> {
    /// Bytes for its standard input.
    Stdin(B),
    /// The end of its standard input.
    EndOfStdin,
    /// A signal for its process group, by Linux number (1 to 64).
    Signal(u8),
}

/// Something that came from a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent<B> {
    /// It runs. Always the first event.
    Started {
        /// Our id of it.
        id: ProcessId,
        /// Its pid inside the box.
        pid: u32,
    },
    /// Bytes of its standard output, as they came.
    Stdout(B),
    /// Bytes of its standard error, as they came.
    Stderr(B),
    /// It ended. Always the last event, after all output.
    Exited(ExitStatus),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExitStatus {
    /// Its exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether it was killed because its time was up.
    #[serde(default)]
    pub timed_out: bool,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

impl ExitStatus {
    /// The status as a shell has it: the code, or 128 and the signal.
    #[must_use]
    pub fn shell_code(&self) -> i32 {
        self.code.unwrap_or_else(|| 128 + self.signal.unwrap_or(0))
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// A process that the agent started and that runs still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProcessSummary {
    /// Our id of it.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub id: ProcessId,
    /// Its pid inside the box.
    pub pid: u32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// How long it has run, in milliseconds.
    pub running_ms: u64,
}

/// The answer of `GET /processes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProcessList {
    /// The processes that run, oldest first.
    pub processes: Vec<ProcessSummary>,
}

/// The body of `POST /processes/{id}/signal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The Linux signal number, 1 to 64.
    pub signal: u8,
    /// Send it to every process of the tree, not only the process group.
    #[serde(default)]
    pub tree: bool,
}

/// One line of the NDJSON answer. Output that is not UTF-8 comes as `data_b64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ProcessEventLine {
    /// See [`ProcessEvent::Started`].
    Started {
        /// Our id of it.
        #[cfg_attr(feature = "schema", schema(value_type = u64))]
        id: ProcessId,
        /// Its pid inside the box.
        pid: u32,
    },
    /// See [`ProcessEvent::Stdout`].
    Stdout(OutputText),
    /// See [`ProcessEvent::Stderr`].
    Stderr(OutputText),
    /// See [`ProcessEvent::Exited`].
    Exited(ExitStatus),
    /// The stream failed; nothing follows.
    Error {
        /// Why.
        problem: crate::problem::Problem,
    },
}

/// Output as text, or as base64 where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OutputText {
    /// The bytes as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The bytes as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_b64: Option<String>,
}

impl From<&[u8]> for OutputText {
    fn from(bytes: &[u8]) -> Self {
        use base64::Engine as _;
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { data: Some(text.to_owned()), data_b64: None },
            Err(_) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
                Self { data: None, data_b64: Some(encoded) }
            }
        }
    }
}

mod optional_path {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{BoxPath, path};

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "path::text")] BoxPath);

    #[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
    pub(super) fn serialize<S: Serializer>(path: &Option<BoxPath>, serializer: S) -> Result<S::Ok, S::Error> {
        path.clone().map(Text).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BoxPath>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(path)| path))
    }
}
