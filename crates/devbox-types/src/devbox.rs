//! Boxes: what is asked for, what one is, what state it is in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent::Promise;
use crate::id::BoxId;
use crate::time::Timestamp;

/// The body of `POST /v1/devboxes`: what is asked for. Every field is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// A name for people; unique within the project if given. 1 to 63 of `a-z 0-9 -`, beginning with a letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A language whose runtime must be there: `python`, `node`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// An image reference, such as `python:3.11`. Resolved as the manual says; the box says what it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// A template by name, such as `host`; default: the server's default template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Environment variables of every process in the box.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Labels, for people and for filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Limits; what is absent is the server's default.
    #[serde(default)]
    pub resources: Resources,
}

/// What a box may use at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor time, in thousandths of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Memory of its programs, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// What is asked for, with every default filled in: what a backend makes a box from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxSpec {
    /// The template, by name.
    pub template: String,
    /// Environment variables of every process in the box.
    pub env: BTreeMap<String, String>,
    /// Limits.
    pub resources: Resources,
}

/// The state of a box, in the words of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BoxState {
    /// It is being made or started.
    Starting,
    /// Its programs run and its files can be reached.
    Running,
    /// No programs; files kept.
    Stopped,
    /// Its agent died or it could not be started; files kept. `start` may bring it back.
    Failed,
}

/// A state and how the box came into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BoxStatus {
    /// The state.
    pub state: BoxState,
    /// Why, if not because somebody asked: `agent_killed`, `host_restart`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A box as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Devbox {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: BoxId,
    /// Its name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// State and reason.
    #[serde(flatten)]
    pub status: BoxStatus,
    /// The template it was made from.
    pub template: String,
    /// What the runtime asked for was resolved to, such as `host (python 3.11.2)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The folder that relative paths start from.
    pub workdir: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Limits in force.
    pub resources: Resources,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// The promises that its guest keeps; on `inspect` of a running box only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<Promise>,
}

/// One page of boxes, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DevboxPage {
    /// The boxes.
    pub devboxes: Vec<Devbox>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What an API key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Everything within its project, and keys of any project.
    Admin,
    /// Boxes of its project.
    Member,
}

/// An API key as the API shows it; the secret is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ApiKey {
    /// Its id, which is also the visible beginning of the secret.
    pub id: String,
    /// The project whose boxes it reaches.
    pub project: String,
    /// What it is good for.
    pub role: KeyRole,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// The secret itself: only in the answer that made the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// The body of `POST /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateKeyRequest {
    /// The project; default: that of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What it is good for; default `member`.
    #[serde(default = "member")]
    pub role: KeyRole,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The answer of `GET /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ApiKeyList {
    /// The keys, oldest first, without their secrets.
    pub keys: Vec<ApiKey>,
}

fn member() -> KeyRole {
    KeyRole::Member
}

/// Something a box can be made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Runtimes it provides, as image references with the version found: `python:3.11.2`, `node:20.20.2`.
    pub runtimes: Vec<String>,
    /// The folder that relative paths start from, in every box made from it.
    pub workdir: String,
}

/// The answer of `GET /v1/templates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TemplateList {
    /// The templates, the default one first.
    pub templates: Vec<Template>,
}
